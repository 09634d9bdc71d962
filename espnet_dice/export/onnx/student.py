"""A student as ONNX: float32, and int8 where it pays."""

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_dice.export.onnx import graphs, missing_for_onnx
from espnet_dice.hubert.frozen import FrozenSSLModel
from espnet_dice.hubert.models.frames import RECEPTIVE, SAMPLE_RATE
from espnet_dice.io.errors import ConfigError

FLOAT, INT8 = "model.onnx", "model.int8.onnx"
OUTPUTS = ("last_hidden_state", "hidden_states")
LENGTHS = (RECEPTIVE, 3 * SAMPLE_RATE // 4, 2 * SAMPLE_RATE + 77)
"""Samples of the utterances on which outputs are compared."""
SECONDS, REPEATS = 5, 5
"""Length and number of the timed runs."""


class Exported(torch.nn.Module):
    """What the ONNX graph computes: waveform in, hidden states out, normalisation included."""

    def __init__(self, model: FrozenSSLModel):
        super().__init__()
        self.teacher = copy.deepcopy(model).cpu()
        graphs.prepare(self.teacher)

    def forward(self, speech: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, S) of equal lengths → (B, T, D) for a head, (L + 1, B, T, D) all hidden states."""
        hidden = self.teacher(speech)
        return self.teacher.model.final(hidden[-1]), torch.stack(hidden)


def write(model: FrozenSSLModel, directory: Path) -> dict[str, Any]:
    """Write model.onnx and model.int8.onnx, compare them with ``model``, and time all three.

    Args:
        model: a loaded student (:func:`frozen.load`) of any kind.
        directory: where to write; exists.

    Returns:
        For each file the error relative to the model's own output, the largest difference, its
        size, and seconds per second of audio on one thread (torch's beside them).

    Raises:
        ConfigError: a package is missing, the graph cannot be written, or it computes something
            else.
    """
    missing = missing_for_onnx()
    if missing:
        raise ConfigError(f"{', '.join(missing)}: not installed; pip install 'espnet-dice[onnx]'")
    module = Exported(model)
    to_onnx(module, directory / FLOAT, model.source)
    graphs.quantise(directory / FLOAT, directory / INT8)
    said = {"sampling_rate": SAMPLE_RATE, "normalize": graphs.NORMALIZE[model.normalize]}
    for name in (FLOAT, INT8):
        graphs.describe(directory / name, said)
    runs: dict[str, Callable[[np.ndarray], list[np.ndarray]]] = {"torch": torch_run(module)}
    figures: dict[str, Any] = {"torch": {}}
    for name, tolerance in ((FLOAT, graphs.TOLERANCE), (INT8, graphs.INT8_TOLERANCE)):
        runs[name] = graphs.session(directory / name)
        compared = compare(runs["torch"], runs[name])
        figures[name] = graphs.figures_of(directory / name, compared, tolerance, model.source)
    for name, seconds in speed(runs).items():
        figures[name]["seconds_per_audio_second"] = float(np.median(seconds))
    return figures


def to_onnx(module: Exported, path: Path, source: str) -> None:
    """Write a float32 graph with dynamic batch and length.

    Raises:
        ConfigError: an operation has no ONNX form.
    """
    speech = 0.1 * torch.randn(2, SAMPLE_RATE)
    dims = {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=RECEPTIVE)}
    graphs.trace(module, {graphs.INPUT: speech}, (dims,), OUTPUTS, path, source)


def torch_run(module: Exported) -> Callable[[np.ndarray], list[np.ndarray]]:
    """The same for the model itself."""

    def run(speech: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            return [x.numpy() for x in module(torch.from_numpy(speech))]

    return run


def compare(wanted: Callable, found: Callable) -> tuple[float, float]:
    """:func:`graphs.difference` of two functions of waveforms on noise of several lengths."""
    rng = np.random.default_rng(0)
    noise = (rng.normal(scale=0.1, size=(2, samples)).astype(np.float32) for samples in LENGTHS)
    return graphs.difference((wanted(speech), found(speech)) for speech in noise)


def speed(
    runs: dict[Any, Callable[[np.ndarray], Any]], repeats: int = REPEATS, seconds: float = SECONDS
) -> dict[Any, np.ndarray]:
    """CPU seconds per second of audio of several models on one thread, which take turns.

    Returns:
        (repeats,) of each.
    """
    speech = np.random.default_rng(0).normal(scale=0.1, size=(1, round(seconds * SAMPLE_RATE)))
    speech = speech.astype(np.float32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    took: dict[Any, list[float]] = {name: [] for name in runs}
    try:
        for turn in range(repeats + 1):
            for name, run in runs.items():
                start = time.process_time()
                run(speech)
                if turn:  # the first one allocates
                    took[name].append((time.process_time() - start) / seconds)
    finally:
        torch.set_num_threads(threads)
    return {name: np.array(values) for name, values in took.items()}
