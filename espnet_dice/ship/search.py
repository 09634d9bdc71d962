"""Searches for what was said: by CTC alone, and by CTC and the attention decoder. numpy only."""

import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np

NEVER = -math.inf
LOG_ZERO = -1e10
"""ESPnet's score of a prefix that no alignment says, such as one with more tokens than frames."""
PRE_BEAM = 1.5
"""Tokens behind a prefix that CTC scores, in beams; the decoder says which."""
END_MARGIN, END_STEPS = -10.0, 3
"""ESPnet's: a search ends where so many lengths in turn ended so far behind the best."""
Lm = Callable[[tuple[int, ...], bool], float]


def best_path(log_probs: np.ndarray, blank: int = 0) -> list[int]:
    """The best CTC path: repetitions joined, then blanks taken out."""
    best = log_probs.argmax(-1)
    first = np.flatnonzero(np.diff(best, prepend=-1))
    return [int(i) for i in best[first] if i != blank]


def prefix_beam(
    log_probs: np.ndarray,
    beam: int,
    blank: int = 0,
    lm: Lm | None = None,
) -> list[int]:
    """The labelling of the largest probability, summed over its alignments.

    Graves and Jaitly, "Towards end-to-end speech recognition with recurrent neural networks" (ICML
    2014), algorithm 1. Exact if no labelling is ever pruned.

    Args:
        log_probs: (frames, tokens).
        beam: labellings that are kept, and tokens of a frame that are tried beside blank.
        blank: its id.
        lm: (labelling, whether it ends) → what is added to its log probability.
    """
    kept: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, NEVER)}  # ends in blank, label

    def best(found, end=False):
        ranked = {p: add(*both) + (lm(p, end) if lm else 0.0) for p, both in found.items()}
        return sorted(ranked, key=ranked.get, reverse=True)

    for frame in log_probs:
        tried = [(int(i), float(frame[i])) for i in np.argsort(-frame)[:beam] if i != blank]
        silent = float(frame[blank])
        found: dict = defaultdict(lambda: (NEVER, NEVER))
        for prefix, (in_blank, in_label) in kept.items():
            total = add(in_blank, in_label)
            last = prefix[-1] if prefix else None
            stay = in_label + float(frame[last]) if prefix else NEVER
            was = found[prefix]
            found[prefix] = (add(was[0], total + silent), add(was[1], stay))
            for token, p in tried:  # the same label again is another one only behind a blank
                longer, before = (*prefix, token), in_blank if token == last else total
                was = found[longer]
                found[longer] = (was[0], add(was[1], before + p))
        kept = {prefix: found[prefix] for prefix in best(found)[:beam]}
    return list(best(kept, True)[0])


def add(a: float, b: float) -> float:
    """log(e^a + e^b)."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == NEVER else high + math.log1p(math.exp(low - high))


def joint_beam(
    log_probs: np.ndarray,
    step: Callable[[np.ndarray], np.ndarray],
    beam: int,
    ctc_weight: float,
    eos: int,
    blank: int = 0,
    lm: Lm | None = None,
) -> list[int]:
    """The best labelling by CTC and decoder together, as ESPnet's beam search finds it.

    Watanabe et al., "Hybrid CTC/attention architecture for end-to-end speech recognition" (IEEE
    JSTSP 2017), one-pass decoding.

    Args:
        log_probs: of CTC, (frames, tokens).
        step: prefixes (W, L), which begin with ``eos`` → scores of the next token, (W, tokens):
            the decoder's log probabilities times its weight, and others'.
        beam: prefixes that are kept.
        ctc_weight: of CTC's score, from 0 to 1.
        eos: id of the begin and the end.
        blank: its id.
        lm: (labelling, whether it ends) → what is added to its score.
    """
    heard = CtcPrefixes(log_probs, blank, eos)
    prefixes, total = np.full((1, 1), eos), np.zeros(1)
    ended: list[tuple[float, list[int]]] = []
    best_of: dict[int, float] = {}
    for n in range(len(log_probs)):
        score = step(prefixes)
        if ctc_weight:
            some = int(PRE_BEAM * beam) if ctc_weight < 1 else score.shape[1]
            left = np.zeros(score.shape, bool)
            np.put_along_axis(left, np.argsort(-score, -1, "stable")[:, :some], True, -1)
            left[:, eos] = True
            score += ctc_weight * np.where(left, heard.scores(prefixes[:, -1]), NEVER)
        score += total[:, None]
        ranked = score.copy()
        for w, token in np.argwhere(ranked > NEVER) if lm else ():
            said = tuple(map(int, prefixes[w, 1:])) + (() if token == eos else (int(token),))
            ranked[w, token] += lm(said, bool(token == eos))
        parents, tokens = np.divmod(np.argsort(-ranked.ravel(), kind="stable")[:beam], len(score.T))
        alive = ranked[parents, tokens] > NEVER
        parents, tokens = parents[alive], tokens[alive]
        prefixes = np.concatenate([prefixes[parents], tokens[:, None]], 1)
        over = (tokens == eos) | (n == len(log_probs) - 1)
        length = n + 2 + (n == len(log_probs) - 1)  # with both ends, of which ESPnet adds the last
        for prefix, value in zip(prefixes[over], ranked[parents, tokens][over], strict=True):
            ended.append((value, [int(token) for token in prefix[1:] if token not in (eos, blank)]))
            best_of[length] = max(value, best_of.get(length, NEVER))
        if over.all() or _is_over(best_of, n):
            break
        prefixes, total = prefixes[~over], score[parents, tokens][~over]
        if ctc_weight:
            heard.go_on(parents[~over], tokens[~over])
    return max(ended, key=lambda one: one[0])[1] if ended else []


def _is_over(best_of: dict[int, float], length: int) -> bool:
    """Whether what has this length, or one or two tokens less, ended far behind the best."""
    if not best_of:
        return False
    limit = max(best_of.values()) + END_MARGIN
    return all(best_of.get(length - less, math.inf) < limit for less in range(END_STEPS))


class CtcPrefixes:
    """CTC's scores of prefixes, all of one length, and of their continuations.

    Algorithm 2 of the paper above. A continuation by c is first spoken in frame t with
    φ(t-1) p(t, c): a sum over t, and its forward variables are cumulative sums.

    Args:
        log_probs: (frames, tokens).
        blank, eos: ids.
    """

    def __init__(self, log_probs: np.ndarray, blank: int, eos: int):
        self.x, self.blank, self.eos = log_probs.astype(float), blank, eos
        self.p = np.exp(self.x)
        self.blanks = self.x[:, blank].cumsum()
        self.in_blank = self.blanks[None]
        self.in_label = np.full_like(self.in_blank, NEVER)
        self.psi = np.zeros(1)
        self.before = 0.0  # the empty prefix is certain before the first frame, others impossible

    def scores(self, last: np.ndarray) -> np.ndarray:
        """log p of each continuation given its prefix, (W,) last tokens → (W, tokens)."""
        self.last = last
        either = np.logaddexp(self.in_label, self.in_blank)
        self.phi, self.same = self._later(either), self._later(self.in_blank)
        psi = _log_product(self.phi, self.p)
        # the same token again needs a blank between
        own = self.p.T[last][..., None]
        psi[np.arange(len(last)), last] = _log_product(self.same[:, None], own)[:, 0, 0]
        psi[:, self.eos] = either[:, -1]
        self.next = np.maximum(psi, LOG_ZERO)
        scores = self.next - self.psi[:, None]
        scores[:, self.blank] = NEVER
        return scores

    def go_on(self, parents: np.ndarray, tokens: np.ndarray) -> None:
        """Take other prefixes, each an old one and one token; after :meth:`scores`."""
        self.psi = self.next[parents, tokens]
        again = (self.last[parents] == tokens)[:, None]
        phi = np.where(again, self.same[parents], self.phi[parents])
        label = self.x[:, tokens].T
        spoken = label.cumsum(-1)
        self.in_label = spoken + np.logaddexp.accumulate(phi - (spoken - label), -1)
        self.before = NEVER
        self.in_blank = self.blanks + self._later(
            np.logaddexp.accumulate(self.in_label - self.blanks, -1)
        )

    def _later(self, x: np.ndarray) -> np.ndarray:
        """One frame later, (W, frames)."""
        return np.concatenate([np.full((len(x), 1), self.before), x[:, :-1]], 1)


def _log_product(a: np.ndarray, p: np.ndarray) -> np.ndarray:
    """log Σ_t exp(a(·, t)) p(t, ·), without overflow."""
    top = a.max(-1, keepdims=True)
    top[top == NEVER] = 0.0
    with np.errstate(divide="ignore"):
        return np.log(np.exp(a - top) @ p) + top
