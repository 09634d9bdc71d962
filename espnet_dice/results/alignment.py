"""Reference and hypotheses word by word, by jiwer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HIT, SUBSTITUTION, DELETION, INSERTION = "hit", "sub", "del", "ins"


@dataclass(frozen=True)
class Word:
    """A word of a hypothesis, or (deleted) the word of the reference that is not there."""

    kind: str
    text: str


@dataclass(frozen=True)
class Counts:
    """Errors of every utterance of a set.

    Attributes:
        errors: substitutions, deletions and insertions, (N, 3).
        units: words or characters of the reference, (N,).
    """

    errors: np.ndarray
    units: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Errors of each utterance, (N,)."""
        return self.errors.sum(axis=1)


def count(references: Sequence[str], hypotheses: Sequence[str], characters: bool = False) -> Counts:
    """Errors of each utterance; the sums are those of the results table."""
    import jiwer

    measure = jiwer.process_characters if characters else jiwer.process_words
    out = measure(list(references), list(hypotheses))
    errors = np.zeros((len(references), 3), int)
    columns = {"substitute": 0, "delete": 1, "insert": 2}
    for row, chunks in enumerate(out.alignments):
        for c in chunks:
            if c.type in columns:
                n = max(c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx)
                errors[row, columns[c.type]] += n
    return Counts(errors, np.array([len(r) for r in out.references]))


def slots(reference: str, hypotheses: Sequence[str]) -> tuple[list[str], list[list[list[Word]]]]:
    """A grid: the words of the reference, and what each hypothesis has in their place.

    Args:
        reference: words.
        hypotheses: words of each system.

    Returns:
        The reference's words and a last "" for what comes after them; for each hypothesis as many
        cells, each with the insertions before that word and what stands for the word itself.
    """
    import jiwer

    words = reference.split()
    rows = []
    for chunks, hypothesis in zip(
        jiwer.process_words([reference] * len(hypotheses), list(hypotheses)).alignments,
        hypotheses,
        strict=True,
    ):
        said = hypothesis.split()
        cells: list[list[Word]] = [[] for _ in range(len(words) + 1)]
        for c in chunks:
            if c.type == "insert":
                new = said[c.hyp_start_idx : c.hyp_end_idx]
                cells[c.ref_start_idx] += [Word(INSERTION, w) for w in new]
            for at in range(c.ref_start_idx, c.ref_end_idx):
                if c.type == "delete":
                    cells[at].append(Word(DELETION, words[at]))
                elif c.type != "insert":
                    word = said[c.hyp_start_idx + at - c.ref_start_idx]
                    cells[at].append(Word(HIT if c.type == "equal" else SUBSTITUTION, word))
        rows.append(cells)
    return [*words, ""], rows
