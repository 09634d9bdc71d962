"""The frames of spoken phones, of every layer of a model, each of length 1."""

import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from espnet_dice.hubert.upstreams import Upstream
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.io.progress import track
from espnet_dice.probes.abx import Token


class Frames(Mapping):
    """token → its frames, (frames, D) float32, of one layer, in a file without name.

    Args:
        tokens: sorted; their frames lie in this order.
        dim: D.
        directory: on the disk to use.
    """

    def __init__(self, tokens: Sequence[Token], dim: int, directory: Path):
        ends = np.cumsum([token.end - token.first for token in tokens]).tolist()
        self._rows = dict(zip(tokens, itertools.pairwise([0, *ends]), strict=True))
        with tempfile.TemporaryFile(dir=directory) as f:
            self._map = np.memmap(f, np.float32, "w+", shape=(ends[-1], dim))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self):
        return iter(self._rows)

    def __getitem__(self, token: Token) -> np.ndarray:
        start, end = self._rows[token]
        return self._map[start:end]

    def put(self, token: Token, frames: torch.Tensor) -> None:
        """Keep a token's frames, scaled to length 1."""
        start, end = self._rows[token]
        self._map[start:end] = torch.nn.functional.normalize(frames, dim=-1).numpy()


def hear(
    upstream: Upstream,
    tokens: Sequence[Token],
    wave_of: Callable[[str], np.ndarray],
    frames: Mapping[str, int],
    layers: Sequence[int],
    directory: Path,
    cmvn: bool = False,
) -> dict[int, Frames]:
    """Run a model over the utterances that hold tokens, each alone and once.

    Args:
        upstream: the model.
        tokens: sorted, by utterance.
        wave_of: utterance → its samples.
        frames: utterance → how many it has.
        layers: 0 is the input of block 1; empty: all. A model of one layer gives it in any case.
        directory: for the frames, 4 bytes a value, for a while.
        cmvn: bring each dimension to mean 0 and deviation 1 over the utterance, as is done to
            spectral features.

    Returns:
        layer → its frames.

    Raises:
        ConfigError: the model has none of the layers.
        DataError: it has another number of frames, or values that are not finite.
    """
    kept: dict[int, Frames] = {}
    by_utt = {utt: list(of) for utt, of in itertools.groupby(tokens, lambda token: token.utt)}
    for utt, spoken in track(by_utt.items(), len(by_utt), "frames for ABX"):
        states = [x.float().cpu() for x in upstream.hidden([wave_of(utt)])[0]]
        if not kept:
            wanted = range(len(states)) if len(states) == 1 or not layers else layers
            missing = [layer for layer in wanted if not 0 <= layer < len(states)]
            if missing:
                raise ConfigError(
                    f"--layers {missing[0]}: the model's layers are 0 (the input of block 1) to "
                    f"{len(states) - 1}"
                )
            kept = {n: Frames(tokens, states[n].size(-1), directory) for n in wanted}
        for layer, store in kept.items():
            x = states[layer]
            if len(x) != frames[utt]:
                raise DataError(f"{utt}: {len(x)} frames, expected {frames[utt]}, one every 20 ms")
            if not torch.isfinite(x).all():
                raise DataError(f"{utt}: NaN or infinite values; did training diverge?")
            if cmvn:
                x = (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-6)
            for token in spoken:
                store.put(token, x[token.first : token.end])
    return kept
