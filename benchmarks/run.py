"""Every hot path beside what users would run otherwise: ratios in one run on the same data.

    python benchmarks/run.py                      # all but growth, some 25 CPU-minutes
    python benchmarks/run.py decoding kd_step     # some
    python benchmarks/run.py --kaldi_python /tmp/kaldi/bin/python --faiss /tmp/faiss pitch kmeans

Each path runs in a process of its own, of one thread; what is compared takes turns, so that a busy
machine slows both, and ratios are of CPU seconds unless their line says otherwise. Writes
benchmarks/out/results.json, which keeps the last figures of each path, and results.md beside it.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import used
from benchmarks.measure import Row, table

ROOT = Path(__file__).resolve().parents[1]
PATHS = {
    "pitch": "filter-bank and Kaldi pitch beside Kaldi's C++ pitch (--kaldi_python)",
    "kmeans": "k-means beside MiniBatchKMeans and faiss (--faiss)",
    "labelling": "the labelling pass beside the teacher's forward alone, and dump → argmin",
    "store": "soft labels on disk: bytes, KL, and reading them as a share of a student step",
    "student_step": "a HuBERT student's training step beside ESPnet's and Hugging Face's",
    "kd_step": "a training step with cached teachers beside one without",
    "decoding": "decoding with a language model beside espnet2.bin.asr_inference (--recipes)",
    "inference": "a student's inference beside its teacher's, in torch and as ONNX int8",
    "process": "a training's process: type checks, freed memory, compiled kernels",
    "startup": "what commands import, beside ESPnet's; its share of a run (--run_log)",
}
OUT = ROOT / "benchmarks/out"


@dataclass(frozen=True)
class Options:
    """What paths may need.

    Attributes:
        turns: repetitions; a path that takes minutes has fewer.
        kaldi_python: an interpreter with torchaudio 2.0.2 and torch 2.0.1.
        faiss: a directory with faiss, or empty: that of the environment, if any.
        recipes: kd1 of a finished run.
        run_log: what a whole ``./run.sh`` printed, or empty.
    """

    turns: int
    kaldi_python: str
    faiss: str
    recipes: str
    run_log: str = ""


def machine() -> str:
    """Processor, GPU or none, versions."""
    from importlib.metadata import version

    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":")[1].strip() for line in info.splitlines() if "model name" in line]
    processor = names[0] if names else platform.machine()
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "espnet", "transformers"))
    return (
        f"{processor}, {os.cpu_count()} cores; {gpu() or 'no GPU here'}; "
        f"Python {platform.python_version()}, {packages}"
    )


def gpu() -> str:
    """The name of the first GPU, or nothing."""
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return said.partition("\n")[0]


def commit() -> str:
    """Of the tree, with + where files differ from it."""
    git = ["git", "-C", str(ROOT)]
    run = {"capture_output": True, "text": True}
    name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], **run).stdout.strip()
    dirty = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "espnet_dice", "benchmarks"])
    return name + ("+" if dirty.returncode else "")


def in_a_process(name: str, arguments: list[str]) -> dict:
    """Measure a path in a process of its own.

    Raises:
        RuntimeError: it failed; its last words.
    """
    with tempfile.TemporaryDirectory() as tmp:
        out = Path(tmp) / "rows.json"
        took = used.run([sys.executable, __file__, "--rows", str(out), *arguments, name])
        rows = json.loads(out.read_text())
    return {
        "rows": rows,
        "cpu_s": round(took.cpu_s, 1),
        "wall_s": round(took.wall_s, 1),
        "peak_mb": round(took.peak_bytes / 1e6),
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
    }


def markdown(results: dict) -> str:
    """All paths' tables, and what they ran on."""
    parts = [f"{results['machine']}.", ""]
    for name, about in PATHS.items():
        if name not in results:
            continue
        found = results[name]
        parts += [
            f"**{name}**: {about}",
            "",
            table([Row.of(r) for r in found["rows"]]),
            "",
            f"Commit {found['commit']}, {found['date']}; {found['cpu_s']:.0f} CPU-s in all, "
            f"peak memory {found['peak_mb'] / 1000:.1f} GB.",
            "",
        ]
    return "\n".join(parts)


def keep(found: dict) -> None:
    """Put a path's figures in the place of its last ones, and write all anew."""
    OUT.mkdir(exist_ok=True)
    file = OUT / "results.json"
    results = (json.loads(file.read_text()) if file.exists() else {}) | found
    file.write_text(json.dumps(results, indent=1) + "\n")
    (OUT / "results.md").write_text(markdown(results))


def parser() -> argparse.ArgumentParser:
    """The options."""
    names = "\n".join(f"  {name:13s} {about}" for name, about in PATHS.items())
    made = argparse.ArgumentParser(
        description=f"{__doc__.strip()}\n\npaths:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("names", nargs="*", metavar="NAME", help="paths (all)")
    made.add_argument("--turns", type=int, default=7, help="repetitions (7)")
    made.add_argument("--kaldi_python", default="", help="of a venv with torchaudio 2.0.2")
    made.add_argument("--faiss", default="", help="directory with faiss (the environment's)")
    made.add_argument(
        "--recipes",
        default=str(ROOT / "egs2/mini_synth"),
        help="kd1 and dice1 of a finished ./run.sh (egs2/mini_synth)",
    )
    made.add_argument("--run_log", default="", help="what a whole ./run.sh printed")
    made.add_argument("--list", action="store_true", help="only tell the paths")
    made.add_argument("--rows", type=Path, default=None, help=argparse.SUPPRESS)
    return made


def main(argv: list[str] | None = None) -> None:
    """Measure, print, write."""
    made = parser()
    args = made.parse_args(argv)
    if unknown := [n for n in args.names if n not in PATHS]:
        made.error(f"no such path: {', '.join(unknown)}; there are {', '.join(PATHS)}")
    if args.list:
        print("\n".join(f"{name}: {about}" for name, about in PATHS.items()))
        return
    if args.rows:
        given = (args.turns, args.kaldi_python, args.faiss, args.recipes, args.run_log)
        options = Options(*given)
        path = importlib.import_module(f"benchmarks.paths.{args.names[0]}")
        args.rows.write_text(json.dumps([row.as_dict() for row in path.rows(options)]))
        return
    given = ["--turns", str(args.turns), "--recipes", args.recipes]
    given += ["--kaldi_python", args.kaldi_python, "--faiss", args.faiss]
    given += ["--run_log", args.run_log]
    failed = []
    for name in args.names or PATHS:
        try:
            found = {"machine": machine(), name: in_a_process(name, given)}
        except RuntimeError as err:
            failed.append(name)
            print(f"{name}: {err}", file=sys.stderr)
            continue
        keep(found)
        print(markdown(found), flush=True)
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
