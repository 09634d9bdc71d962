"""What a process is given: an import without collections, kernels remembered or none.

Each is measured in processes with it and without: the import of ESPnet's task (bound by parsing),
steps of the embedded corpus's narrow HuBERT over the shapes of half its recipe's batches, and its
teacher's pass over utterances of as many lengths (bound by page faults and compiling, where they
should be by operations).
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
STUDENT = ROOT / "conf/train_dice_mini_narrow_hard.yaml"
TEACHER = ROOT / "conf/train_dice_mini_teacher.yaml"
SHAPES, SECONDS, K, UTTERANCES = 45, 24.0, 100, 300
TURNS = 3
AT_IMPORT = "import espnet2.tasks.asr"
OURS = "from espnet_dice.training import trainer; trainer.task_class('asr')"


def rows(options: Any) -> Iterator[Row]:
    """With each beside without."""
    turns = min(TURNS, options.turns)
    checks = {
        "import of ESPnet's ASR task in our commands": lambda: imported(OURS),
        "import espnet2.tasks.asr": lambda: imported(AT_IMPORT),
    }
    yield _of(checks, turns, warm=1)
    kernels = "a step, kernels remembered"
    yield _of({kernels: lambda: told("k"), "1024 kernels": lambda: told("m")}, turns, warm=0)
    plain = "a pass over an utterance without oneDNN"
    yield _of({plain: lambda: told("pass"), "with it": lambda: told("onednn")}, turns, warm=0)


def _of(calls: dict, turns: int, warm: int) -> Row:
    ours, theirs = calls
    return faster(alternate(calls, turns, warm), ours, theirs, what=ours)


def imported(code: str) -> Cost:
    """Seconds of a Python process."""
    return spent(["-c", code], 1)[0]


def told(settings: str) -> Cost:
    """What :func:`main` tells in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.paths.process", settings]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Cost(*map(float, done.stdout.split()[-2:]))


def main(settings: str) -> None:
    """Print CPU and wall seconds: ``pass``, ``onednn``, else of a step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    runs = {"pass": listen, "onednn": listen}
    print(*runs.get(settings, step)(settings))


def step(settings: str) -> tuple[float, float]:
    """Of a training step, the mean over all shapes, when all were seen once.

    Args:
        settings: k, kernels remembered; else not.
    """
    from espnet_dice.hubert.models import onednn

    if "k" in settings:
        onednn.remember(onednn.TRAINING)
    from benchmarks.paths.student_step import training
    from espnet_dice.dice.model import DiceHubertModel
    from espnet_dice.hubert.models import students
    from espnet_dice.records.configs import read_config

    student = students.build("hubert", read_config(STUDENT)["student_conf"])
    model = DiceHubertModel(student, [{"name": "dice_hard"}], K).train()
    batches = [batch(9600 + 320 * i) for i in range(SHAPES)]
    steps = [training(model, b, lambda model, b: model(**b)[0]) for b in batches]
    for one in steps:
        one()
    return mean(steps)


def listen(settings: str) -> tuple[float, float]:
    """Of a teacher's pass over an utterance; their lengths are all different."""
    from espnet_dice.hubert.frozen import FrozenSSLModel
    from espnet_dice.hubert.models import onednn, students
    from espnet_dice.records.configs import read_config

    onednn.remember(onednn.PASS)
    if settings == "onednn":
        onednn.SMALL = 0
    model = students.build("hubert", read_config(TEACHER)["student_conf"]).eval()
    teacher = FrozenSSLModel(model, "", "")
    waves = [torch.randn(9600 + 50 * i) for i in torch.randperm(UTTERANCES).tolist()]
    return mean([lambda wave=wave: teacher.hidden([wave]) for wave in waves])


def mean(calls: list) -> tuple[float, float]:
    """CPU and wall seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    for call in calls:
        call()
    spent_cpu, spent_wall = time.process_time() - cpu, time.perf_counter() - wall
    return spent_cpu / len(calls), spent_wall / len(calls)


def batch(samples: int) -> dict:
    """24 s of noise with random labels, utterances of one length."""
    from espnet_dice.hubert.models.frames import n_frames

    size, frames = int(SECONDS * 16000 / samples), n_frames(samples)
    return {
        "speech": torch.randn(size, samples),
        "speech_lengths": torch.full((size,), samples),
        "labels": torch.randint(K, (size, frames), dtype=torch.int32),
        "labels_lengths": torch.full((size,), frames),
    }


if __name__ == "__main__":
    main(sys.argv[1])
