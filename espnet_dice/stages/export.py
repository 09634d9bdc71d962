"""Stage 11: export recognisers to plain ESPnet, checked against the model that ESPnet builds.

``exp/asr_<tag>/export`` holds config.yaml (with absolute paths), model.pth, data/ (bpe.model and
feats_stats.npz), features.json, export.json, the encoder as encoder.onnx and encoder.int8.onnx, and
two forms that can be moved: asr_<tag>.zip, the archive of ``espnet2.bin.pack``, and ``hf/``, the
same files with a model card, to upload to a hub.
"""

import contextlib
import json
import logging
import os
import zipfile
from pathlib import Path

from espnet_dice.export import wants_onnx
from espnet_dice.io import options
from espnet_dice.io.atomic import atomic_dir, write_text
from espnet_dice.io.errors import cli
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.io.progress import setup_logging
from espnet_dice.stages import cards, experiment, frontend, tokens, trainer
from espnet_dice.stages.settings import read_config

MODEL = "model.pth"
VERSION = 3  # raise when the same model gives another export


def export(systems: list[Path], token_list: Path, onnx: bool | None = None) -> int:
    """Export the systems that are not exported yet.

    Args:
        systems: experiment directories.
        token_list: directory of the token list that they were trained with.
        onnx: the encoder also as ONNX; None: if the packages that it takes are installed.

    Returns:
        How many were exported.

    Raises:
        ConfigError: an exported model would not be exactly plain ESPnet's.
    """
    with_onnx = wants_onnx(onnx)
    token_key = tokens.key_of(token_list)
    pending = []
    for directory in systems:
        system = experiment.load(directory, "stage 5 or 7")
        out = system.directory / "export"
        fingerprint = Fingerprint(
            "export",
            {"version": VERSION, "path": str(out.resolve()), "onnx": with_onnx},
            {"model": system.sha256, "tokens": token_key},
        )
        if fingerprint.is_done(out):
            logging.info("%s: unchanged, skipped", system.name)
        else:
            pending.append((system, out, fingerprint))
    if not pending:
        return 0
    trainer.task_class("asr")
    from espnet_dice.export import asr

    for system, out, fingerprint in pending:
        with atomic_dir(out) as tmp:
            heard = frontend.of_training(read_config(system.config))
            if heard is not None:
                heard.save(tmp)  # before: all that is there is packed
            logging.disable(logging.INFO)  # ESPnet tells of every parameter that it initialises
            try:
                report = asr.write_export(
                    system.config,
                    system.model_file,
                    token_list / tokens.MODEL,
                    tmp,
                    out,
                    with_onnx,
                )
            finally:
                logging.disable(logging.NOTSET)
            hub_directory(tmp, tmp / f"{system.name}.zip")
            write_text(tmp / cards.REPORT, json.dumps(report, indent=1) + "\n")
            cards.recogniser(system, tmp)
            fingerprint.finish(tmp)
        worst = report["largest_difference"]
        logging.info("%s: exported, largest difference of outputs %.1g", system.name, worst)
    return len(pending)


def hub_directory(directory: Path, archive: Path) -> None:
    """Make ``hf``, the archive unpacked, as a hub wants it; parameters are linked, not copied."""
    hub = directory / cards.HF
    with zipfile.ZipFile(archive) as z:
        z.extractall(hub)
    linked = hub / ".linked"
    with contextlib.suppress(OSError):  # not every disk has links
        os.link(directory / MODEL, linked)
        os.replace(linked, hub / MODEL)


def main(argv: list[str] | None = None) -> None:
    """Export: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("--systems", required=True, type=Path, nargs="+", help="exp/asr_<tag> …")
    parser.add_argument("--token_list", required=True, type=Path, help="token list directory")
    parser.add_argument(
        "--onnx",
        type=options.true_false,
        default=None,
        metavar="BOOL",
        help="the encoder also as ONNX, float32 and int8; unset: if onnxruntime is installed",
    )
    args = parser.parse_args(argv)
    setup_logging()
    n = export(args.systems, args.token_list, args.onnx)
    print(f"{n} exported, {len(args.systems) - n} unchanged")


if __name__ == "__main__":
    cli(main)
