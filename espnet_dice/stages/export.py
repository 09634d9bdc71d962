"""Export models: recognisers to plain ESPnet, HuBERT students to transformers, both to ONNX.

    python -m espnet_dice.stages.export --systems exp/asr_tiny --token_list data/token_list/char31
    python -m espnet_dice.stages.export --systems exp/dice_narrow_hard_seed0
    python -m espnet_dice.stages.export --systems exp/asr_kd_off    # trained by ESPnet's asr.sh

makes ``exp/<system>/export``, see :mod:`espnet_dice.export.recogniser` and
:mod:`espnet_dice.export.student`. Every file is compared with the trained model on the way out, and
with ``--test_set`` a recogniser's ONNX encoders by the WER of greedy CTC; with ``--data`` also
``ship/``, which runs without ESPnet, from waveform to text. ``--lm`` puts the language model into
``ship/`` of the recognisers that the results have with it, once written to ``exp/lm_<tag>/export``.
``--demo true`` writes ``demo/`` beside ``ship/``, a page that transcribes in a browser. The model
cards of all systems are written with the results that are there now.
"""

import logging
from pathlib import Path

from espnet_dice.export import (
    cards,
    greedy_wer,
    language_model,
    processor,
    shipped,
)
from espnet_dice.export.cards import card
from espnet_dice.export.onnx import wants_onnx, warm_up_onnx
from espnet_dice.export.recogniser import RecogniserExport
from espnet_dice.export.student import StudentExport
from espnet_dice.io import options
from espnet_dice.io.atomic import atomic_dir
from espnet_dice.io.errors import ConfigError, DataError, cli
from espnet_dice.io.json_files import read_json, write_json
from espnet_dice.io.progress import setup_logging
from espnet_dice.records import experiment, feature_dir, frontend, of_espnet, tokens
from espnet_dice.records.spoken import Spoken
from espnet_dice.ship import demo as page
from espnet_dice.training import trainer
from espnet_dice.work.workers import Work, run_forked

LOG = "export.log"
ESPNETS = "asr of ESPnet"


def export(
    systems: list[Path],
    token_list: Path | None = None,
    onnx: bool | None = None,
    nj: int | None = None,
    test_set: Path | None = None,
    test_utterances: int = greedy_wer.UTTERANCES,
    data: Path | None = None,
    allow_pipes: bool = False,
    lang: str | None = None,
    dataset: str | None = None,
    lm: Path | None = None,
    demo: bool = False,
) -> int:
    """Export the systems that are not exported yet.

    Args:
        systems: experiment directories, ``exp/asr_<tag>`` or ``exp/dice_<tag>``.
        token_list: directory of the token list that the recognisers were trained with; those of
            ESPnet's own training take none.
        onnx: also as ONNX; None: if the packages that it takes are installed.
        nj: systems at a time; None: as many as there are cores.
        test_set: features on which recognisers' ONNX encoders are compared; None: they are not.
        test_utterances: of it, at most.
        data: directory of the data directories, where the test set's audio is; None: what is
            shipped is not measured.
        allow_pipes: run wav.scp entries that are shell commands.
        lang, dataset: for the cards, see :func:`card.about`.
        lm: language model, ``exp/lm_<tag>``, for ``ship/`` of recognisers that the results have
            with it, at their weights; None: none.
        demo: for every recogniser with ``ship/`` also a page for a browser; npm fetches its
            runtime, once, to the experiments' directory.

    Returns:
        How many were exported.

    Raises:
        ConfigError: ``test_utterances`` is below 1, recognisers come without a token list, or the
            runtime of the page cannot be fetched.
        StaleError: an experiment is not finished.
        DiceError: an exported model would not be the trained one.
    """
    if test_utterances < 1:
        raise ConfigError(f"--test_utterances {test_utterances}: give a number from 1")
    with_onnx = wants_onnx(onnx)
    loaded = [of_espnet.load(directory, "the stage that trains it") for directory in systems]
    kinds = [_kind(system) for system in loaded]
    about = card.about(lang, dataset)
    runtime = page.fetch(systems[0].parent) if demo else None
    makers = {
        ESPNETS: RecogniserExport(None, with_onnx, about=about),
        "dice": StudentExport(with_onnx, about),
    }
    if "asr" in kinds:
        if token_list is None:
            raise ConfigError("--token_list: recognisers are exported with theirs; name it")
        test = feature_dir.load(test_set) if with_onnx and test_set else None
        spoken = _spoken(test, data, allow_pipes)
        language = experiment.load(lm, "the stage that trains it") if lm and with_onnx else None
        how = (test, test_utterances, spoken, about, language)
        makers["asr"] = RecogniserExport(token_list, with_onnx, *how)
    pending = []
    for system, kind in zip(loaded, kinds, strict=True):
        if kind not in makers:
            raise ConfigError(f"{system.directory}: no recogniser and no HuBERT: nothing to export")
        if makers[kind].fingerprint(system).is_done(system.directory / cards.EXPORT):
            logging.info("%s: unchanged, skipped", system.name)
        else:
            pending.append((system, makers[kind]))
    for maker in {id(maker): maker for _, maker in pending}.values():
        maker.warm_up()
    if with_onnx and pending:
        warm_up_onnx()
    ships_lm = any(maker is makers.get("asr") and maker.lm_weight(s) for s, maker in pending)
    if ships_lm and not language_model.is_done(language):
        trainer.task_class("lm")
        work = Work(language.name, lambda: language_model.write(language), language.directory / LOG)
        run_forked([work], 1)
    works = [
        Work(s.name, lambda s=s, maker=maker: _write(maker, s), s.directory / LOG)
        for s, maker in pending
    ]
    run_forked(works, nj or options.cores())
    for system, maker in pending:
        maker.tell(system.name, read_json(system.directory / cards.EXPORT / cards.REPORT))
    if runtime:
        for directory in systems:
            _write_page(directory / cards.EXPORT, runtime)
    for exp in {directory.parent for directory in systems}:
        cards.refresh(exp)
        greedy_wer.add_to_results(exp)
    return len(pending)


def _kind(system: experiment.Experiment) -> str:
    """The task, or that it is a recogniser of ESPnet's own training."""
    return ESPNETS if of_espnet.is_espnets(system.directory) else system.task


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


def _write_page(export: Path, runtime: Path) -> None:
    """The page of an export that has none."""
    if not (export / shipped.NAME / tokens.LIST).exists():  # a student's gives no text
        logging.warning("%s: no %s/: it ships no recogniser", export.parent.name, page.NAME)
    elif not (export / page.NAME).exists():
        with atomic_dir(export / page.NAME) as tmp:
            page.write(export / shipped.NAME, tmp, runtime)


def _write(maker: RecogniserExport | StudentExport, system: experiment.Experiment) -> None:
    with atomic_dir(system.directory / cards.EXPORT) as tmp:
        report = {**maker.make(system, tmp), "processor": processor.describe()}
        report["card"] = dict(maker.about)
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
    parser.add_argument("--lang", help="language of the speech, for the cards: en, …")
    parser.add_argument("--dataset", help="its name on the Hugging Face hub, for the cards")
    parser.add_argument("--lm", type=Path, help="exp/lm_<tag>, for ship/ of what decoded with it")
    parser.add_argument(
        "--demo", type=options.true_false, default=False, metavar="BOOL",
        help="also a page that transcribes in a browser; takes npm, once",
    )  # fmt: skip
    parser.add_argument("--nj", type=int, default=options.cores(), help="systems at a time")
    args = parser.parse_args(argv)
    setup_logging()
    how = (args.token_list, args.onnx, args.nj, args.test_set, args.test_utterances)
    how += (args.data, args.allow_pipes, args.lang, args.dataset, args.lm, args.demo)
    n = export(args.systems, *how)
    print(f"{n} exported, {len(args.systems) - n} unchanged")


if __name__ == "__main__":
    cli(main)
