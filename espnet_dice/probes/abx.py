"""Triphone ABX: how well frames tell phones apart, without training anything.

Of a triple, A and X are the same phone and B is another, all three between the same two phones; the
error is the share of triples in which X is nearer to B. Within speakers all three are one
speaker's, across speakers X is another's than A and B (Schatz et al. 2013). Cells, distance and
means are those of Libri-Light's ``eval_ABX.py`` (Kahn et al. 2020, arXiv 1912.07875), but that a
random sample of the cells is scored.
"""

import math
import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import fmean
from typing import NamedTuple

import numpy as np

from espnet_dice.io.errors import DataError
from espnet_dice.probes.dtw import dtw_all
from espnet_dice.records.phones import RATE, Alignment, Phone

MODES = ("within", "across")
MOST_TOKENS, MOST_OTHERS = 10, 5
"""Tokens of a phone in a cell, and speakers X of an A across speakers: Libri-Light's defaults."""
CHUNK = 128
"""Cells whose distances are in memory together."""


class Token(NamedTuple):
    """One spoken phone: its frames ``[first, end)`` of an utterance."""

    utt: str
    first: int
    end: int


class Cell(NamedTuple):
    """Triples that share phones, context and speakers.

    Attributes:
        speaker: of A and B.
        phone, against: of A and X, and of B.
        a, b, x: tokens; within speakers x is a, and no token is both A and X.
    """

    speaker: str
    phone: str
    against: str
    a: tuple[Token, ...]
    b: tuple[Token, ...]
    x: tuple[Token, ...]


@dataclass(frozen=True)
class Cells:
    """What is scored, the same for every system.

    Attributes:
        chosen: mode → cells.
        found: mode → how many there are.
    """

    chosen: dict[str, list[Cell]]
    found: dict[str, int]

    @property
    def tokens(self) -> list[Token]:
        """All tokens, each once, by utterance and time."""
        cells = (cell for chosen in self.chosen.values() for cell in chosen)
        return sorted({token for cell in cells for side in cell[3:] for token in side})


def choose(
    alignment: Alignment, frames: Mapping[str, int], number: int = 1500, seed: int = 0
) -> Cells:
    """Choose cells at random: the same for the same alignment, number and seed.

    Args:
        alignment: of some speech.
        frames: utterance → how many.
        number: of cells a mode at most; 0: all.
        seed: another choice for each.

    Raises:
        DataError: there is no cell of a mode.
    """
    groups = _Groups(alignment, frames, seed)
    chosen, found = {}, {}
    for mode in MODES:
        heads = [head for head in groups.heads if groups.size(mode, head)]
        ends = list(accumulate(groups.size(mode, head) for head in heads))
        if not heads:
            raise DataError(
                f"ABX {mode} speakers: in {len(alignment)} aligned utterances no two phones are "
                f"said between the same neighbours{', one of them twice,' * (mode == 'within')} by "
                f"one speaker{' and one of them by another' * (mode == 'across')}: take more speech"
            )
        found[mode] = ends[-1]
        places: Sequence[int] = range(ends[-1])
        if number and number < len(places):
            places = sorted(random.Random(f"{seed} {mode}").sample(places, number))
        at = [bisect_right(ends, place) for place in places]
        starts = [0, *ends]
        chosen[mode] = [
            groups.cell(mode, heads[i], place - starts[i])
            for i, place in zip(at, places, strict=True)
        ]
    return Cells(chosen, found)


class _Groups:
    """Tokens by context, speaker and phone; a head is a context, a speaker and the phone of A."""

    def __init__(self, alignment: Alignment, frames: Mapping[str, int], seed: int):
        self.seed = seed
        self.tokens: dict[tuple, list[Token]] = defaultdict(list)
        self.phones: dict[tuple, set[str]] = defaultdict(set)
        self.speakers: dict[tuple, set[str]] = defaultdict(set)
        for utt in sorted(alignment):
            for phone in alignment[utt]:
                first, end = frames_of(phone, frames[utt])
                if first < end:
                    context = phone.before, phone.after
                    token = Token(utt, first, end)
                    self.tokens[context, phone.speaker, phone.name].append(token)
                    self.phones[context, phone.speaker].add(phone.name)
                    self.speakers[context, phone.name].add(phone.speaker)
        self.heads = sorted(self.tokens)

    def size(self, mode: str, head: tuple) -> int:
        """How many cells a head has."""
        context, speaker, phone = head
        against = len(self.phones[context, speaker]) - 1
        if mode == "within":
            return against if len(self.tokens[head]) > 1 else 0
        return against * min(MOST_OTHERS, len(self.speakers[context, phone]) - 1)

    def cell(self, mode: str, head: tuple, place: int) -> Cell:
        """One of them."""
        context, speaker, phone = head
        against = sorted(self.phones[context, speaker] - {phone})
        other, of = divmod(place, len(against))
        x = head
        if mode == "across":
            others = sorted(self.speakers[context, phone] - {speaker})
            x = (context, self._some(others, MOST_OTHERS, head)[other], phone)
        sides = (
            self._some(self.tokens[side], MOST_TOKENS, side)
            for side in (head, (context, speaker, against[of]), x)
        )
        return Cell(speaker, phone, against[of], *map(tuple, sides))

    def _some(self, items: list, most: int, why: tuple) -> list:
        """``items``, or as many as there may be, chosen for the same reason in the same way."""
        if len(items) <= most:
            return items
        return random.Random(f"{self.seed} {why}").sample(items, most)


def frames_of(phone: Phone, frames: int) -> tuple[int, int]:
    """The frames ``[first, end)`` of a phone: those of 20 ms whose centre it holds.

    Args:
        frames: of the utterance.
    """
    first = max(0, math.ceil(phone.onset * RATE - 0.5 - 1e-6))
    return first, min(frames, math.floor(phone.offset * RATE - 0.5 + 1e-6) + 1)


def errors(cells: Sequence[Cell], frames: Mapping[Token, np.ndarray], mode: str) -> np.ndarray:
    """Share of triples in which X is nearer to B than to A, a tie counting half, of each cell.

    Args:
        cells: of one mode.
        frames: token → its frames, (frames, D), each of length 1.
        mode: of :data:`MODES`.

    Returns:
        (cells,) float64.
    """
    found = []
    for start in range(0, len(cells), CHUNK):
        chunk = cells[start : start + CHUNK]
        blocks = [
            block
            for cell in chunk
            for other in (cell.a, cell.b)
            for block in _blocks(cell.x, other, frames)
        ]
        distances = iter(dtw_all(blocks))
        for cell in chunk:
            to_a, to_b = (
                np.array([next(distances) for _ in cell.x for _ in side]).reshape(len(cell.x), -1)
                for side in (cell.a, cell.b)
            )
            wrong = (to_a[:, :, None] > to_b[:, None]) + 0.5 * (to_a[:, :, None] == to_b[:, None])
            if mode == "within":
                wrong = wrong[~np.eye(len(cell.x), dtype=bool)]
            found.append(wrong.mean())
    return np.array(found)


def _blocks(
    one: Sequence[Token], other: Sequence[Token], frames: Mapping[Token, np.ndarray]
) -> list[np.ndarray]:
    """Angular distances of the frames of each pair of tokens, arccos of the cosine over pi."""
    rows, columns = (np.concatenate([frames[t] for t in side]) for side in (one, other))
    angles = np.arccos(np.clip(rows @ columns.T, -1, 1)) / np.pi
    ends = [[0, *accumulate(len(frames[t]) for t in side)] for side in (one, other)]
    return [angles[i:j, k:m] for i, j in pairwise(ends[0]) for k, m in pairwise(ends[1])]


def average(cells: Sequence[Cell], wrong: Sequence[float]) -> float:
    """The error of a mode in %: mean over contexts and speakers X, speakers, pairs of phones.

    Args:
        cells: of the mode.
        wrong: error of each.
    """
    pairs: dict[tuple, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for cell, error in zip(cells, wrong, strict=True):
        pairs[cell.phone, cell.against][cell.speaker].append(float(error))
    return 100 * fmean(fmean(map(fmean, speakers.values())) for speakers in pairs.values())
