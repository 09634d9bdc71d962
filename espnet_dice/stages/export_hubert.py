"""Stage 7 of DiceHuBERT: export students for transformers, s3prl and onnxruntime.

``exp/dice_<tag>/export`` holds ``hf/`` (config.json, model.safetensors, preprocessor_config.json,
and README.md, the model card), ``model.onnx``, ``model.int8.onnx`` and ``export.json`` with the
differences and speeds that were measured while exporting. No file is a pickle.
"""

import logging
from pathlib import Path
from typing import Any

from espnet_dice.export import cards, processor, wants_onnx, warm_up_onnx
from espnet_dice.io import options
from espnet_dice.io.atomic import atomic_dir
from espnet_dice.io.errors import cli
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.io.json_files import read_json, write_json
from espnet_dice.io.progress import setup_logging
from espnet_dice.records import experiment
from espnet_dice.work.workers import Work, run_forked

VERSION = 4  # raise when the same model gives another export
REPORT, LOG = "export.json", "export.log"


def export(systems: list[Path], onnx: bool | None = None, nj: int | None = None) -> int:
    """Export the students that are not exported yet.

    Args:
        systems: experiment directories (``exp/dice_<tag>``).
        onnx: also as ONNX; None: if the packages that it takes are installed.
        nj: students at a time; None: as many as there are cores.

    Returns:
        How many were exported.

    Raises:
        StaleError: an experiment is not finished.
        DiceError: an exported model would not be the trained one.
    """
    with_onnx = wants_onnx(onnx)
    works, pending = [], []
    for directory in systems:
        system = experiment.load(directory, "stage 5")
        fingerprint = Fingerprint(
            "export_hubert",
            {"version": VERSION, "onnx": with_onnx},
            {"training": system.key, "model": system.sha256},
        )
        if fingerprint.is_done(system.directory / "export"):
            logging.info("%s: unchanged, skipped", system.name)
            continue

        def run(system=system, fingerprint=fingerprint):
            with atomic_dir(system.directory / "export") as tmp:
                write_export(system.directory, tmp, with_onnx)
                cards.student(system, tmp)
                fingerprint.finish(tmp)

        pending.append(system)
        works.append(Work(system.name, run, system.directory / LOG))
    if works:
        from espnet_dice.hubert.models import stem

        stem.warm_up()
        if with_onnx:
            warm_up_onnx()
        run_forked(works, nj or options.cores())
    for system in pending:
        report = read_json(system.directory / "export" / REPORT)
        logging.info("%s: exported; %s", system.name, told(report))
    return len(pending)


def write_export(source: Path, directory: Path, onnx: bool) -> dict[str, Any]:
    """Write one student's export into an existing directory.

    Args:
        source: anything that :func:`teacher.load` reads.
        directory: where to write.
        onnx: also as ONNX.

    Returns:
        What ``export.json`` says.
    """
    from espnet_dice.export import hf
    from espnet_dice.hubert import teacher

    model = teacher.load(source)
    report: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "layers": model.layers,
        "dim": model.dim,
        "normalize": model.normalize,
        "processor": processor.describe(),
    }
    if hf.can_export(model):
        (directory / "hf").mkdir()
        report["hf"] = {"largest_difference": hf.write(model, directory / "hf")}
    else:
        report["no_hf"] = "no HuBERT, so nothing for transformers"
    if onnx:
        from espnet_dice.export import onnx as to_onnx

        report["onnx"] = to_onnx.write(model, directory)
    write_json(directory / REPORT, report)
    return report


def told(report: dict[str, Any]) -> str:
    """One line about an export."""
    parts = []
    if "hf" in report:
        parts.append(f"transformers: largest difference {report['hf']['largest_difference']:.1g}")
    if "no_hf" in report:
        parts.append(report["no_hf"])
    figures = report.get("onnx", {})
    for name, said in figures.items():
        speed = f"{said['seconds_per_audio_second']:.4f} s per second of audio"
        error = f", relative error {said['relative_error']:.1g}" if "relative_error" in said else ""
        parts.append(f"{name}: {speed}{error}")
    return "; ".join(parts) or "nothing to export"


def main(argv: list[str] | None = None) -> None:
    """Export students: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("--systems", required=True, type=Path, nargs="+", help="exp/dice_<tag> …")
    parser.add_argument(
        "--onnx",
        type=options.true_false,
        default=None,
        metavar="BOOL",
        help="also ONNX, float32 and int8; unset: if onnxruntime is installed",
    )
    parser.add_argument("--nj", type=int, default=options.cores(), help="students at a time")
    args = parser.parse_args(argv)
    setup_logging()
    n = export(args.systems, args.onnx, args.nj)
    print(f"{n} exported, {len(args.systems) - n} unchanged")


if __name__ == "__main__":
    cli(main)
