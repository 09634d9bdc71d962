"""What eight bits cost: WER of the exported encoders by greedy CTC, on some of a test set.

Greedy CTC needs the encoder alone; its WER is above that of beam search, and is for comparing the
two files with each other. What is shipped is measured from waveform to text, by its own runtime,
which searches with the decoder where there is one.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.export import shipped
from espnet_dice.export.onnx import ENCODER, ENCODER_INT8
from espnet_dice.io.errors import DataError
from espnet_dice.io.json_files import read_json
from espnet_dice.io.texts import words
from espnet_dice.probes.probe_scores import greedy
from espnet_dice.records import feature_dir, tokens
from espnet_dice.records.spoken import Spoken
from espnet_dice.results import table as results
from espnet_dice.results.score import error_rates

KEY = "greedy_wer"
"""Of ``export.json``: set, utterances, words, and the WER in % of each file."""
SHIP, SPEED, FULL = "ship", "ship_cpu_s_per_audio_s", "full"
"""Among these: WER of ``ship/`` (of int8 weights), its CPU seconds per second of audio, and the WER
of ESPnet's beam search on the same utterances."""
UTTERANCES = 200
TITLE = "## Exported encoders"
NOTE = (
    "WER by greedy CTC of the encoder in onnxruntime, without decoder and LM: above that of beam "
    "search, and for comparing the two files. ship/: the runtime that needs numpy and onnxruntime "
    "alone, with int8, from waveform to text on one thread, by CTC and decoder (beam 4) where the "
    "decoder has a graph, and with the LM named; full: the same utterances by ESPnet's model, LM "
    "and beam search, as decoded above, of features that were there. CPU: seconds per second of "
    "audio."
)


def measure(
    directory: Path,
    test: feature_dir.FeatureDir,
    token_list: Path,
    utterances: int,
    spoken: Spoken | None = None,
    decoded: Path | None = None,
) -> dict[str, Any]:
    """WER of encoder.onnx and encoder.int8.onnx.

    Args:
        directory: of the export.
        test: features of a test set with transcripts.
        token_list: directory of the token list.
        utterances: how many, at most; they are spread over the set.
        spoken: audio of the set: ``ship/``, which is there, is measured as well.
        decoded: the set's ``text`` by ESPnet's beam search, to be measured beside it.

    Returns:
        What ``export.json`` has under :data:`KEY`.

    Raises:
        DataError: no utterance is of a length that the graph takes.
    """
    import sentencepiece as spm

    from espnet_dice.export.onnx import asr_encoder, graphs

    pieces = spm.SentencePieceProcessor(model_file=str(token_list / tokens.MODEL))
    entries, reference, features = (
        tokens.entries(token_list),
        words(test.text),
        feature_dir.Inputs(test),
    )
    unit = 1 if test.dim else asr_encoder.SAMPLES
    chosen = choose(test.lengths, utterances, asr_encoder.MAX_FRAMES * unit)
    if not chosen:
        raise DataError(f"{test.path}: no utterance of {asr_encoder.MAX_FRAMES} frames or fewer")
    wanted = {utt: reference[utt] for utt in chosen}
    found = {"set": test.name, "utterances": len(chosen)}
    for name in (ENCODER, ENCODER_INT8):
        run = graphs.session(directory / name)
        texts = {}
        for utt in chosen:
            _, log_probs = run(features(utt)[None])
            ids = greedy(log_probs[0])
            texts[utt] = " ".join(pieces.decode([entries[i] for i in ids]).split())
        rates = error_rates(wanted, texts)
        found["words"], found[name] = rates["words"], rates["wer"]
    if spoken:
        texts, found[SPEED] = _shipped(directory, chosen, spoken, test.rate)
        found[SHIP] = error_rates(wanted, texts)["wer"]
        if decoded is not None:
            full = words(decoded, "decode again")
            found[FULL] = error_rates(wanted, {utt: full[utt] for utt in chosen})["wer"]
    return found


def _shipped(
    directory: Path, chosen: Sequence[str], spoken: Spoken, rate: int
) -> tuple[dict[str, str], float]:
    """Texts, and CPU seconds per second of audio, of the runtime."""
    model = shipped.runtime(directory).Model(directory / shipped.NAME)
    texts, took, heard = {}, 0.0, 0.0
    for utt in chosen:
        samples = spoken(utt)
        start = time.process_time()
        texts[utt] = model.text(samples, name=utt)
        took += time.process_time() - start
        heard += len(samples) / rate
    return texts, took / heard


def choose(lengths: Mapping[str, int], utterances: int, longest: int) -> list[str]:
    """At most so many utterances of a set, spread over it, none longer than ``longest``."""
    fitting = [u for u in sorted(lengths) if lengths[u] <= longest]
    at = np.linspace(0, len(fitting), min(utterances, len(fitting)), endpoint=False).astype(int)
    return [fitting[i] for i in at]


def said(figures: dict[str, Any]) -> str:
    """The figures in a line."""
    full, int8 = figures[ENCODER], figures[ENCODER_INT8]
    ship = ""
    if SHIP in figures:
        ship = f"; ship/ {figures[SHIP]:.1f} %, {figures[SPEED]:.4f} CPU-s per second of audio"
        if FULL in figures:
            ship += f" (ESPnet's beam search: {figures[FULL]:.1f} %)"
    return (
        f"greedy CTC on {figures['utterances']} utterances of {figures['set']}: "
        f"{full:.1f} % WER, int8 {int8:.1f} %{ship}"
    )


def add_to_results(exp: Path) -> None:
    """Show the figures of all exports at the end of ``RESULTS.md``, if it is there."""
    head = ["system", "set", "utterances", "words", "WER %", "int8 WER %"]
    lines = [head + ["ship/ LM", "ship/ WER %", "ship/ CPU", "full WER %", "full CPU"]]
    decoded = {(row["system"], row["set"], row["lm"]): row for row in results.rows(exp)}
    for path in sorted(exp.glob("asr_*/export/export.json")):
        report = read_json(path) or {}
        figures, lm = report.get(KEY), report.get("lm") or {"name": None}
        if figures:
            system = path.parts[-3].removeprefix("asr_")
            row = decoded.get((system, figures["set"], lm["name"]), {})
            shown = f"{lm['name']} × {lm['weight']:g}" if lm["name"] else "–"
            numbers = _numbers(figures, row)
            lines.append([system, figures["set"], *numbers[:4], shown, *numbers[4:]])
    if len(lines) > 1:
        results.add_section(exp, TITLE, f"{results.layout(lines, left=2)}\n\n{NOTE}")


def _numbers(figures: Mapping[str, Any], row: Mapping[str, Any]) -> Sequence[str]:
    shown = [(figures, name, ".1f") for name in (ENCODER, ENCODER_INT8, SHIP)]
    shown += [(figures, SPEED, ".4f"), (figures, FULL, ".1f"), (row, "cpu_s_per_audio_s", ".4f")]
    numbers = (format(found[key], how) if key in found else "–" for found, key, how in shown)
    return [str(figures["utterances"]), str(figures["words"]), *numbers]
