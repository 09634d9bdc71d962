"""``ship/``: a model with a runtime that needs numpy and onnxruntime alone, to copy anywhere.

It holds ``model.onnx`` and ``model.int8.onnx`` (the export's ONNX files, linked), ``config.json``,
``infer.py`` with ``hearing.py`` and ``search.py``, and of a recogniser ``tokens.txt``,
``ngram.py``, its decoder as ``decoder.onnx`` and ``decoder.int8.onnx``, where it was decoded with
one its language model as ``lm.onnx`` and ``lm.int8.onnx``, and where it hears pitch, ``pitch.py``.
See :mod:`espnet_dice.ship.infer`.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import espnet_dice.ship
from espnet_dice.export.onnx import DECODER, DECODER_INT8, ENCODER, ENCODER_INT8, LM, LM_INT8
from espnet_dice.hubert.models.frames import RECEPTIVE, SAMPLE_RATE
from espnet_dice.io.atomic import link_or_copy, write_text
from espnet_dice.io.json_files import write_json
from espnet_dice.records import tokens
from espnet_dice.records.feature_shards import ALGORITHM, RAW
from espnet_dice.records.frontend import Frontend
from espnet_dice.ship import pitch_file
from espnet_dice.ship.infer import SPACE

NAME = "ship"
RUNTIME, HEARING, SEARCH, NGRAM = "infer.py", "hearing.py", "search.py", "ngram.py"
CONFIG = "config.json"
WITH_ESPNET = "with_espnet.py"
"""The source of the ``infer.py`` that decodes with ESPnet."""
MODEL, MODEL_INT8 = "model.onnx", "model.int8.onnx"
BLANK = 0
ESPNETS_SPACE = "<space>"
"""Among characters; SentencePiece's is the runtime's."""
FRAME_S = 0.01
"""Between features."""
FRAMES = 200
"""Between the lengths of two inputs, whose outputs tell the subsampling."""


def why_not(heard: Frontend | None) -> str | None:
    """Why a recogniser that has ONNX files cannot be shipped, or None if it can."""
    if heard is None:
        return "it is not known how its features were made"
    if heard.algorithm != ALGORITHM:
        return f"its features are of version {heard.algorithm}, this espnet_dice makes {ALGORITHM}"
    return None


def recogniser(
    directory: Path, heard: Frontend, listed: Sequence[str], lm_weight: float = 0.0
) -> None:
    """Write ``ship/`` of a recogniser, of which :func:`why_not` says nothing.

    Args:
        directory: of the export; holds the encoder, and perhaps the decoder and a language model,
            as ONNX, and the features' statistics.
        heard: its features.
        listed: the token list, of pieces of SentencePiece or of characters.
        lm_weight: of that language model.
    """
    from espnet_dice.export import plain_espnet
    from espnet_dice.export.onnx import asr_encoder, graphs

    models = {MODEL: directory / ENCODER, MODEL_INT8: directory / ENCODER_INT8}
    models |= {name: directory / name for name in (DECODER, DECODER_INT8, LM, LM_INT8)}
    models = {name: path for name, path in models.items() if path.exists()}
    raw, run = heard.feats_type == RAW, graphs.session(directory / ENCODER)
    step, shape, shortest = FRAMES * asr_encoder.SAMPLES, (), RECEPTIVE
    if not raw:
        with np.load(directory / plain_espnet.STATS) as stats:
            step, shape, shortest = FRAMES, stats["sum"].shape, asr_encoder.MIN_FRAMES
    inputs = (np.zeros((1, n * step, *shape), np.float32) for n in (1, 2))
    short, long = (run(x)[1].shape[1] for x in inputs)
    conf = {
        "task": "asr",
        "feats_type": heard.feats_type,
        "rate": heard.rate,
        "cmvn": None if raw else "global, in the graph",
        "blank": BLANK,
        "subsampling": round(step / (long - short)),
        "shortest": shortest,
        "longest_s": asr_encoder.MAX_FRAMES * FRAME_S,
        "lm_weight": lm_weight,
        "parts": sorted({name.partition(".")[0] for name in models}),  # a copy has to hold them
    }
    to = directory / NAME
    _write(to, models, conf)
    pieces = (SPACE if token == ESPNETS_SPACE else token for token in listed)
    write_text(to / tokens.LIST, "".join(f"{piece}\n" for piece in pieces))
    shutil.copyfile(_source(NGRAM), to / NGRAM)
    _hear(to, heard.feats_type)


def with_espnet(directory: Path, heard: Frontend) -> None:
    """Write ``infer.py``, which takes ESPnet's recogniser beside it from a WAV file to text.

    Args:
        directory: of the export.
        heard: its features, of which :func:`why_not` says nothing.
    """
    shutil.copyfile(_source(WITH_ESPNET), directory / RUNTIME)
    _hear(directory, heard.feats_type)


def student(directory: Path) -> None:
    """Write ``ship/`` of a HuBERT student: waveforms in, hidden states out.

    Args:
        directory: of the export; holds the student as ONNX.
    """
    from espnet_dice.export.onnx import student

    models = {MODEL: directory / student.FLOAT, MODEL_INT8: directory / student.INT8}
    conf = {"task": "ssl", "feats_type": "raw", "rate": SAMPLE_RATE, "shortest": RECEPTIVE}
    _write(directory / NAME, models, conf)
    _hear(directory / NAME, RAW)


def _write(to: Path, models: Mapping[str, Path], conf: Mapping[str, Any]) -> None:
    to.mkdir()
    for name, path in models.items():
        link_or_copy(path, to / name)
    for name in (RUNTIME, SEARCH):
        shutil.copyfile(_source(name), to / name)
    write_json(to / CONFIG, conf)


def _hear(to: Path, feats_type: str) -> None:
    """Write what the runtimes make features with."""
    shutil.copyfile(_source(HEARING), to / HEARING)
    if feats_type == "fbank_pitch":
        (to / pitch_file.NAME).write_text(pitch_file.text(), encoding="utf-8")


def _source(name: str) -> Path:
    return Path(espnet_dice.ship.__file__).with_name(name)


def runtime(directory: Path) -> ModuleType:
    """The module ``infer.py`` of a shipped model.

    Args:
        directory: of the export.
    """
    path = directory / NAME / RUNTIME
    module = ModuleType("infer")
    module.__file__ = str(path)
    # importing it would leave compiled files beside it
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return module
