"""Error rates of the probes."""

from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 1000
"""Draws of the bootstrap."""


def greedy(log_probs: np.ndarray, blank: int = 0) -> list[int]:
    """The best CTC path, (frames, tokens) → ids: repetitions joined, then blanks taken out."""
    best = log_probs.argmax(-1)
    first = np.flatnonzero(np.diff(best, prepend=-1))
    return [int(i) for i in best[first] if i != blank]


def token_errors(
    references: Sequence[Sequence[str]], results: Sequence[Sequence[str]]
) -> np.ndarray:
    """Errors and reference tokens of each utterance, (utterances, 2).

    Errors are substitutions, deletions and insertions.

    Args:
        references: tokens of each utterance, none empty.
        results: tokens of the same utterances.
    """
    import jiwer

    known = sorted({token for tokens in (*references, *results) for token in tokens})
    ids = {token: str(i) for i, token in enumerate(known)}
    texts = ([" ".join(map(ids.get, tokens)) for tokens in side] for side in (references, results))
    wrong = [
        sum(
            max(c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx)
            for c in chunks
            if c.type != "equal"
        )
        for chunks in jiwer.process_words(*texts).alignments
    ]
    return np.stack([wrong, [len(tokens) for tokens in references]], 1)


def interval(measure: Callable[[np.ndarray], float], answers: np.ndarray) -> tuple[float, float]:
    """95 % interval of a measure by the bootstrap over utterances (Bisani and Ney, ICASSP 2004).

    Args:
        measure: of the answers to some utterances.
        answers: one row an utterance.
    """
    draw = np.random.default_rng(0)
    found = [
        measure(answers[draw.integers(len(answers), size=len(answers))]) for _ in range(RESAMPLES)
    ]
    low, high = np.nanpercentile(found, (2.5, 97.5))
    return float(low), float(high)


def eer(scores: np.ndarray, positive: np.ndarray) -> float:
    """Equal error rate in %: where as many positives are missed as negatives are accepted.

    The two shares are joined linearly between thresholds; equal scores share one threshold.

    Args:
        scores: (n,), higher for positives.
        positive: (n,) bool, of both kinds.
    """
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order], positive[order].astype(bool)
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hit = np.append(0.0, np.cumsum(positive)[last] / positive.sum())
    false = np.append(0.0, np.cumsum(~positive)[last] / (~positive).sum())
    gap = 1.0 - hit - false  # missed minus accepted: falls from 1 to -1
    after = int(np.argmax(gap <= 0))
    part = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(100.0 * (false[after - 1] + part * (false[after] - false[after - 1])))
