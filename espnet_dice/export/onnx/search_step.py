"""A step of a search as ONNX: prefixes in, log-probabilities of the next token out.

Of a recogniser's attention decoder, and of a language model. The whole prefix is computed in each
step: no state has to be carried, and prefixes of characters or pieces are short.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_dice.export.onnx import DECODER, DECODER_INT8, LM, LM_INT8, graphs

LONGEST = 5000
"""ESPnet's positions."""
SIZES = ((1, 1, 7), (4, 2, 50), (3, 40, 200))
"""Prefixes, tokens and frames of what is compared."""
DIMS = {
    "tokens": {0: torch.export.Dim("prefixes"), 1: torch.export.Dim("tokens", max=LONGEST)},
    "memory": {1: torch.export.Dim("frames")},
}
Inputs = Mapping[str, torch.Tensor]


class Decoder(torch.nn.Module):
    """What the graph of a decoder computes."""

    def __init__(self, decoder: torch.nn.Module):
        super().__init__()
        self.decoder = copy.deepcopy(decoder).cpu()
        graphs.compute_positions(self.decoder)

    def forward(self, tokens: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """(W, L) prefixes of one utterance, (1, T, D) → (W, V)."""
        x, heard = self.decoder.embed(tokens), memory.expand(tokens.size(0), -1, -1)
        mask = _earlier(tokens)
        for layer in self.decoder.decoders:
            x, _, _, _ = layer(x, mask, heard, None)
        x = x[:, -1:]  # of three dimensions: a product of two is another operation, not quantised
        if self.decoder.normalize_before:
            x = self.decoder.after_norm(x)
        return self.decoder.output_layer(x).log_softmax(-1)[:, 0]


class LanguageModel(torch.nn.Module):
    """What the graph of a Transformer language model computes."""

    def __init__(self, lm: torch.nn.Module):
        super().__init__()
        self.lm = copy.deepcopy(lm).cpu()
        graphs.compute_positions(self.lm)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(W, L) prefixes → (W, V)."""
        x, _ = self.lm.encoder(self.lm.embed(tokens), _earlier(tokens))
        return self.lm.decoder(x[:, -1:]).log_softmax(-1)[:, 0]


def _earlier(tokens: torch.Tensor) -> torch.Tensor:
    """(1, L, L): each token sees itself and those before it."""
    return torch.ones(tokens.size(1), tokens.size(1), dtype=torch.bool).tril()[None]


def why_no_decoder(model) -> str | None:
    """Why a recogniser's decoder has no such form, or None if it has."""
    kind = type(model.decoder).__name__
    if kind != "TransformerDecoder":
        return f"its decoder is {kind}, not TransformerDecoder"
    last = len(model.token_list) - 1
    if not model.sos == model.eos == last:
        return "its <sos/eos> is not the last token"
    return None


def why_no_lm(lm) -> str | None:
    """Why a language model has no such form, or None if it has."""
    kind = type(lm).__name__
    return None if kind == "TransformerLM" else f"the language model is {kind}, not TransformerLM"


def write_decoder(model, directory: Path, source: str) -> dict[str, Any]:
    """Write decoder.onnx and decoder.int8.onnx, and compare them with ESPnet's decoder.

    Args:
        model: ESPnet's recogniser, of which :func:`why_no_decoder` says nothing.
        directory: where to write; exists.
        source: its name for messages.

    Returns:
        As :func:`espnet_dice.export.onnx.asr_encoder.write`.

    Raises:
        ConfigError: the graph cannot be written, or it computes something else.
    """

    def wanted(tokens, memory):
        n, length = tokens.shape
        frames, lengths = torch.tensor([memory.size(1)] * n), torch.tensor([length] * n)
        logits, _ = model.decoder(memory.expand(n, -1, -1), frames, tokens, lengths)
        return logits[:, -1].log_softmax(-1)

    module, width = Decoder(model.decoder).eval(), model.encoder.output_size()
    return _write(module, wanted, (DECODER, DECODER_INT8), model.eos, width, directory, source)


def write_lm(lm, eos: int, directory: Path, source: str) -> dict[str, Any]:
    """The same of a language model: lm.onnx and lm.int8.onnx, beside ESPnet's scores.

    Args:
        lm: ESPnet's, of which :func:`why_no_lm` says nothing.
        eos: its last token.
        directory, source: see :func:`write_decoder`.
    """

    def wanted(tokens):
        return lm(tokens, None)[0][:, -1].log_softmax(-1)

    names, module = (LM, LM_INT8), LanguageModel(lm).eval()
    return _write(module, wanted, names, eos, None, directory, source)


def _write(
    module: torch.nn.Module,
    wanted: Callable[..., torch.Tensor],
    names: Sequence[str],
    eos: int,
    width: int | None,
    directory: Path,
    source: str,
) -> dict[str, Any]:
    example = next(_inputs(eos, width, ((3, 5, 50),)))
    dims = [DIMS[name] for name in example]
    graphs.trace(module, example, dims, ["log_probs"], directory / names[0], source)
    graphs.quantise(directory / names[0], directory / names[1])
    figures = {}
    for name, tolerance in zip(names, (graphs.TOLERANCE, graphs.INT8_TOLERANCE), strict=True):
        graph = graphs.running(directory / name)
        compared = graphs.difference(_outputs(wanted, graph, _inputs(eos, width, SIZES)))
        figures[name] = graphs.figures_of(directory / name, compared, tolerance, source)
    return figures


def _inputs(eos: int, width: int | None, sizes) -> Iterator[Inputs]:
    generator = torch.Generator().manual_seed(0)
    for prefixes, length, frames in sizes:
        said = torch.randint(1, eos, (prefixes, length), generator=generator)
        said[:, 0] = eos
        heard = {"memory": torch.randn(1, frames, width, generator=generator)} if width else {}
        yield {"tokens": said, **heard}


def _outputs(
    wanted: Callable[..., torch.Tensor], graph, inputs: Iterator[Inputs]
) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    for given in inputs:
        with torch.no_grad():
            right = wanted(**given).numpy()
        yield [right], graph.run(None, {name: x.numpy() for name, x in given.items()})
