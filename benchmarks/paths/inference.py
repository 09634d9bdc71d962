"""What a student costs beside its teacher: one thread, one utterance at a time.

Bound by operations: of HuBERT-base's 0.19 CPU-s per second of audio the seven convolutions of the
stem take 0.07, which a student of half the width keeps unless its stem is slimmer, or ``mel``,
log-mel filters and two convolutions. Random weights:
speed does not depend on them. The teacher runs in torch; students in torch, and with onnxruntime
in int8 (matrix products only).
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Cost, Row, quartiles

TEACHER, SECONDS = "base/full", 4.0
GOALS = {
    ("narrow_d2/slim", "torch"): "inference torch",
    ("narrow_d2/slim", "int8"): "inference int8",
    ("narrow_d2/mel", "torch"): "inference mel torch",
    ("narrow_d2/mel", "int8"): "inference mel int8",
}
STUDENTS = ["narrow_d2/full", "narrow_d2/slim", "narrow_d2/tapered", "narrow_d2/mel"]


def build(name: str) -> torch.nn.Module:
    """``size/stem`` with random weights, ready to run."""
    from espnet_dice.export.onnx import student
    from espnet_dice.hubert.frozen import FrozenSSLModel
    from espnet_dice.hubert.models import students

    size, stem = name.split("/")
    torch.manual_seed(0)
    model = students.build("hubert", {"size": size, "stem": stem})
    return student.Exported(FrozenSSLModel(model, name, name)).eval()


def rows(options: Any) -> Iterator[Row]:
    """Each student, in torch and as int8."""
    from espnet_dice.export.onnx import graphs, missing_for_onnx, student

    runs, sizes = {}, {}
    with tempfile.TemporaryDirectory() as tmp:
        for name in [TEACHER, *STUDENTS]:
            module = build(name)
            sizes[name] = sum(p.numel() for p in module.parameters()) / 1e6
            runs[name, "torch"] = student.torch_run(module)
            if name == TEACHER or missing_for_onnx():
                continue
            floats, ints = (Path(tmp) / f"{len(runs)}.{kind}.onnx" for kind in ("f32", "int8"))
            student.to_onnx(module, floats, name)
            graphs.quantise(floats, ints)
            runs[name, "int8"] = graphs.session(ints)
        took = student.speed(runs, options.turns, SECONDS)
    teacher = took.pop((TEACHER, "torch"))
    beside = f"{TEACHER}, {sizes[TEACHER]:.1f} M, torch"
    for (name, runtime), seconds in took.items():
        yield Row(
            f"{name}, {sizes[name]:.1f} M, {runtime}, a second of audio",
            beside,
            "times faster",
            quartiles(teacher / seconds),
            GOALS.get((name, runtime)),
            Cost(*2 * [float(np.median(seconds))]),
            Cost(*2 * [float(np.median(teacher))]),
        )
