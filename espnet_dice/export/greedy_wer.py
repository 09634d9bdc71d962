"""What eight bits cost: WER of the exported encoders by greedy CTC, on some of a test set.

Greedy CTC needs the encoder alone; its WER is above that of beam search, and is for comparing the
two files with each other.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.export import ENCODER, ENCODER_INT8
from espnet_dice.io.errors import DataError
from espnet_dice.io.json_files import read_json
from espnet_dice.io.texts import words
from espnet_dice.probes.probe_scores import greedy
from espnet_dice.records import dumps, tokens
from espnet_dice.results import table as results
from espnet_dice.results.score import error_rates

KEY = "greedy_wer"
"""Of ``export.json``: set, utterances, words, and the WER in % of each file."""
UTTERANCES = 200
TITLE = "## Exported encoders"
NOTE = (
    "WER by greedy CTC of the encoder in onnxruntime, without decoder and LM: above that of beam "
    "search, and for comparing the two files."
)


def measure(directory: Path, test: dumps.Dump, token_list: Path, utterances: int) -> dict[str, Any]:
    """WER of encoder.onnx and encoder.int8.onnx.

    Args:
        directory: of the export.
        test: features of a test set with transcripts.
        token_list: directory of the token list.
        utterances: how many, at most; they are spread over the set.

    Returns:
        What ``export.json`` has under :data:`KEY`.

    Raises:
        DataError: no utterance is of a length that the graph takes.
    """
    import sentencepiece as spm

    from espnet_dice.export import asr_onnx, onnx

    pieces = spm.SentencePieceProcessor(model_file=str(token_list / tokens.MODEL))
    entries, reference, features = tokens.entries(token_list), words(test.text), dumps.Inputs(test)
    chosen = choose(test.lengths, utterances, asr_onnx.MAX_FRAMES)
    if not chosen:
        raise DataError(f"{test.path}: no utterance of {asr_onnx.MAX_FRAMES} frames or fewer")
    found = {"set": test.name, "utterances": len(chosen)}
    for name in (ENCODER, ENCODER_INT8):
        run = onnx.session(directory / name)
        texts = {}
        for utt in chosen:
            _, log_probs = run(features(utt)[None])
            ids = greedy(log_probs[0])
            texts[utt] = " ".join(pieces.decode([entries[i] for i in ids]).split())
        rates = error_rates({utt: reference[utt] for utt in chosen}, texts)
        found["words"], found[name] = rates["words"], rates["wer"]
    return found


def choose(lengths: Mapping[str, int], utterances: int, longest: int) -> list[str]:
    """At most so many utterances of a set, spread over it, none longer than ``longest``."""
    fitting = [u for u in sorted(lengths) if lengths[u] <= longest]
    at = np.linspace(0, len(fitting), min(utterances, len(fitting)), endpoint=False).astype(int)
    return [fitting[i] for i in at]


def said(figures: dict[str, Any]) -> str:
    """The figures in a line."""
    full, int8 = figures[ENCODER], figures[ENCODER_INT8]
    return (
        f"greedy CTC on {figures['utterances']} utterances of {figures['set']}: "
        f"{full:.1f} % WER, int8 {int8:.1f} %"
    )


def add_to_results(exp: Path) -> None:
    """Show the figures of all exports at the end of ``RESULTS.md``, if it is there."""
    lines = [["system", "set", "utterances", "words", "WER %", "int8 WER %"]]
    for path in sorted(exp.glob("asr_*/export/export.json")):
        figures = (read_json(path) or {}).get(KEY)
        if figures:
            system = path.parts[-3].removeprefix("asr_")
            lines.append([system, figures["set"], *_numbers(figures)])
    if len(lines) > 1:
        results.add_section(exp, TITLE, f"{results.layout(lines, left=2)}\n\n{NOTE}")


def _numbers(figures: dict[str, Any]) -> Sequence[str]:
    wers = (f"{figures[name]:.1f}" for name in (ENCODER, ENCODER_INT8))
    return [str(figures["utterances"]), str(figures["words"]), *wers]
