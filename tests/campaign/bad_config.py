"""Configs and options that are wrong."""

import json
from pathlib import Path

from espnet_dice.stages import config as config_stage
from espnet_dice.stages import decode, export, tokens, train
from tests.campaign.bad_results import trained
from tests.campaign.catalogue import Command, case
from tests.stages import tiny, tiny_dice

FILES, TRAINING, DECODING = "Config files", "Configs of trainings", "Configs of decoding"
EXPORTS = "Exports"
NAME = "conf/train_asr_x.yaml"


def show(text: str | bytes) -> Command:
    """The command that prints a config with its bases."""
    Path("x.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return config_stage.main, ["x.yaml"]


@case(FILES, "the file is not there", "x.yaml: no such", "config file")
def missing() -> Command:
    return config_stage.main, ["x.yaml"]


@case(FILES, "a tab", "x.yaml: not YAML", "line 2", theirs=r"(?<=YAML: ).*(?= in \")")
def tab() -> Command:
    return show("optim_conf:\n\tlr: 0.1\n")


@case(
    FILES,
    "a bracket that is not closed",
    "x.yaml: not YAML",
    "line 2",
    theirs=r"(?<=g a flow ).*(?=, line 2)",
)
def bracket() -> Command:
    return show("criterion: [valid, acc\n")


@case(FILES, "a list, no mapping", "x.yaml: must hold", "'key: value' lines")
def no_mapping() -> Command:
    return show("- max_epoch\n")


@case(FILES, "not UTF-8", "x.yaml: not YAML", "UTF-8", theirs=r"(?<=0xc9).*(?=;)")
def latin() -> Command:
    return show(b"# \xc9\nmax_epoch: 3\n")


@case(FILES, "a key twice, of which YAML takes the last", "x.yaml:3: 'lr'", "line 2", "keep one")
def twice() -> Command:
    return show("optim_conf:\n    lr: 0.1\n    lr: 0.001\n")


@case(FILES, "`1e-3`, which YAML takes for text", "x.yaml:2: 1e-3", "write 1.0e-3")
def exponent() -> Command:
    return show("optim_conf:\n    lr: 1e-3\n")


@case(FILES, "a tag that makes Python objects", "x.yaml: not YAML", "python/object", theirs="$^")
def tag() -> Command:
    return show("max_epoch: !!python/object/apply:os.getcwd []\n")


@case(FILES, "a base that is not there", "no.yaml, base of x.yaml: no such", "beside the file")
def no_base() -> Command:
    return show("base: no.yaml\n")


@case(FILES, "a base built on itself", "x.yaml: base: x.yaml is itself built on", "take 'base' out")
def loop() -> Command:
    return show("base: x.yaml\n")


@case(FILES, "two bases", "x.yaml: base: must be the name of one file", "['a', 'b']")
def two_bases() -> Command:
    return show("base: [a, b]\n")


def training(
    change: dict | None = None, *more: str, drop: str = "", kind: str = "espnet"
) -> Command:
    """A training with a changed config."""
    for seed, name in enumerate(("train", "dev")):
        tiny.write_dump(tiny.DUMP / name, 3, seed, name)
    tokens.make_tokens(tiny.TOKENS)
    config = {k: v for k, v in tiny.asr_config(kind).items() if k != drop} | (change or {})
    tiny.write_config(NAME, config)
    argv = ["--task", "asr", "--dump", str(tiny.DUMP), "--token_list", str(tiny.TOKENS)]
    return train.main, [*argv, "--job", "x", NAME, "train=train", "valid=dev", *more]


@case(TRAINING, "a key misspelt", NAME, "unknown key 'max_epochs'", "did you mean 'max_epoch'")
def unknown_key() -> Command:
    return training({"max_epochs": 3})


@case(TRAINING, "a key of an encoder misspelt", NAME, "'num_block'", "did you mean 'num_blocks'")
def unknown_conf_key() -> Command:
    return training({"encoder_conf": {"num_block": 3}})


@case(
    TRAINING,
    "a class that does not exist",
    NAME,
    "encoder: no such class 'transformr'; did you mean 'transformer'",
    theirs=r"(?<=one of ).*",
)
def unknown_class() -> Command:
    return training({"encoder": "transformr"})


@case(TRAINING, "text where a number must be", NAME, "batch_bins", "'many'")
def text_for_number() -> Command:
    return training({"batch_bins": "many"})


@case(TRAINING, "a number where a mapping must be", NAME, "encoder_conf", "must")
def number_for_mapping() -> Command:
    return training({"encoder_conf": 3})


@case(TRAINING, "`max_epoch` is text", NAME, "max_epoch must be a whole number, not 'ten'")
def epochs() -> Command:
    return training({"max_epoch": "ten"})


@case(TRAINING, "no epochs", NAME, "max_epoch must be at least 1, not 0")
def no_epochs() -> Command:
    return training({"max_epoch": 0})


@case(TRAINING, "two criteria", NAME, "best_model_criterion: exactly one")
def criteria() -> Command:
    both = [["valid", "acc", "max"], ["valid", "loss", "min"]]
    return training({"best_model_criterion": both})


@case(TRAINING, "a criterion that is no list", NAME, "best_model_criterion: exactly one")
def criterion_text() -> Command:
    return training({"best_model_criterion": "acc"})


@case(TRAINING, "no checkpoints kept", NAME, "keep_nbest_models", "at least 1")
def no_checkpoints() -> Command:
    return training({"keep_nbest_models": 0})


@case(TRAINING, "`--args` without dashes", "must begin with '--'", "max_epoch 3")
def no_dashes() -> Command:
    return training(None, "--args", "max_epoch 3")


@case(
    TRAINING, "`--args` with a quote that is not closed", "--args", "--encoder_conf 'num", "quote"
)
def open_quote() -> Command:
    return training(None, "--args", "--encoder_conf 'num_blocks=3")


@case(TRAINING, "two seeds for one model", "--seed: one, or 1, not 2", "--seed")
def seeds() -> Command:
    return training(None, "--seed", "1", "2")


@case(TRAINING, "a tag that leads elsewhere", "../y", "letters")
def tag_elsewhere() -> Command:
    main, argv = training()
    return main, [*argv, "--job", "../y", NAME, "train=train", "valid=dev"]


@case(TRAINING, "two models under one tag", "--job x", "twice")
def same_tag() -> Command:
    main, argv = training()
    return main, [*argv, "--job", "x", NAME, "train=train", "valid=dev"]


@case(
    TRAINING,
    "a set that was not made",
    "dump/fbank_pitch/test is missing",
    "run the features stage",
)
def no_set() -> Command:
    main, argv = training()
    return main, [*argv, "--job", "y", NAME, "train=train", "valid=test"]


@case(TRAINING, "a teacher that is not named", "no teacher 'b' (known: a)", "teachers")
def no_teacher() -> Command:
    conf = {"kd_alpha": 0.5, "teachers": [{"name": "b", "weight": 1.0}]}
    return training({"model_conf": conf}, "--teacher", "a=exp/asr_a", kind="uncertainty_kd")


@case(TRAINING, "a teacher without a directory", "--teacher a", "NAME=EXPDIR")
def teacher_entry() -> Command:
    return training(None, "--teacher", "a")


@case(TRAINING, "teachers that are no list", NAME, "teachers", "list of")
def teachers_mapping() -> Command:
    conf = {"kd_alpha": 0.5, "teachers": {"name": "a", "weight": 1.0}}
    return training({"model_conf": conf}, "--teacher", "a=exp/asr_a", kind="uncertainty_kd")


@case(TRAINING, "an α that is text", NAME, "kd_alpha", "number")
def alpha() -> Command:
    conf = {"kd_alpha": "half", "teachers": [{"name": "a", "weight": 1.0}]}
    return training({"model_conf": conf}, "--teacher", "a=exp/asr_a", kind="uncertainty_kd")


def dice(loss, *more: str) -> Command:
    """A student's training with a loss."""
    for seed, name in enumerate(("train", "dev")):
        tiny_dice.write_dump(Path("dump/raw") / name, 2, seed)
    tiny.write_config(NAME, tiny_dice.config(loss))
    argv = ["--task", "dice", "--dump", "dump/raw", "--train", "train", "--valid", "dev"]
    return train.main, [*argv, "--job", "x", NAME, "labels=labels", *more]


@case(TRAINING, "losses that are no list", NAME, "loss: must be a list of")
def loss_mapping() -> Command:
    main, argv = dice("dice_hard")
    tiny.write_config(NAME, {**tiny_dice.config(), "loss": {"name": "dice_hard"}})
    return main, argv


@case(TRAINING, "a loss that needs a teacher, and none", NAME, "dice_feature needs --teacher")
def loss_teacher() -> Command:
    return dice("dice_feature")


@case(
    TRAINING,
    "a loss that does not exist",
    NAME,
    "no such loss 'dice_sofd'",
    "one of dice_hard, dice_soft",
)
def no_loss() -> Command:
    return dice("dice_sofd")


def decoding(conf: str, *more: str) -> Command:
    """Decoding options; the system need not be there."""
    Path("d.yaml").write_text(conf)
    return decode.main, ["--config", "d.yaml", "--systems", "s", "--sets", "x", *more]


@case(DECODING, "a key misspelt", "d.yaml: unknown key 'beam'", "did you mean 'beam_size'")
def beam() -> Command:
    return decoding("beam: 3\n")


@case(DECODING, "a beam that is no whole number", "d.yaml: beam_size must be a whole number", "2.5")
def beam_type() -> Command:
    return decoding("beam_size: 2.5\n")


@case(DECODING, "a beam of nothing", "d.yaml: beam_size", "from 1 to 10000")
def no_beam() -> Command:
    return decoding("beam_size: 0\n")


@case(DECODING, "a CTC weight above 1", "d.yaml: ctc_weight", "from 0 to 1")
def ctc_weight() -> Command:
    return decoding("ctc_weight: 3\n")


@case(DECODING, "a weight that is NaN", "d.yaml: lm_weight", "nan")
def nan_weight() -> Command:
    return decoding("lm_weight: .nan\n")


@case(DECODING, "a part of a token at most", "d.yaml: maxlenratio -0.5", "-1 or less")
def part_of_a_token() -> Command:
    return decoding("maxlenratio: -0.5\n")


@case(DECODING, "20 tokens a frame at least", "d.yaml: minlenratio", "from 0 to 10, not 20")
def too_many_tokens() -> Command:
    return decoding("minlenratio: 20\n")


@case(DECODING, "a system that is not there", "s is missing", "run stage 5 or 7 first")
def no_system() -> Command:
    return decoding("beam_size: 2\n")


LM_ONLY = ("--lm_modes", "true")


def dump(name: str) -> str:
    """Features of a set."""
    if not (tiny.DUMP / name).exists():
        tiny.write_dump(tiny.DUMP / name, 2, 0, name)
    return str(tiny.DUMP / name)


def tuned(*more: str) -> Command:
    """A decoding with a language model."""
    trained(Path("exp/lm_x"))
    main, argv = no_lm()
    return main, [*argv, "--lm", "exp/lm_x", *more]


@case(DECODING, "weights of an LM to try, and no set to try them on", "--lm_weights", "--dev")
def no_dev() -> Command:
    return tuned("--lm_weights", "0.1")


@case(DECODING, "a weight to try that is below 0", "--lm_weights: lm_weight", "from 0 to")
def weight_to_try() -> Command:
    return tuned("--lm_weights", "0.1", "-1", "--dev", str(tiny.DUMP / "dev"))


@case(DECODING, "an LM to decode with, and none", "decoding with a language model", "--lm")
def no_lm() -> Command:
    trained(Path("exp/asr_a"))
    return decoding("beam_size: 2\n", "--systems", "exp/asr_a", "--sets", dump("dev"), *LM_ONLY)


@case(DECODING, "an LM that is not there", "exp/lm_x is missing", "stage 4 (language model)")
def missing_lm() -> Command:
    main, argv = no_lm()
    return main, [*argv, "--lm", "exp/lm_x"]


@case(DECODING, "an option without its value", "--args --beam_size", "needs one value")
def valueless() -> Command:
    return decoding("beam_size: 2\n", "--args=--beam_size")


@case(DECODING, "an option that is no YAML", "--args: --beam_size", "is not YAML", "close")
def no_yaml() -> Command:
    return decoding("beam_size: 2\n", "--args", "--beam_size [1")


def exported(*more: str, name: str = "exp/asr_a") -> Command:
    """Exports."""
    trained(Path(name), task=name.removeprefix("exp/").partition("_")[0])
    return export.main, ["--systems", name, "--onnx", "false", *more]


@case(EXPORTS, "a training that is not there", "exp/asr_b is missing", "stage that trains it")
def export_missing() -> Command:
    return exported("--systems", "exp/asr_b")


@case(EXPORTS, "a recogniser without its token list", "--token_list", "name it")
def export_tokens() -> Command:
    return exported()


@case(EXPORTS, "no utterance to compare on", "--test_utterances 0", "from 1")
def export_utterances() -> Command:
    return exported("--test_utterances", "0")


@case(EXPORTS, "a language model", "exp/lm_x: no recogniser and no HuBERT", "nothing to export")
def export_lm() -> Command:
    return exported(name="exp/lm_x")


def of_asr_sh(files: tuple[str, ...] = (), **config) -> Command:
    """Exports what ESPnet's own ``asr.sh`` trained."""
    exp = Path("exp/asr_theirs")
    exp.mkdir(parents=True)
    (exp / "config.yaml").write_text(json.dumps(config))
    for name in files:
        (exp / name).write_bytes(b"parameters")
    return export.main, ["--systems", str(exp), "--onnx", "false"]


@case(EXPORTS, "a training of ESPnet's that is no recogniser", "of no recogniser", "asr.sh")
def export_of_no_recogniser() -> Command:
    return of_asr_sh(tts="fastspeech2", token_list=["a"])


@case(EXPORTS, "a training of ESPnet's that has not ended", "ave.pth: missing", "training end")
def export_unfinished() -> Command:
    return of_asr_sh(("checkpoint.pth", "3epoch.pth"), token_list=["a"], decoder="transformer")


@case(EXPORTS, "two averages of ESPnet's training", "valid.cer.ave.pth, valid", "link valid.acc")
def export_two_averages() -> Command:
    averages = ("valid.loss.ave.pth", "valid.cer.ave.pth")
    return of_asr_sh(averages, token_list=["a"], decoder="transformer")


@case(EXPORTS, "a language that is no code", "--lang English", "two or three letters")
def export_language() -> Command:
    return exported("--lang", "English", "--token_list", "data/token_list/char31")
