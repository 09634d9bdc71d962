"""A recipe as its script describes it."""

from espnet_dice.plan.recipe import Recipe

COMMON = {
    "stage": "1", "datadir": "data", "dumpdir": "dump", "expdir": "exp", "fs": "16000", "nj": "2",
    "train_set": "train", "valid_set": "dev", "test_sets": "test", "ngpu": "0",
}  # fmt: skip
KD = COMMON | {
    "stop_stage": "12", "token_type": "char31", "feats_type": "fbank", "text_rules": "none",
    "use_lm": "false", "teachers": "a=train/dev", "teacher_samples": "50", "teacher_mode": "cached",
}  # fmt: skip
DICE = COMMON | {
    "stop_stage": "9", "probe_tasks": "char sid kws", "layer": "9", "clusters": "50",
    "teacher": "exp/given", "iterations": "1", "trust_pickle": "false",
}  # fmt: skip


def kd(*stages, **options):
    return Recipe("kd1", KD | options, stages)


def dice(*stages, **options):
    return Recipe("dice1", DICE | options, stages)
