"""Export models: recognisers to plain ESPnet, HuBERT students to transformers, both to ONNX.

    python -m espnet_dice.stages.export --systems exp/asr_tiny --token_list data/token_list/char31
    python -m espnet_dice.stages.export --systems exp/dice_narrow_hard_seed0

makes ``exp/<system>/export``, see :mod:`espnet_dice.export.recogniser` and
:mod:`espnet_dice.export.student`. Every file is compared with the trained model on the way out, and
with ``--test_set`` a recogniser's ONNX encoders by the WER of greedy CTC; with ``--data`` also
``ship/``, which runs without ESPnet, from waveform to text. The model cards of all systems are
written with the results that are there now.
"""

import logging
from pathlib import Path

from espnet_dice.export import cards, greedy_wer, processor, wants_onnx, warm_up_onnx
from espnet_dice.export.recogniser import RecogniserExport
from espnet_dice.export.student import StudentExport
from espnet_dice.io import options
from espnet_dice.io.atomic import atomic_dir
from espnet_dice.io.errors import ConfigError, DataError, cli
from espnet_dice.io.json_files import read_json, write_json
from espnet_dice.io.progress import setup_logging
from espnet_dice.records import experiment, feature_dir, frontend
from espnet_dice.records.spoken import Spoken
from espnet_dice.work.workers import Work, run_forked

LOG = "export.log"


def export(
    systems: list[Path],
    token_list: Path | None = None,
    onnx: bool | None = None,
    nj: int | None = None,
    test_set: Path | None = None,
    test_utterances: int = greedy_wer.UTTERANCES,
    data: Path | None = None,
    allow_pipes: bool = False,
) -> int:
    """Export the systems that are not exported yet.

    Args:
        systems: experiment directories, ``exp/asr_<tag>`` or ``exp/dice_<tag>``.
        token_list: directory of the token list that the recognisers were trained with.
        onnx: also as ONNX; None: if the packages that it takes are installed.
        nj: systems at a time; None: as many as there are cores.
        test_set: features on which recognisers' ONNX encoders are compared; None: they are not.
        test_utterances: of it, at most.
        data: directory of the data directories, where the test set's audio is; None: what is
            shipped is not measured.
        allow_pipes: run wav.scp entries that are shell commands.

    Returns:
        How many were exported.

    Raises:
        ConfigError: ``test_utterances`` is below 1, or recognisers come without a token list.
        StaleError: an experiment is not finished.
        DiceError: an exported model would not be the trained one.
    """
    if test_utterances < 1:
        raise ConfigError(f"--test_utterances {test_utterances}: give a number from 1")
    with_onnx = wants_onnx(onnx)
    loaded = [experiment.load(directory, "the stage that trains it") for directory in systems]
    makers = {}
    if any(system.task == "asr" for system in loaded):
        if token_list is None:
            raise ConfigError("--token_list: recognisers are exported with theirs; name it")
        test = feature_dir.load(test_set) if with_onnx and test_set else None
        spoken = _spoken(test, data, allow_pipes)
        makers["asr"] = RecogniserExport(token_list, with_onnx, test, test_utterances, spoken)
    if any(system.task == "dice" for system in loaded):
        makers["dice"] = StudentExport(with_onnx)
    pending = []
    for system in loaded:
        if system.task not in makers:
            raise ConfigError(f"{system.directory}: no recogniser and no HuBERT: nothing to export")
        if makers[system.task].fingerprint(system).is_done(system.directory / cards.EXPORT):
            logging.info("%s: unchanged, skipped", system.name)
        else:
            pending.append(system)
    for task in sorted({system.task for system in pending}):
        makers[task].warm_up()
    if with_onnx and pending:
        warm_up_onnx()
    works = [
        Work(s.name, lambda s=s: _write(makers[s.task], s), s.directory / LOG) for s in pending
    ]
    run_forked(works, nj or options.cores())
    for system in pending:
        report = read_json(system.directory / cards.EXPORT / cards.REPORT)
        makers[system.task].tell(system.name, report)
    for exp in {directory.parent for directory in systems}:
        cards.refresh(exp)
        greedy_wer.add_to_results(exp)
    return len(pending)


def _spoken(
    test: feature_dir.FeatureDir | None, data: Path | None, allow_pipes: bool
) -> Spoken | None:
    """The audio of the test set; None where it is not there, or not known to be that."""
    if test is None or data is None or frontend.of_dump(test.path) is None:
        return None
    try:
        return Spoken(test, data, allow_pipes)
    except DataError as err:  # features are enough for all but this measure
        logging.warning("ship/ is not measured: %s", err)
        return None


def _write(maker: RecogniserExport | StudentExport, system: experiment.Experiment) -> None:
    with atomic_dir(system.directory / cards.EXPORT) as tmp:
        report = {**maker.make(system, tmp), "processor": processor.describe()}
        write_json(tmp / cards.REPORT, report)
        cards.write(system, tmp)
        maker.fingerprint(system).finish(tmp)


def main(argv: list[str] | None = None) -> None:
    """Export: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("--systems", required=True, type=Path, nargs="+", help="exp/asr_<tag> …")
    parser.add_argument("--token_list", type=Path, help="token list directory, for recognisers")
    parser.add_argument(
        "--onnx",
        type=options.true_false,
        default=None,
        metavar="BOOL",
        help="also ONNX, float32 and int8; unset: if onnxruntime is installed",
    )
    parser.add_argument(
        "--test_set", type=Path, help="dump/<type>/<set> on which the ONNX encoders are compared"
    )
    parser.add_argument(
        "--test_utterances", type=int, default=greedy_wer.UTTERANCES, help="of it, at most"
    )
    parser.add_argument("--data", type=Path, help="audio of the test set, to measure ship/")
    parser.add_argument(
        "--allow_pipes", type=options.true_false, default=False, metavar="BOOL",
        help="run wav.scp entries that are shell commands",
    )  # fmt: skip
    parser.add_argument("--nj", type=int, default=options.cores(), help="systems at a time")
    args = parser.parse_args(argv)
    setup_logging()
    how = (args.token_list, args.onnx, args.nj, args.test_set, args.test_utterances)
    n = export(args.systems, *how, args.data, args.allow_pipes)
    print(f"{n} exported, {len(args.systems) - n} unchanged")


if __name__ == "__main__":
    cli(main)
