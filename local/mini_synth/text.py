"""Sentences from small grammars, dealt out to sets, and transcripts with confusable words."""

import hashlib
import itertools
from collections.abc import Iterable

import numpy as np

from espnet_dice.io.errors import ConfigError

SPLITS = ("train", "dev", "test")
TRIES = 200
SAID_BEFORE = 25  # in a row, and a split has hardly any other sentence


def generator(*key) -> np.random.Generator:
    """A random generator that depends on ``key`` alone."""
    raw = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(raw[:16], "little")))


def split_of(sentence: str, shares: dict[str, float], seed: int) -> str:
    """The split (train, dev, test) whose sets alone may hold ``sentence``."""
    raw = hashlib.sha256(f"{seed} {sentence}".encode()).digest()
    u = int.from_bytes(raw[:8], "little") / 2**64
    if u < shares["test"]:
        return "test"
    return "dev" if u < shares["test"] + shares["dev"] else "train"


class Grammar:
    """The sentences of one domain.

    Args:
        name: the domain, for messages.
        words: word class → words (one string, separated by spaces).
        patterns: sequences of word classes and, in lower case, plain words.
        words_per_utterance: least and most words of a sentence.
        words_per_class: keep only the first so many words of each class.
        company: word → word class → words of it (one string) that may stand in its sentence; a
            class that is not named may give any.
    """

    def __init__(
        self, name, words, patterns, words_per_utterance, words_per_class=None, company=None
    ):
        self.name = name
        self.classes = {c: ws.split()[:words_per_class] for c, ws in words.items()}
        self.company = {
            word: {c: ws.split() for c, ws in kept.items()}
            for word, kept in (company or {}).items()
        }
        # words that choose their company are drawn first
        self.leading = {c for c, ws in self.classes.items() if any(w in self.company for w in ws)}
        low, high = words_per_utterance
        self.patterns = [p.split() for p in patterns if low <= len(p.split()) <= high]
        if not self.patterns:
            raise ConfigError(f"domains.{name}.patterns: none has {low} to {high} words")
        for item in itertools.chain(*self.patterns):
            if item.isupper() and item not in self.classes:
                raise ConfigError(f"domains.{name}.patterns: {item} is not a class of words")

    def choices(self, item: str) -> list[str]:
        """The words that may stand for one item of a pattern."""
        return self.classes[item] if item in self.classes else [item.upper()]

    def vocabulary(self) -> list[str]:
        """All words, sorted."""
        return sorted({w for p in self.patterns for item in p for w in self.choices(item)})

    def draw(self, rng: np.random.Generator) -> str:
        """One sentence; no class gives the same word twice in it."""
        pattern = self.patterns[rng.integers(len(self.patterns))]
        said: dict[int, str] = {}
        for i in sorted(range(len(pattern)), key=lambda i: pattern[i] not in self.leading):
            options = self._beside(said.values(), pattern[i])
            if len(options) > 1:
                options = [w for w in options if w not in said.values()] or options
            said[i] = options[rng.integers(len(options))]
        return " ".join(said[i] for i in range(len(pattern)))

    def _beside(self, said: Iterable[str], item: str) -> list[str]:
        """The words for one item of a pattern that go with those said already."""
        options = self.choices(item)
        for word in said:
            kept = self.company.get(word, {}).get(item, options)
            options = [w for w in options if w in kept]
        if not options:
            raise ConfigError(
                f"domains.{self.name}.company: no {item} goes with {' and '.join(said)}"
            )
        return options

    def sentences(self, n: int, split: str, shares: dict, seed: int, key: str) -> list[str]:
        """``n`` sentences of one split: different ones as long as some are easily found."""
        rng = generator(seed, "sentences", key)
        out: list[str] = []
        seen: set[str] = set()
        exhausted = False
        while len(out) < n:
            fallback, again = None, 0
            for _ in range(TRIES):
                s = self.draw(rng)
                if split_of(s, shares, seed) != split:
                    continue
                fallback = s
                if exhausted or s not in seen:
                    break
                again += 1
                exhausted = again == SAID_BEFORE
            if fallback is None:
                raise ConfigError(
                    f"domains.{self.name}: the grammar is too small for the {split} split; "
                    "give it more words or patterns, or raise sentence_shares"
                )
            seen.add(fallback)
            out.append(fallback)
        return out


class Confusions:
    """Which words may stand for a word in a wrong transcript."""

    def __init__(self, groups: list[str], vocabulary: list[str]):
        self.groups = [g.split() for g in groups]
        self.vocabulary = vocabulary

    def spoil(self, sentence: str, rate: float, rng: np.random.Generator) -> str:
        """Replace each word with probability ``rate``: by one of its group, else by any word."""
        out = []
        for word in sentence.split():
            if rng.random() < rate:
                others = [w for g in self.groups if word in g for w in g if w != word]
                others = others or [w for w in self.vocabulary if w != word]
                word = others[rng.integers(len(others))]
            out.append(word)
        return " ".join(out)
