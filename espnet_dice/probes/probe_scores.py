"""Error rates of the probes."""

from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES, TOGETHER = 1000, 100
"""Draws of the bootstrap, and how many are in memory at a time."""


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


def interval(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray], answers: np.ndarray
) -> tuple[float, float]:
    """95 % interval of a measure by the bootstrap over utterances (Bisani and Ney, ICASSP 2004).

    Args:
        measure: of the answers, and how often each counts, (draws, utterances) → (draws,).
        answers: one row an utterance.
    """
    draw, n = np.random.default_rng(0), len(answers)
    found = []
    for _ in range(0, RESAMPLES, TOGETHER):
        drawn = (draw.integers(n, size=n) for _ in range(TOGETHER))
        counts = np.stack([np.bincount(one, minlength=n) for one in drawn])
        found.append(measure(answers, counts))
    low, high = np.nanpercentile(np.concatenate(found), (2.5, 97.5))
    return float(low), float(high)


def eer(scores: np.ndarray, positive: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Equal error rate in %: where as many positives are missed as negatives are accepted.

    The two shares are joined linearly between thresholds; equal scores share one threshold.

    Args:
        scores: (n,), higher for positives.
        positive: (n,) bool.
        counts: (…, n), how often each counts; None: once.

    Returns:
        (…), NaN where there are not both kinds.
    """
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order], positive[order].astype(bool)
    counts = np.ones(len(scores)) if counts is None else counts[..., order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hit, false = (_shares(counts * kind, last) for kind in (positive, ~positive))
    gap = 1.0 - hit - false  # missed minus accepted: falls from 1 to -1
    after = np.argmax(gap <= 0, -1)[..., None]

    def at(shares: np.ndarray, place: np.ndarray) -> np.ndarray:
        return np.take_along_axis(shares, place, -1)[..., 0]

    start, end = at(gap, after - 1), at(gap, after)
    part = start / (start - end)
    return 100.0 * (at(false, after - 1) + part * (at(false, after) - at(false, after - 1)))


def _shares(counts: np.ndarray, last: np.ndarray) -> np.ndarray:
    """(…, n) → (…, thresholds + 1), from 0 to 1: the share that scores at least a threshold."""
    sums = np.cumsum(counts, -1)[..., last]
    total = sums[..., -1:]
    shares = np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)
    return np.concatenate([np.zeros_like(total, float), shares], -1)
