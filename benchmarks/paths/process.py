"""What a training's process is given: type checks later, freed memory kept, kernels remembered.

Each is measured in processes with it and without: the import of ESPnet's task (bound by parsing),
and steps of the embedded corpus's narrow HuBERT over the shapes of half its recipe's batches (bound
by page faults and compiling, where it should be by operations).
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Cost, Row, alternate, faster
from benchmarks.paths.startup import spent

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "conf/train_dice_mini_narrow_hard.yaml"
SHAPES, SECONDS, K = 45, 24.0, 100
TURNS = 3
AT_IMPORT = "import espnet2.tasks.asr"
LATER = f"from espnet_dice import type_checks\nwith type_checks.on_first_call():\n    {AT_IMPORT}"


def rows(options: Any) -> Iterator[Row]:
    """With each beside without."""
    turns = min(TURNS, options.turns)
    checks = {
        "import of ESPnet's ASR task, type checks at a first call": lambda: imported(LATER),
        "type checks at import": lambda: imported(AT_IMPORT),
    }
    yield _of(checks, turns, warm=1)
    both = "a step, memory kept, kernels remembered"
    yield _of({both: lambda: step("mk"), "memory given back": lambda: step("k")}, turns, warm=0)
    yield _of({both: lambda: step("mk"), "1024 kernels": lambda: step("m")}, turns, warm=0)


def _of(calls: dict, turns: int, warm: int) -> Row:
    ours, theirs = calls
    return faster(alternate(calls, turns, warm), ours, theirs, what=ours)


def imported(code: str) -> Cost:
    """Seconds of a Python process."""
    return spent(["-c", code], 1)[0]


def step(settings: str) -> Cost:
    """Seconds of a training step in a process of its own: m, memory kept; k, kernels remembered."""
    command = [sys.executable, "-m", "benchmarks.paths.process", settings]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Cost(*map(float, done.stdout.split()[-2:]))


def main(settings: str) -> None:
    """Print CPU and wall seconds of a step, the mean over all shapes, when all were seen once."""
    from espnet_dice.io import memory, onednn

    if "m" in settings:
        memory.keep_freed()
    if "k" in settings:
        onednn.remember(onednn.TRAINING)
    from benchmarks.paths.student_step import training
    from espnet_dice.dice import students
    from espnet_dice.dice.model import DiceHubertModel
    from espnet_dice.stages.settings import read_config

    torch.set_num_threads(1)
    torch.manual_seed(0)
    student = students.build("hubert", read_config(CONFIG)["student_conf"])
    model = DiceHubertModel(student, [{"name": "dice_hard"}], K).train()
    batches = [batch(9600 + 320 * i) for i in range(SHAPES)]
    steps = [training(model, b, lambda model, b: model(**b)[0]) for b in batches]
    for one in steps:
        one()
    wall, cpu = time.perf_counter(), time.process_time()
    for one in steps:
        one()
    print((time.process_time() - cpu) / SHAPES, (time.perf_counter() - wall) / SHAPES)


def batch(samples: int) -> dict:
    """24 s of noise with random labels, utterances of one length."""
    from espnet_dice.dice.frames import n_frames

    size, frames = int(SECONDS * 16000 / samples), n_frames(samples)
    return {
        "speech": torch.randn(size, samples),
        "speech_lengths": torch.full((size,), samples),
        "labels": torch.randint(K, (size, frames), dtype=torch.int32),
        "labels_lengths": torch.full((size,), frames),
    }


if __name__ == "__main__":
    main(sys.argv[1])
