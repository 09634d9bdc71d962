"""The inside of a decoding worker: one queue of batches, one result line an utterance."""

import contextlib
import difflib
import json
import logging
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from pathlib import Path

import numpy as np

from espnet_dice import compat
from espnet_dice.decoding.decode_queue import Queue
from espnet_dice.io.errors import ConfigError
from espnet_dice.records import feature_dir
from espnet_dice.training import trainer

# Speech2Text's defaults suit no one: they are spelt out here, and a config may change them.
BEAM = {
    "beam_size": 10,
    "ctc_weight": 0.3,
    "lm_weight": 0.0,
    "penalty": 0.0,
    "maxlenratio": 0.0,
    "minlenratio": 0.0,
    "normalize_length": False,
}
LARGEST = 1e6
RANGES = {"beam_size": (1, 10000), "ctc_weight": (0, 1), "maxlenratio": (-LARGEST, LARGEST)}
# where nothing ends so late, ESPnet searches again for every 0.1 less
RANGES |= {"lm_weight": (0, LARGEST), "minlenratio": (0, 10)}
KINDS = {bool: "true or false", int: "a whole number", float: "a number"}
FITTING = {bool: (bool, np.bool_), int: Integral, float: Real}
"""Numbers of NumPy, too."""


def check_options(conf: dict, path: Path) -> dict:
    """Beam search options with defaults filled in.

    Raises:
        ConfigError: an unknown key or a value of another type.
    """
    for key, value in conf.items():
        if key not in BEAM:
            near = difflib.get_close_matches(key, BEAM, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(BEAM)}"
            raise ConfigError(f"{path}: unknown key {key!r}{hint}")
        wanted = type(BEAM[key])
        if not isinstance(value, FITTING[wanted]) or (
            isinstance(value, bool) and wanted is not bool
        ):
            raise ConfigError(f"{path}: {key} must be {KINDS[wanted]}, not {value!r}")
        low, high = RANGES.get(key, (-LARGEST, LARGEST))
        if not low <= value <= high:
            raise ConfigError(f"{path}: {key} must be from {low:g} to {high:g}, not {value:g}")
    merged = BEAM | conf
    if -1 < merged["maxlenratio"] < 0:
        raise ConfigError(
            f"{path}: maxlenratio {merged['maxlenratio']:g}: a negative one is a number of tokens, "
            "-1 or less"
        )
    return {k: type(BEAM[k])(v) for k, v in merged.items()}


def decode_all(queue: Queue, worker: int, threads: int, device: str) -> None:
    """A worker's life: take batches of utterances until none is left.

    Args:
        queue: shared with the other workers.
        worker: its number, names its part files.
        threads: CPU threads.
        device: ``cpu`` or ``cuda:N``.
    """
    import torch

    torch.set_num_threads(threads)
    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger().setLevel(logging.WARNING)  # ESPnet tells a page about each utterance
    at, recogniser, loader, part = None, None, None, None
    key = None
    while (batch := queue.take()) is not None:
        d = queue.decodings[batch.index]
        if batch.index != at:
            if part is not None:
                part.close()
            at = batch.index
            wanted = (d.system.directory, d.lm and d.lm.directory, json.dumps(d.conf))
            if wanted != key:
                key, recogniser = wanted, build(d, device)
            loader = feature_dir.Inputs(d.dump)
            (d.out / "parts").mkdir(exist_ok=True)
            part = open(d.out / "parts" / f"{worker}.jsonl", "ab")
            if part.tell():
                part.write(b"\n")  # what a kill cut short must not swallow the next line
        results = decode_batch(
            recogniser, [loader(utt) for utt in batch.utterances], batch.utterances
        )
        for utt, result in zip(batch.utterances, results, strict=True):
            if utt in batch.missing:
                part.write(json.dumps({"utt": utt, **result}).encode() + b"\n")
        part.flush()
        with queue.done.get_lock():
            queue.done.value += len(batch.missing)
    if part is not None:
        os.fsync(part.fileno())
        part.close()


def build(d, device: str = "cpu"):
    """ESPnet's Speech2Text for a decoding."""
    lm = {}
    if d.lm is not None:
        lm = {"lm_train_config": str(d.lm.config), "lm_file": str(d.lm.model_file)}
    return trainer.inference_class()(
        asr_train_config=str(d.system.config),
        asr_model_file=str(d.system.model_file),
        device=device,
        batch_size=1,
        nbest=1,
        **lm,
        **d.conf,
    )


def decode_batch(recogniser, speech: list, utts: Sequence[str] = ()) -> list[dict]:
    """Decode utterances together.

    Args:
        recogniser: ESPnet's Speech2Text.
        speech: of each utterance (T, F) features or (N,) samples.
        utts: their names, for messages.

    Returns:
        For each: text, token and score of the best hypothesis (an empty one where the input is too
        short for the encoder), and its share of the CPU seconds used.
    """
    import torch

    from espnet_dice.decoding.beam import BatchSearch

    start = time.process_time()
    empty = {"text": "", "token": "", "score": f"{0.0:.5f}"}
    results, names = [empty] * len(speech), utts or [""] * len(speech)
    with torch.inference_mode():
        if not BatchSearch.serves(recogniser):
            results = [
                _decode_alone(recogniser, x, name) or empty
                for x, name in zip(speech, names, strict=True)
            ]
        else:
            search, encoded = BatchSearch(recogniser), {}
            for i, x in enumerate(speech):
                with _too_short_is_empty(names[i]):
                    encoded[i] = search.encode(torch.tensor(x, device=recogniser.device))
            found = search(list(encoded.values())) if encoded else []
            for i, best in zip(encoded, found, strict=True):
                # None: ESPnet searches again with a lower minlenratio
                results[i] = (
                    _decode_alone(recogniser, speech[i], names[i]) or empty
                    if best is None
                    else _result(recogniser, *best)
                )
    cpu_s = time.process_time() - start
    frames = sum(len(x) for x in speech) or 1
    return [
        {**r, "cpu_s": round(cpu_s * len(x) / frames, 4)}
        for r, x in zip(results, speech, strict=True)
    ]


def _result(recogniser, score: float, tokens: list[int]) -> dict:
    """Of a hypothesis, <sos> … <eos>, as ESPnet writes it: without blanks, which are 0."""
    token = recogniser.converter.ids2tokens([t for t in tokens[1:-1] if t])
    text = recogniser.tokenizer.tokens2text(token) if recogniser.tokenizer else ""
    return {"text": text, "token": " ".join(token), "score": f"{score:.5f}"}


def _decode_alone(recogniser, speech, name: str) -> dict | None:
    """Decode one utterance by ESPnet's own search; None where it is too short or nothing ends."""
    from espnet_dice.decoding.wide import widen

    if recogniser.beam_search is not None:
        widen(recogniser.beam_search)
    with _too_short_is_empty(name):
        found = recogniser(speech)
        hypotheses = found[0] if isinstance(found, tuple) else found
        if not hypotheses:
            return None
        text, token, _, hypothesis = hypotheses[0]
        score = f"{float(hypothesis.score):.5f}"
        return {"text": text or "", "token": " ".join(token), "score": score}
    return None


@contextlib.contextmanager
def _too_short_is_empty(name: str) -> Iterator[None]:
    error = compat.moved_module("nets.pytorch_backend.transformer.subsampling").TooShortUttError
    try:
        yield
    except error as err:
        logging.warning("%stoo short, empty result: %s", name and f"{name}: ", err)


def decode_one(recogniser, speech) -> dict:
    """Decode one utterance, see :func:`decode_batch`."""
    return decode_batch(recogniser, [speech])[0]
