"""What a student costs beside its teacher: CPU seconds per second of audio, ratios in one run.

    python benchmarks/inference.py [--students narrow_d2/full narrow_d2/slim …] [--repeats 9]

Random weights (speed does not depend on them), HuBERT-base as the teacher, one thread, one
utterance at a time, CPU time of the process. The models take turns, so that a noisy machine slows
all alike; a ratio is that of one turn, its spread the quartiles over the turns. The teacher runs in
torch; each student in torch, and with onnxruntime in float32 and int8 (matrix products only).
"""

import argparse
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch

from espnet_dice.dice import students
from espnet_dice.dice.teacher import Teacher
from espnet_dice.export import missing_for_onnx, onnx

STUDENTS = ["narrow_d2/full", "narrow_d2/slim", "narrow_d2/tapered", "narrow_d4/tapered"]


def build(name: str) -> onnx.Exported:
    """``size/stem`` with random weights, ready to run."""
    size, stem = name.split("/")
    torch.manual_seed(0)
    model = students.build("hubert", {"size": size, "stem": stem})
    return onnx.Exported(Teacher(model, name, name)).eval()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--teacher", default="base/full")
    parser.add_argument("--students", nargs="+", default=STUDENTS, metavar="SIZE/STEM")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=10.0, help="of audio a run")
    parser.add_argument("--onnx_teacher", action="store_true", help="the teacher as ONNX, too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs, sizes = {}, {}
    with tempfile.TemporaryDirectory() as tmp:
        for name in [args.teacher, *args.students]:
            module = build(name)
            sizes[name] = sum(p.numel() for p in module.parameters()) / 1e6
            runs[name, "torch"] = onnx.torch_run(module)
            if missing_for_onnx() or (name == args.teacher and not args.onnx_teacher):
                continue
            floats, ints = (Path(tmp) / f"{len(runs)}.{kind}.onnx" for kind in ("f32", "int8"))
            onnx.to_onnx(module, floats, name)
            onnx.quantise(floats, ints)
            runs[name, "ONNX float32"] = onnx.session(floats)
            runs[name, "ONNX int8"] = onnx.session(ints)
        took = onnx.speed(runs, args.repeats, args.seconds)
    print(
        f"{platform.machine()}, torch {torch.__version__}, one thread, {args.seconds:g} s of "
        f"audio, {args.repeats} turns; medians (quartiles of the ratio)\n"
    )
    print("| model | M param | run by | CPU-s per audio-s | times faster than the teacher |")
    print("|---|--:|---|--:|--:|")
    teacher = took[args.teacher, "torch"]
    for (name, runtime), seconds in took.items():
        low, mid, high = np.percentile(teacher / seconds, [25, 50, 75])
        print(
            f"| {name} | {sizes[name]:.1f} | {runtime} | {np.median(seconds):.3f} "
            f"| {mid:.2f} ({low:.2f}–{high:.2f}) |"
        )


if __name__ == "__main__":
    main()
