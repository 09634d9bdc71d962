"""Prefix scores against the sum over all alignments of a short utterance, one by one."""

import itertools
import math

import pytest
import torch

from espnet_dice.decoding.ctc import LOG_ZERO, CtcPrefixes

BLANK, EOS, VOCAB = 0, 3, 4


def spoken(alignment) -> tuple[int, ...]:
    return tuple(k for k, _ in itertools.groupby(alignment) if k != BLANK)


def alignments(log_probs) -> dict[tuple[int, ...], float]:
    """Probability of each label sequence, by enumeration."""
    total: dict[tuple[int, ...], float] = {}
    p = log_probs.double().exp()
    for a in itertools.product(range(VOCAB), repeat=len(p)):
        weight = math.prod(float(p[t, k]) for t, k in enumerate(a))
        total[spoken(a)] = total.get(spoken(a), 0.0) + weight
    return total


def log(p: float) -> float:
    return math.log(p) if p else LOG_ZERO


@pytest.fixture(scope="module")
def utterances():
    generator = torch.Generator().manual_seed(0)
    return [
        torch.log_softmax(2 * torch.randn(frames, VOCAB, generator=generator), -1)
        for frames in (5, 3, 1)
    ]


def test_scores_are_sums_over_alignments(utterances):
    known = [alignments(x) for x in utterances]
    prefixes = CtcPrefixes(utterances, BLANK, EOS, 3)
    said = [[()] * 3 for _ in utterances]
    last = torch.full((3, 3), EOS)
    total = torch.zeros(3, 3, dtype=torch.double)
    # slots take different parents, and the same token twice needs a blank between
    for parents, tokens in (([0, 0, 0], [1, 2, 1]), ([2, 0, 1], [1, 2, 2]), ([1, 1, 0], [1, 2, 2])):
        scores = total[..., None] + prefixes.scores(last)
        for u, w, c in itertools.product(range(3), range(3), range(VOCAB)):
            prefix = said[u][w]
            if c == BLANK:
                expected = -math.inf
            elif c == EOS:  # of the labels: <eos> ends the prefix
                expected = log(known[u].get(prefix, 0.0))
            else:
                longer = (*prefix, c)
                expected = log(sum(p for s, p in known[u].items() if s[: len(longer)] == longer))
            assert float(scores[u, w, c]) == pytest.approx(expected, abs=1e-6), (u, prefix, c)
        parents, last = torch.tensor([parents] * 3), torch.tensor([tokens] * 3)
        total = scores.gather(1, parents[..., None].expand(-1, -1, VOCAB))
        total = total.gather(2, last[..., None])[..., 0]
        prefixes.advance(torch.arange(3), parents, last)
        said = [
            [(*said[u][p], int(c)) for p, c in zip(parents[u], last[u], strict=True)]
            for u in range(3)
        ]


def test_what_is_left_goes_on_alone(utterances):
    both, alone = (CtcPrefixes(u, BLANK, EOS, 2) for u in (utterances, utterances[1:2]))
    for prefixes, kept in ((both, [1]), (alone, [0])):
        prefixes.scores(torch.full((len(prefixes.ends), 2), EOS))
        prefixes.advance(torch.tensor(kept), torch.tensor([[0, 0]]), torch.tensor([[1, 2]]))
    last = torch.tensor([[1, 2]])
    torch.testing.assert_close(both.scores(last), alone.scores(last), rtol=0, atol=1e-12)


def test_an_hour_of_silence_does_not_underflow():
    frames, p = 90000, torch.tensor([0.97, 0.01, 0.01, 0.01], dtype=torch.double)
    prefixes = CtcPrefixes([p.log().expand(frames, -1)], BLANK, EOS, 1)
    # no label at all: p(blank) in every frame; label 1 first: one of n labels, each as likely
    scores = prefixes.scores(torch.tensor([[EOS]]))[0, 0]
    assert float(scores[EOS]) == pytest.approx(frames * math.log(0.97), rel=1e-9)
    assert float(scores[1]) == pytest.approx(math.log(1 / 3), rel=1e-6)
