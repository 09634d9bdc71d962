"""A recogniser's attention decoder as ONNX: prefixes in, log-probabilities of the next token out.

The whole prefix is computed in each step: no state has to be carried, and prefixes of characters or
pieces are short.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_dice.export import DECODER, DECODER_INT8, onnx

LONGEST = 5000
"""ESPnet's positions."""
SIZES = ((1, 1, 7), (4, 2, 50), (3, 40, 200))
"""Prefixes, tokens and frames of what is compared."""


class Decoder(torch.nn.Module):
    """What the graph computes."""

    def __init__(self, decoder: torch.nn.Module):
        super().__init__()
        self.decoder = copy.deepcopy(decoder).cpu()
        onnx.compute_positions(self.decoder)

    def forward(self, tokens: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """(W, L) prefixes of one utterance, (1, T, D) → (W, V)."""
        mask = torch.ones(tokens.size(1), tokens.size(1), dtype=torch.bool).tril()[None]
        x, heard = self.decoder.embed(tokens), memory.expand(tokens.size(0), -1, -1)
        for layer in self.decoder.decoders:
            x, _, _, _ = layer(x, mask, heard, None)
        x = x[:, -1:]  # of three dimensions: a product of two is another operation, not quantised
        if self.decoder.normalize_before:
            x = self.decoder.after_norm(x)
        return self.decoder.output_layer(x).log_softmax(-1)[:, 0]


def why_not(model) -> str | None:
    """Why a recogniser's decoder has no such form, or None if it has."""
    kind = type(model.decoder).__name__
    if kind != "TransformerDecoder":
        return f"its decoder is {kind}, not TransformerDecoder"
    last = len(model.token_list) - 1
    if not model.sos == model.eos == last:
        return "its <sos/eos> is not the last token"
    return None


def write(model, directory: Path, source: str) -> dict[str, Any]:
    """Write decoder.onnx and decoder.int8.onnx, and compare them with ESPnet's decoder.

    Args:
        model: ESPnet's recogniser, of which :func:`why_not` says nothing.
        directory: where to write; exists.
        source: its name for messages.

    Returns:
        As :func:`espnet_dice.export.asr_onnx.write`.

    Raises:
        ConfigError: the graph cannot be written, or it computes something else.
    """
    module = Decoder(model.decoder).eval()
    tokens, memory = next(_inputs(model, ((3, 5, 50),)))
    dims = (
        {0: torch.export.Dim("prefixes"), 1: torch.export.Dim("tokens", max=LONGEST)},
        {1: torch.export.Dim("frames")},
    )
    example = {"tokens": tokens, "memory": memory}
    onnx.trace(module, example, dims, ["log_probs"], directory / DECODER, source)
    onnx.quantise(directory / DECODER, directory / DECODER_INT8)
    figures = {}
    for name, tolerance in ((DECODER, onnx.TOLERANCE), (DECODER_INT8, onnx.INT8_TOLERANCE)):
        compared = onnx.difference(_outputs(model, onnx.running(directory / name)))
        figures[name] = onnx.figures_of(directory / name, compared, tolerance, source)
    return figures


def _inputs(model, sizes) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    width = model.encoder.output_size()
    for prefixes, length, frames in sizes:
        said = torch.randint(1, model.eos, (prefixes, length), generator=generator)
        said[:, 0] = model.sos
        yield said, torch.randn(1, frames, width, generator=generator)


def _outputs(model, run) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    for tokens, memory in _inputs(model, SIZES):
        n, length = tokens.shape
        heard = memory.expand(n, -1, -1)
        lengths = torch.tensor([memory.size(1)] * n), torch.tensor([length] * n)
        with torch.no_grad():
            logits, _ = model.decoder(heard, lengths[0], tokens, lengths[1])
        wanted = [logits[:, -1].log_softmax(-1).numpy()]
        yield wanted, run.run(None, {"tokens": tokens.numpy(), "memory": memory.numpy()})
