"""An n-gram language model in the prefix beam search of ``infer.py``: an ARPA file, in memory.

model.text("speech.wav", beam=8, lm=ngram.Fusion("words.arpa"))
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

SPACE, UNKNOWN = "▁", "<unk>"
UNSEEN = -10.0
"""log10 P of a word that a model without <unk> does not have."""


class Fusion:
    """An n-gram in ARPA format (of words, or of the model's tokens) beside CTC.

    Args:
        path: the file, as KenLM's lmplz or SRILM write it.
        weight: of its log probability.
        bonus: added for each of its units.
    """

    def __init__(self, path: str | Path, weight: float = 0.5, bonus: float = 0.0):
        self.weight, self.bonus, self.order = weight, bonus, 0
        self.ngrams: dict[tuple[str, ...], tuple[float, float]] = {}
        with open(path, encoding="utf-8") as f:
            for line in f:
                fields = line.split()
                if line.startswith("\\") and "-grams:" in line:
                    self.order = int(line[1 : line.index("-")])
                elif len(fields) > self.order > 0 and not line.startswith("\\"):
                    back = float(fields[self.order + 1]) if len(fields) > self.order + 1 else 0.0
                    words = tuple(fields[1 : self.order + 1])
                    self.ngrams[words] = (float(fields[0]), back)
        if ("</s>",) not in self.ngrams:
            raise ValueError(f"{path}: no ARPA file")

    def log10(self, history: tuple[str, ...], word: str) -> float:
        """log10 P(word | history), with back-off."""
        history = history[max(0, len(history) + 1 - self.order) :]
        known = [w if (w,) in self.ngrams else UNKNOWN for w in (*history, word)]
        words, total = tuple(known), 0.0
        while words not in self.ngrams:
            if len(words) == 1:
                return total + UNSEEN
            total += self.ngrams.get(words[:-1], (0.0, 0.0))[1]
            words = words[1:]
        return total + self.ngrams[words][0]

    def of(self, tokens: Sequence[str]) -> Callable[[tuple[int, ...], bool], float]:
        """What :func:`prefix_beam` asks, for a model's tokens."""
        by_token = (SPACE,) in self.ngrams
        scores: dict[tuple[str, ...], float] = {(): 0.0}

        def score(units: tuple[str, ...]) -> float:
            if units not in scores:
                history, unit = units[:-1], units[-1]
                gained = math.log(10) * self.weight * self.log10(("<s>", *history), unit)
                scores[units] = score(history) + gained + self.bonus * (unit != "</s>")
            return scores[units]

        def ask(ids: tuple[int, ...], end: bool) -> float:
            units = [tokens[i] for i in ids]
            if not by_token:
                text = "".join(units).replace(SPACE, " ")
                words = text.split()
                units = words if end or text.endswith(" ") else words[:-1]
            return score((*units, "</s>") if end else tuple(units))

        return ask
