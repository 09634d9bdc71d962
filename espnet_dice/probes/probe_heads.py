"""The light heads that are trained on a frozen model."""

from collections.abc import Callable, Sequence

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from espnet_dice.hubert.models.layer_sum import LayerSum

CHAR_HEADS = ("linear", "conv", "blstm")
CONV_UNITS, CONV_FRAMES = 64, 9


class CharHead(torch.nn.Module):
    """CTC log-probabilities of tokens, frame by frame.

    Args:
        layers, dim: of the features.
        tokens: how many, blank included.
        kind: ``linear``: one linear layer, as in SUPERB's phone recognition; a model that tells
            little makes it insert. ``conv``: a projection to 64, a convolution over 9 frames and a
            ReLU before it, for small models and corpora. ``blstm``: a bidirectional LSTM before
            it, many times the cost.
        units: of the LSTM, each direction.
    """

    def __init__(self, layers: int, dim: int, tokens: int, kind: str = "linear", units: int = 128):
        super().__init__()
        self.sum = LayerSum(layers)
        self.inner = self.conv = self.lstm = None
        if kind == "conv":
            self.inner = torch.nn.Linear(dim, CONV_UNITS)
            self.conv = torch.nn.Conv1d(
                CONV_UNITS, CONV_UNITS, CONV_FRAMES, padding=CONV_FRAMES // 2
            )
            dim = CONV_UNITS
        elif kind == "blstm":
            self.lstm = torch.nn.LSTM(dim, units, batch_first=True, bidirectional=True)
            dim = 2 * units
        self.out = torch.nn.Linear(dim, tokens)

    def forward(self, utts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Utterances (L, frames, D) → (B, longest, tokens), and the frames of each, (B,)."""
        lengths = torch.tensor([x.size(1) for x in utts])
        x = self.sum(torch.cat(list(utts), 1))
        if self.inner is not None:
            x = self.inner(x)  # before padding: zeros then stand behind the end
        x = pad_sequence(x.split(lengths.tolist()), batch_first=True)
        if self.conv is not None:
            x = torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        if self.lstm is not None:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            x, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.out(x).log_softmax(-1), lengths


class SpeakerHead(torch.nn.Module):
    """Speaker logits from the mean of an utterance.

    Args:
        layers, dim: of the features.
        speakers: how many.
        scale: brings the means to deviation 1: they vary less than frames do, by a factor that
            differs from model to model, and the learning rate is one for all.
    """

    def __init__(
        self,
        layers: int,
        dim: int,
        speakers: int,
        scale: Callable[[torch.Tensor], torch.Tensor] = lambda means: means,
    ):
        super().__init__()
        self.scale = scale
        self.sum = LayerSum(layers)
        self.out = torch.nn.Linear(dim, speakers)

    def forward(self, means: torch.Tensor) -> torch.Tensor:
        """Means over frames, (L, B, D) → (B, speakers)."""
        return self.out(self.sum(self.scale(means)))


class KeywordHead(torch.nn.Module):
    """One logit a keyword: is it spoken in the utterance?

    A projection that all keywords share, then mean and maximum over the frames.

    Args:
        layers, dim: of the features.
        words: how many keywords.
        units: of the projection.
    """

    def __init__(self, layers: int, dim: int, words: int, units: int = 128):
        super().__init__()
        self.sum = LayerSum(layers)
        self.inner = torch.nn.Linear(dim, units)
        self.out = torch.nn.Linear(2 * units, words)

    def forward(self, utts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Utterances (L, frames, D) → (B, words)."""
        frames = torch.relu(self.inner(self.sum(torch.cat(list(utts), 1))))
        parts = frames.split([x.size(1) for x in utts])
        return self.out(torch.stack([torch.cat([y.mean(0), y.amax(0)]) for y in parts]))
