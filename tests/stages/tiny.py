"""A recipe directory of a few artificial utterances, trained through the stages once a session."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import kaldiio
import numpy as np
import yaml

from espnet_dice.io.fingerprint import Fingerprint, key_of
from espnet_dice.kd.distillation_options import DistillationOptions
from espnet_dice.records import feature_dir
from espnet_dice.stages import teacher_outputs, tokens
from espnet_dice.training import asr, lm
from espnet_dice.training.jobs import Job, run_jobs

DIM = 20
WORDS = "ONE TWO SIX TEN CAT DOG".split()
TOKENS = Path("data/token_list/char31")
DUMP = Path("dump/fbank_pitch")
EXP = Path("exp")
SIZES = {"train": 48, "dev": 8, "test": 6}


def write_dump(
    directory: Path, utterances: int, seed: int, prefix: str, spoken: list[str] = WORDS
) -> None:
    """Features in which every character has its own direction, 6 frames long."""
    directions = np.random.default_rng(0).normal(size=(128, DIM))
    rng = np.random.default_rng(seed)
    texts, feats = {}, {}
    for i in range(utterances):
        utt = f"{prefix}{i:03d}"
        texts[utt] = " ".join(rng.choice(spoken, size=rng.integers(1, 4)))
        frames = np.repeat(directions[[ord(c) % 128 for c in texts[utt]]], 6, axis=0)
        feats[utt] = (frames + 0.3 * rng.normal(size=frames.shape)).astype(np.float32)
    directory.mkdir(parents=True)
    kaldiio.save_ark(str(directory / "feats.ark"), feats, scp=str(directory / "feats.scp"))
    tables = {
        "text": texts,
        "utt2spk": dict.fromkeys(texts, prefix),
        "utt2num_frames": {u: len(f) for u, f in feats.items()},
        "feats_shape": {u: f"{len(f)},{DIM}" for u, f in feats.items()},
    }
    for name, table in tables.items():
        (directory / name).write_text("".join(f"{u} {v}\n" for u, v in table.items()))
    every = np.concatenate(list(feats.values())).astype(np.float64)
    np.savez(
        directory / "feats_stats.npz",
        count=len(every),
        sum=every.sum(0),
        sum_square=(every**2).sum(0),
    )
    Fingerprint("features", {"seed": seed}, {}).finish(directory)


def asr_config(kind: str = "espnet", epochs: int = 2, **model_conf) -> dict:
    """A config small enough for seconds: 1 + 1 layers, 16-d."""
    plain = kind == "espnet"
    layers = {"attention_heads": 2, "linear_units": 32, "num_blocks": 1}
    return {
        "encoder": "transformer",
        "encoder_conf": {"output_size": 16, "input_layer": "conv2d", **layers},
        "decoder": "transformer" if plain else "uncertainty_transformer",
        "decoder_conf": layers if plain else {**layers, "variance": "softplus", "train_samples": 2},
        "model": kind,
        "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.15, **model_conf},
        "batch_type": "numel",
        "batch_bins": 20000,
        "max_epoch": epochs,
        "keep_nbest_models": 2,
        "best_model_criterion": [["valid", "acc", "max"]],
        "optim": "adam",
        "optim_conf": {"lr": 0.005},
    }


LM_CONFIG = {
    "lm": "transformer",
    "lm_conf": {"embed_unit": 16, "att_unit": 16, "head": 2, "unit": 32, "layer": 1},
    "batch_type": "numel",
    "batch_bins": 6000,
    "max_epoch": 1,
    "best_model_criterion": [["valid", "loss", "min"]],
    "keep_nbest_models": 1,
    "optim_conf": {"lr": 0.005},
}
DECODE = {"beam_size": 2, "ctc_weight": 0.3, "lm_weight": 0.3, "maxlenratio": 0.4}


def write_config(path: str, config: dict) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(yaml.safe_dump(config))
    return Path(path)


def asr_job(tag: str, config: dict, seed: int = 0, extra: str = "", teacher: str = "") -> Job:
    """A training job on the tiny sets; ``plain_seed0`` has the config train_asr_plain.yaml."""
    path = write_config(f"conf/train_asr_{tag.rpartition('_')[0] or tag}.yaml", config)
    teaching = DistillationOptions.parse(
        [teacher] if teacher else [], "cached", EXP / "teacher_outputs"
    )
    sets = [feature_dir.load(DUMP / name) for name in ("train", "dev")]
    key = key_of(TOKENS, "stage 3")
    return asr.make_job(tag, path, *sets, TOKENS, key, EXP, seed, extra, teaching)


def lm_job(tag: str = "tiny") -> Job:
    path = write_config(f"conf/train_lm_{tag}.yaml", LM_CONFIG)
    texts = [[DUMP / name / "text"] for name in ("train", "dev")]
    return lm.make_job(tag, path, *texts, TOKENS, EXP, seed=0)


@contextmanager
def inside(directory: Path):
    """Work in a recipe directory, as the stages do."""
    before = os.getcwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


@dataclass(frozen=True)
class Recipe:
    """The trained recipe: exp/asr_plain_seed0, asr_teacher_t, asr_unc_seed0 and lm_tiny."""

    root: Path

    @property
    def plain(self) -> Path:
        return EXP / "asr_plain_seed0"

    @property
    def student(self) -> Path:
        return EXP / "asr_unc_seed0"

    @property
    def lm(self) -> Path:
        return EXP / "lm_tiny"


def build(root: Path, spoken: list[str] = WORDS, **tokens_options) -> Recipe:
    """Make the features and train all models through the stages.

    Args:
        root: directory of the recipe.
        spoken: words of its texts.
        tokens_options: of the token list; none: the 31 tokens.
    """
    with inside(root):
        for seed, (name, n) in enumerate(SIZES.items()):
            write_dump(DUMP / name, n, seed, name, spoken)
        texts = [DUMP / name / "text" for name in SIZES]
        tokens.make_tokens(TOKENS, texts, train=texts[:1], **tokens_options)
        write_config("conf/decode.yaml", DECODE)
        teacher = asr_job("teacher_t", asr_config("uncertainty_kd"))
        plain = asr_job("plain_seed0", asr_config())
        assert run_jobs([teacher, plain, lm_job()], nj=2) == 3
        sets = [feature_dir.load(DUMP / name) for name in ("train", "dev")]
        out = EXP / "teacher_outputs"
        teacher_outputs.make_outputs({"t": teacher.out}, sets, TOKENS, out, n_samples=3, nj=1)
        config = asr_config("uncertainty_kd", kd_alpha=0.5, kd_beta=0.5)
        assert run_jobs([asr_job("unc_seed0", config, teacher=f"t={teacher.out}")]) == 1
    return Recipe(root)
