"""What a probe asks of a frozen model's features, and how the answer is measured.

=====  ===========================================================================
char   characters, or phones, by CTC on frames; error rate of the greedy path in %
sid    which of the speakers is it? linear on the mean over frames; accuracy in %
kws    is the word in the utterance? mean and maximum over frames; mean EER in %
=====  ===========================================================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from espnet_dice.io.datadir import Utterance
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.probes import probe_heads as heads
from espnet_dice.probes import probe_scores as scores
from espnet_dice.probes.probe_data import SpeakerSplit
from espnet_dice.probes.probe_features import Features, Scale

SCORED = 32
"""Utterances at a time that are scored."""


@dataclass(frozen=True)
class Parts:
    """Utterances of a task."""

    train: Sequence[Utterance]
    dev: Sequence[Utterance]
    test: Sequence[Utterance]

    @property
    def all(self) -> list[Utterance]:
        """Of the three parts."""
        return [*self.train, *self.dev, *self.test]

    def __str__(self) -> str:
        return f"{len(self.train)} train, {len(self.dev)} dev, {len(self.test)} test utterances"


class Task(Protocol):
    """A head's data and its measure.

    Attributes:
        name: ``char``, ``sid`` or ``kws``.
        takes: ``frames`` or ``means`` of :class:`Features`.
        parts: utterances.
        about: what it asks, for people.
        floor: the measure without any features, in %.
    """

    name: str
    takes: str
    parts: Parts
    about: str
    floor: float

    def head(self, features: Features) -> torch.nn.Module:
        """A head with fresh parameters."""

    def loss(self, head, features: Features, utts: Sequence[Utterance]) -> torch.Tensor:
        """Mean loss of a batch."""

    def answers(self, head, features: Features, utts: Sequence[Utterance]) -> np.ndarray:
        """What :meth:`measure` is taken of, one row an utterance."""

    def measure(self, answers: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The measure in %, (…), where each answer counts so often, (…, utterances)."""

    def cost(self, head, features: Features, utts: Sequence[Utterance]) -> float:
        """What the chosen epoch has least of, over the dev part."""


class Char:
    """Recognition of characters or phones.

    Args:
        parts: utterances.
        units: utterance → tokens; None takes the characters of the transcripts.
        kind: of the head, see :data:`heads.CHAR_HEADS`.

    Raises:
        DataError: an utterance has no tokens.
    """

    name, takes = "char", "frames"
    floor = 100.0

    def __init__(
        self, parts: Parts, units: Mapping[str, Sequence[str]] | None = None, kind: str = "linear"
    ):
        if kind not in heads.CHAR_HEADS:
            raise ConfigError(f"head {kind!r}: choose one of {', '.join(heads.CHAR_HEADS)}")
        self.parts, self.kind = parts, kind
        self.tokens = {
            utt.id: list(utt.text) if units is None else list(units.get(utt.id, ()))
            for utt in parts.all
        }
        empty = [utt for utt, tokens in self.tokens.items() if not tokens]
        if empty:
            raise DataError(f"{empty[0]}: has no phones: add its line")
        known = sorted({t for utt in parts.train for t in self.tokens[utt.id]})
        self.inventory = ["", *known]  # "" is CTC's blank
        units_name = "characters" if units is None else "phones"
        self.about = f"{len(known)} {units_name}, {kind} head, greedy CTC"
        self._ids = {token: i for i, token in enumerate(self.inventory)}

    def head(self, features: Features) -> heads.CharHead:
        return heads.CharHead(*features.shape, len(self.inventory), self.kind)

    def loss(self, head, features: Features, utts: Sequence[Utterance]) -> torch.Tensor:
        log_probs, lengths = head([features.frames[utt.id] for utt in utts])
        targets = [torch.tensor([self._ids[t] for t in self.tokens[utt.id]]) for utt in utts]
        sizes = torch.tensor([len(t) for t in targets])
        # an utterance with more tokens than frames can say counts for nothing
        return functional.ctc_loss(
            log_probs.transpose(0, 1), torch.cat(targets), lengths, sizes, zero_infinity=True
        )

    def results(self, head, features: Features, utts: Sequence[Utterance]) -> list[list[str]]:
        """The tokens recognised in each utterance."""
        found = []
        for some in _some(utts):
            log_probs, lengths = head([features.frames[utt.id] for utt in some])
            for row, n in zip(log_probs.numpy(), lengths.tolist(), strict=True):
                tokens = [self.inventory[i] for i in scores.greedy(row[:n])]
                # as transcripts are written: single spaces between words, none around them
                spoken = " ".join("".join(tokens).split()) if " " in self._ids else tokens
                found.append(list(spoken))
        return found

    def answers(self, head, features: Features, utts: Sequence[Utterance]) -> np.ndarray:
        references = [self.tokens[utt.id] for utt in utts]
        return scores.token_errors(references, self.results(head, features, utts))

    def measure(self, answers: np.ndarray, counts: np.ndarray) -> np.ndarray:
        sums = counts @ answers
        return 100.0 * sums[..., 0] / sums[..., 1]

    def cost(self, head, features: Features, utts: Sequence[Utterance]) -> float:
        return float(self.measure(self.answers(head, features, utts), np.ones(len(utts))))


class Speaker:
    """Closed-set speaker identification.

    Args:
        split: utterances of the same speakers on three sides.
    """

    name, takes = "sid", "means"

    def __init__(self, split: SpeakerSplit):
        self.parts = Parts(split.train, split.dev, split.test)
        self._class = {speaker: i for i, speaker in enumerate(split.speakers)}
        self.about = f"{len(self._class)} speakers, linear on the mean over frames"
        of = [utt.speaker for utt in split.test]
        self.floor = 100.0 * max(map(of.count, split.speakers)) / len(of)

    def head(self, features: Features) -> heads.SpeakerHead:
        means = torch.stack([features.means[utt.id] for utt in self.parts.train], 1)
        return heads.SpeakerHead(*features.shape, len(self._class), Scale([means]))

    def _logits(self, head, features: Features, utts: Sequence[Utterance]):
        means = torch.stack([features.means[utt.id] for utt in utts], 1)
        return head(means), torch.tensor([self._class[utt.speaker] for utt in utts])

    def loss(self, head, features: Features, utts: Sequence[Utterance]) -> torch.Tensor:
        return functional.cross_entropy(*self._logits(head, features, utts))

    def answers(self, head, features: Features, utts: Sequence[Utterance]) -> np.ndarray:
        logits, wanted = self._logits(head, features, utts)
        return (logits.argmax(-1) == wanted).double().numpy()

    def measure(self, answers: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return 100.0 * (counts @ answers) / counts.sum(-1)

    def cost(self, head, features: Features, utts: Sequence[Utterance]) -> float:
        return float(self.loss(head, features, utts))


class Keyword:
    """Keyword spotting by presence in the utterance.

    Args:
        parts: utterances.
        words: to spot.
        lengths: utterance → samples, for the floor: a longer utterance holds more words.
    """

    name, takes = "kws", "frames"

    def __init__(self, parts: Parts, words: Sequence[str], lengths: Mapping[str, int]):
        self.parts, self.words = parts, list(words)
        self.about = f"presence of {', '.join(self.words)}; mean over words"
        seconds = np.array([[lengths[utt.id]] * len(self.words) for utt in parts.test])
        said = self._spoken(parts.test).numpy()
        self.floor = float(self.measure(np.stack([seconds, said], 1), np.ones(len(said))))

    def head(self, features: Features) -> heads.KeywordHead:
        return heads.KeywordHead(*features.shape, len(self.words))

    def _spoken(self, utts: Sequence[Utterance]) -> torch.Tensor:
        said = [set(utt.text.split()) for utt in utts]
        return torch.tensor([[float(word in words) for word in self.words] for words in said])

    def loss(self, head, features: Features, utts: Sequence[Utterance]) -> torch.Tensor:
        logits = head([features.frames[utt.id] for utt in utts])
        return functional.binary_cross_entropy_with_logits(logits, self._spoken(utts))

    def _logits(self, head, features: Features, utts: Sequence[Utterance]) -> torch.Tensor:
        heard = [head([features.frames[utt.id] for utt in some]) for some in _some(utts)]
        return torch.cat(heard)

    def answers(self, head, features: Features, utts: Sequence[Utterance]) -> np.ndarray:
        return np.stack([self._logits(head, features, utts).numpy(), self._spoken(utts)], 1)

    def measure(self, answers: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Over the keywords that some of the utterances have, and not all; each counts the same."""
        words = zip(answers[:, 0].T, answers[:, 1].T > 0, strict=True)
        found = np.stack([scores.eer(*word, counts) for word in words])
        both = ~np.isnan(found)
        return np.where(both, found, 0).sum(0) / np.where(both.any(0), both.sum(0), np.nan)

    def cost(self, head, features: Features, utts: Sequence[Utterance]) -> float:
        # a small dev set has no EER of its own for a rare word
        logits = self._logits(head, features, utts)
        return float(functional.binary_cross_entropy_with_logits(logits, self._spoken(utts)))


def _some(utts: Sequence[Utterance]) -> list[Sequence[Utterance]]:
    """A few at a time, where nothing is learned."""
    return [utts[i : i + SCORED] for i in range(0, len(utts), SCORED)]
