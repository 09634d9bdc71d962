"""Stage 11: export recognisers to plain ESPnet, checked against the model that ESPnet builds.

``exp/asr_<tag>/export`` holds config.yaml (with absolute paths), model.pth, data/ (bpe.model and
feats_stats.npz), features.json, export.json, the encoder as encoder.onnx and encoder.int8.onnx, and
two forms that can be moved: asr_<tag>.zip, the archive of ``espnet2.bin.pack``, and ``hf/``, the
same files with a model card, to upload to a hub. With ``--test_set`` both encoders are compared on
speech, too, by the WER of greedy CTC.
"""

import contextlib
import logging
import os
import zipfile
from pathlib import Path
from typing import Any

from espnet_dice.export import cards, greedy_wer, processor, wants_onnx, warm_up_onnx
from espnet_dice.io import options
from espnet_dice.io.atomic import atomic_dir
from espnet_dice.io.errors import ConfigError, cli
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.io.json_files import read_json, write_json
from espnet_dice.io.progress import setup_logging
from espnet_dice.records import dumps, experiment, frontend, tokens
from espnet_dice.records.settings import read_config
from espnet_dice.training import trainer
from espnet_dice.work.workers import Work, run_forked

MODEL = "model.pth"
LOG = "export.log"
VERSION = 4  # raise when the same model gives another export


def export(
    systems: list[Path],
    token_list: Path,
    onnx: bool | None = None,
    nj: int | None = None,
    test_set: Path | None = None,
    test_utterances: int = greedy_wer.UTTERANCES,
) -> int:
    """Export the systems that are not exported yet.

    Args:
        systems: experiment directories.
        token_list: directory of the token list that they were trained with.
        onnx: the encoder also as ONNX; None: if the packages that it takes are installed.
        nj: systems at a time; None: as many as there are cores.
        test_set: features on which the ONNX encoders are compared by their WER; None: they are not.
        test_utterances: of it, at most.

    Returns:
        How many were exported.

    Raises:
        ConfigError: ``test_utterances`` is below 1.
        DiceError: an exported model would not be exactly plain ESPnet's.
    """
    if test_utterances < 1:
        raise ConfigError(f"--test_utterances {test_utterances}: give a number from 1")
    with_onnx = wants_onnx(onnx)
    test = dumps.load(test_set) if with_onnx and test_set else None
    tested = {"test_utterances": test_utterances} if test else {}
    token_key = tokens.key_of(token_list)
    works, pending = [], []
    for directory in systems:
        system = experiment.load(directory, "stage 5 or 7")
        out = system.directory / "export"
        fingerprint = Fingerprint(
            "export",
            {"version": VERSION, "path": str(out.resolve()), "onnx": with_onnx, **tested},
            {"model": system.sha256, "tokens": token_key} | ({"test": test.key} if test else {}),
        )
        if fingerprint.is_done(out):
            logging.info("%s: unchanged, skipped", system.name)
            continue

        def run(system=system, fingerprint=fingerprint):
            write(system, token_list, with_onnx, fingerprint, test, test_utterances)

        pending.append(system)
        works.append(Work(system.name, run, system.directory / LOG))
    if pending:
        trainer.task_class("asr")
        if with_onnx:
            warm_up_onnx()
        run_forked(works, nj or options.cores())
    for system in pending:
        tell(system.name, read_json(system.directory / "export" / cards.REPORT))
    for exp in {directory.parent for directory in systems}:
        greedy_wer.add_to_results(exp)  # the scoring stage has written the file again
    return len(pending)


def tell(name: str, report: dict[str, Any]) -> None:
    """What an export cannot, and how exact it is, in lines of the log."""
    if report["not_plain"]:
        logging.warning(
            "%s: %s: the export loads only where this package is installed, after "
            "espnet_dice.register()",
            name,
            report["not_plain"],
        )
    if report.get("no_onnx"):
        logging.warning("%s: no ONNX: %s", name, report["no_onnx"])
    worst = report["largest_difference"]
    logging.info("%s: exported, largest difference of outputs %.1g", name, worst)
    if greedy_wer.KEY in report:
        logging.info("%s: %s", name, greedy_wer.said(report[greedy_wer.KEY]))


def write(
    system: experiment.Experiment,
    token_list: Path,
    onnx: bool,
    fingerprint: Fingerprint,
    test: dumps.Dump | None = None,
    test_utterances: int = greedy_wer.UTTERANCES,
) -> None:
    """Write one system's export, in a process of its own.

    Raises:
        ConfigError: the exported model would not be exactly plain ESPnet's.
    """
    import torch

    from espnet_dice.export import asr

    torch.set_num_threads(1)
    out = system.directory / "export"
    with atomic_dir(out) as tmp:
        heard = frontend.of_training(read_config(system.config))
        if heard is not None:
            heard.save(tmp)  # before: all that is there is packed
        report = asr.write_export(
            system.config, system.model_file, token_list / tokens.MODEL, tmp, out, onnx
        )
        report["processor"] = processor.describe()
        if test is not None and report.get("onnx"):
            figures = greedy_wer.measure(tmp, test, token_list, test_utterances)
            report[greedy_wer.KEY] = figures
        hub_directory(tmp, tmp / f"{system.name}.zip")
        write_json(tmp / cards.REPORT, report)
        cards.recogniser(system, tmp)
        fingerprint.finish(tmp)


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
    parser.add_argument(
        "--test_set", type=Path, help="dump/<type>/<set> on which the ONNX encoders are compared"
    )
    parser.add_argument(
        "--test_utterances", type=int, default=greedy_wer.UTTERANCES, help="of it, at most"
    )
    parser.add_argument("--nj", type=int, default=options.cores(), help="systems at a time")
    args = parser.parse_args(argv)
    setup_logging()
    n = export(
        args.systems,
        args.token_list,
        args.onnx,
        args.nj,
        args.test_set,
        args.test_utterances,
    )
    print(f"{n} exported, {len(args.systems) - n} unchanged")


if __name__ == "__main__":
    cli(main)
