"""Both recipes, whole, on a corpus and with models so small that a stage takes seconds."""

import os
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from espnet_dice.stages import driver
from tests.corpus import make_corpus
from tests.hubert import tiny as tiny_models
from tests.stages import stub_python, tiny, tiny_dice
from tests.stages.tiny import write_config

ROOT = Path(__file__).parents[2]
# more than 100 utterances are two shards
SIZES = {"train": 104, "dev": 8, "test": 30}


@dataclass(frozen=True)
class Recipe:
    """One of the recipes.

    Attributes:
        name: ``kd1`` or ``dice1``.
        script: of the template.
        stages: number → what it is called in tables.
        options: of the script, but for the stages.
        plain: stages that do without ESPnet and torch: cheap enough to start anew each time.
        more: options of one stage.
    """

    name: str
    script: Path
    stages: dict[int, str]
    options: tuple[str, ...]
    plain: frozenset[int]
    more: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def command(self, stage: int, python: str) -> list[str]:
        """The shell command of one stage."""
        only = ["--stage", str(stage), "--stop_stage", str(stage), *self.more.get(stage, ())]
        return ["bash", str(self.script), *self.options, "--python", python, *only]


COMMON = ("--data_dir", "../corpus", "--nj", "2", "--fs", "16000")
KD1 = Recipe(
    "kd1",
    ROOT / "egs2/TEMPLATE/kd1/kd.sh",
    dict(
        enumerate(
            (
                "data",
                "features",
                "tokens",
                "language model",
                "teachers",
                "teachers' outputs",
                "students",
                "curves",
                "decoding",
                "scoring",
                "export",
            ),
            1,
        )
    ),
    (
        *COMMON,
        *("--train_set", "train", "--valid_set", "dev", "--test_sets", "test"),
        *("--teachers", "t=train/dev", "--teacher_config", "conf/train_asr_teacher.yaml"),
        *("--student_config", "conf/train_asr_plain.yaml conf/train_asr_unc.yaml"),
        *("--lm_config", "conf/train_lm_tiny.yaml", "--inference_config", "conf/decode.yaml"),
        *("--teacher_samples", "3"),
    ),
    frozenset((1, 2, 3, 8, 10)),
)
DICE1 = Recipe(
    "dice1",
    ROOT / "egs2/TEMPLATE/dice1/dice.sh",
    dict(
        enumerate(
            ("data", "teacher", "k-means", "labels", "students", "probes", "results", "export"), 1
        )
    ),
    (
        *COMMON,
        *("--train_set", "train", "--valid_set", "dev", "--test_sets", "test"),
        *("--teacher_config", "conf/train_dice_teacher.yaml", "--mfcc_clusters", "8"),
        *("--layer", "2", "--clusters", "8", "--sample_frames", "1500"),
        *("--student_config", "conf/train_dice_soft.yaml conf/train_dice_feature.yaml"),
        *("--probe_args", "--epochs 2 --keywords 3 --sid_seconds 0.1"),
    ),
    frozenset((1, 7)),
    # processes that each import transformers; stage 2 labels in two, and kd1 exports to ONNX
    {4: ("--nj", "1"), 8: ("--onnx", "false")},
)
RECIPES = {recipe.name: recipe for recipe in (KD1, DICE1)}


def build(recipe: Recipe, directory: Path) -> None:
    """Make the corpus beside ``directory``, and in it what a user has before the first stage."""
    for name, n in SIZES.items():
        make_corpus(directory.parent / "corpus" / name, n, 0.6 if recipe is KD1 else 0.3)
    here = os.getcwd()
    directory.mkdir(parents=True)
    os.chdir(directory)
    try:
        (_kd1_configs if recipe is KD1 else _dice1_configs)()
    finally:
        os.chdir(here)


def _kd1_configs() -> None:
    epochs = {"epochs": 4, "batch_bins": 40000}
    configs = {
        "asr_teacher": _asr("uncertainty_kd", **epochs),
        "asr_plain": _asr("espnet", **epochs),
        "asr_unc": _asr("uncertainty_kd", **epochs, kd_alpha=0.5, kd_beta=0.5),
        "lm_tiny": {**tiny.LM_CONFIG, "max_epoch": 4},
    }
    for name, config in configs.items():
        write_config(f"conf/train_{name}.yaml", config)
    write_config("conf/decode.yaml", tiny.DECODE)


def _asr(kind: str, epochs: int, batch_bins: int, **model_conf: float) -> dict:
    return {**tiny.asr_config(kind, epochs, **model_conf), "batch_bins": batch_bins}


def _dice1_configs() -> None:
    student = {**tiny_models.STUDENT, "hidden_dropout": 0.1}  # so that resuming needs its seed
    losses = {
        "teacher": "dice_hard",
        "soft": [{"name": "dice_soft", "conf": {"tau": 1.0}}],
        "feature": [{"name": "dice_hard"}, {"name": "dice_feature", "weight": 0.1}],
    }
    for name, loss in losses.items():
        config = tiny_dice.config(loss, 4, student_conf=student, batch_bins=160000)
        write_config(f"conf/train_dice_{name}.yaml", config)


def commands(recipe: Recipe, stage: int, directory: Path, scratch: Path) -> list[list[str]]:
    """What the shell would give to Python in a stage, in order: words after the interpreter.

    Args:
        recipe: whose script is asked.
        stage: of it.
        directory: to start it in; a stage looks at files there before it is started.
        scratch: an empty directory.
    """
    scratch.mkdir(parents=True)
    line = recipe.command(stage, str(stub_python.write(scratch)))
    exp = directory / "exp"
    first = not exp.exists()
    exp.mkdir(exist_ok=True)  # the stage that makes it has it looked at in the end
    done = subprocess.run(line, cwd=directory, capture_output=True, text=True)
    if first:
        exp.rmdir()
    if done.returncode:
        raise RuntimeError(f"{shlex.join(line)}: {done.stderr}")
    asked = stub_python.started(directory)
    (directory / stub_python.NOTES).unlink()
    # the look ahead reads, and writes nothing that a kill could leave half
    return [["-m", driver.module(name), *words] for name, words in asked if name != "plan"]
