"""A recogniser's encoder as ONNX: features or waveforms in, frames and CTC log-probabilities out.

Enough for decoding by CTC without torch; :mod:`search_step` writes the attention decoder.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_dice.export.onnx import ENCODER, ENCODER_INT8, graphs
from espnet_dice.hubert.models.frames import RECEPTIVE
from espnet_dice.records.frontend import Frontend

OUTPUTS = ("encoder_out", "ctc_log_probs")
PARTS = ("embed", "encoders", "after_norm")
MIN_FRAMES, MAX_FRAMES = 7, 19000
"""What conv2d subsampling needs for one frame, and what ESPnet's positions of 5000 reach."""
SAMPLES = 160
"""Of a frame of 10 ms, where an encoder takes waveforms."""


class Encoder(torch.nn.Module):
    """What the ONNX graph computes of utterances of equal lengths, normalisation included."""

    lengths = (MIN_FRAMES, 101, 333)
    """Of the utterances on which outputs are compared."""
    normalize = "mean and variance of the training set, in the graph"

    def __init__(self, model):
        super().__init__()
        self.encoder = copy.deepcopy(model.encoder).cpu()
        graphs.compute_positions(self.encoder)
        self.ctc = copy.deepcopy(model.ctc.ctc_lo).cpu()
        normalize = model.normalize
        self.register_buffer("mean", torch.as_tensor(normalize.mean).float().clone())
        self.register_buffer("std", torch.as_tensor(normalize.std).float().clone())

    def forward(self, speech: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, F) → (B, T', D), (B, T', V): without padding nothing needs a mask."""
        x, _ = self.encoder.embed((speech - self.mean) / self.std, None)
        for block in self.encoder.encoders:
            x, _ = block(x, None)
        x = self.encoder.after_norm(x[0] if isinstance(x, tuple) else x)
        return x, self.ctc(x).log_softmax(-1)

    def noise(self, length: int, generator: torch.Generator) -> torch.Tensor:
        """An input of two utterances, (2, length, F)."""
        noise = torch.randn(2, length, len(self.mean), generator=generator)
        return noise * self.std + self.mean


class WaveEncoder(torch.nn.Module):
    """The same of ``encoder: dice_ssl``."""

    lengths = (3 * RECEPTIVE, SAMPLES * 101, SAMPLES * 133 + 77)

    def __init__(self, model):
        super().__init__()
        self.encoder = copy.deepcopy(model.encoder).cpu()
        graphs.prepare(self.encoder)
        self.normalize = graphs.NORMALIZE[self.encoder.normalize]
        self.ctc = copy.deepcopy(model.ctc.ctc_lo).cpu()

    def forward(self, speech: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, S) → (B, T', D), (B, T', V)."""
        x = self.encoder.of_equal_lengths(speech)
        return x, self.ctc(x).log_softmax(-1)

    def noise(self, length: int, generator: torch.Generator) -> torch.Tensor:
        """An input of two utterances, (2, length)."""
        return 0.1 * torch.randn(2, length, generator=generator)


def takes_waves(model) -> bool:
    """Whether a recogniser's encoder is ``dice_ssl``."""
    return hasattr(model.encoder, "of_equal_lengths")


def why_not(model) -> str | None:
    """Why a recogniser's encoder has no such form, or None if it has."""
    if takes_waves(model):
        return None if model.ctc is not None else "it has no CTC"
    if model.frontend is not None or getattr(model, "preencoder", None) is not None:
        return "it takes waveforms through a frontend of ESPnet's"
    if type(model.normalize).__name__ != "GlobalMVN":
        return "its normalisation is not global_mvn"
    if not all(hasattr(model.encoder, part) for part in PARTS):
        return f"{type(model.encoder).__name__} is not built of {', '.join(PARTS)}"
    return None if model.ctc is not None else "it has no CTC"


def write(model, directory: Path, source: str, heard: Frontend | None = None) -> dict[str, Any]:
    """Write encoder.onnx and encoder.int8.onnx, and compare them with ESPnet's ``encode``.

    Args:
        model: ESPnet's recogniser, of which :func:`why_not` says nothing.
        directory: where to write; exists.
        source: its name for messages.
        heard: its features, if they are known, for the metadata of the files.

    Returns:
        For each file the error relative to ESPnet's output, the largest difference, and its size.

    Raises:
        ConfigError: the graph cannot be written, or it computes something else.
    """
    model = model.eval()
    waves = takes_waves(model)
    module = (WaveEncoder if waves else Encoder)(model).eval()
    shortest, longest = (RECEPTIVE, None) if waves else (MIN_FRAMES, MAX_FRAMES)
    dims = {0: torch.export.Dim("batch"), 1: torch.export.Dim("n", min=shortest, max=longest)}
    speech = module.noise(100 * (SAMPLES if waves else 1), torch.Generator().manual_seed(0))
    graphs.trace(module, {graphs.INPUT: speech}, (dims,), OUTPUTS, directory / ENCODER, source)
    graphs.quantise(directory / ENCODER, directory / ENCODER_INT8)
    said: dict[str, Any] = {"normalize": module.normalize}
    if heard is not None:
        said |= {"feats_type": heard.feats_type, "sampling_rate": heard.rate}
    figures = {}
    for name, tolerance in ((ENCODER, graphs.TOLERANCE), (ENCODER_INT8, graphs.INT8_TOLERANCE)):
        graphs.describe(directory / name, said)
        compared = compare(model, graphs.session(directory / name), module)
        figures[name] = graphs.figures_of(directory / name, compared, tolerance, source)
    return figures


def compare(model, run, module: Encoder | WaveEncoder) -> tuple[float, float]:
    """:func:`graphs.difference` of ESPnet's ``encode`` and ``run`` on noise of several lengths."""
    return graphs.difference(_outputs(model, run, module))


def _outputs(
    model, run, module: Encoder | WaveEncoder
) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    generator = torch.Generator().manual_seed(0)
    for length in module.lengths:
        speech = module.noise(length, generator)
        with torch.no_grad():
            memory, _ = model.encode(speech.clone(), torch.tensor([length, length]))  # in place
            wanted = [memory.numpy(), model.ctc.log_softmax(memory).numpy()]
        yield wanted, run(speech.numpy())
