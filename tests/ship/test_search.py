"""Searches of what is shipped, against ESPnet's, and against sums over all alignments."""

import itertools
import math

import numpy as np
import pytest
import torch

from espnet_dice.ship import search
from tests.decoding.test_beam import EOS, V, models, recogniser  # noqa: F401
from tests.ship.test_infer import posteriors

FRAMES = (1, 4, 19, 33)


def spoken(models, memory, weight, lm):  # noqa: F811
    """CTC's posteriors, and what decoder and language model say of prefixes."""
    model, language = models

    def step(prefixes):
        n, length = prefixes.shape
        heard, lengths = memory.expand(n, -1, -1), torch.full((n,), memory.size(1))
        said = torch.tensor(prefixes)
        logits, _ = model.decoder(heard, lengths, said, torch.full((n,), length))
        score = (1 - weight) * logits[:, -1].log_softmax(-1)
        return (score + lm * language(said, None)[0][:, -1].log_softmax(-1)).double().numpy()

    return model.ctc.log_softmax(memory)[0].numpy(), step


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.3, 0.7, 1.0])
@pytest.mark.parametrize(("beam", "lm"), [(1, 0.0), (4, 0.0), (4, 0.5), (10, 0.3)])
def test_ctc_and_decoder_find_what_espnet_finds(models, beam, lm, weight):  # noqa: F811
    generator = torch.Generator().manual_seed(5)
    several = 0
    for frames in FRAMES:
        memory = torch.randn(1, frames, 16, generator=generator)
        theirs = recogniser(models, beam, weight, lm).beam_search(memory[0], 0.0, 0.0)
        wanted = [int(token) for token in theirs[0].yseq if token not in (0, EOS)]
        log_probs, step = spoken(models, memory, weight, lm)
        assert search.joint_beam(log_probs, step, beam, weight, EOS) == wanted
        several += len(wanted) > 1
    assert several


def test_scores_of_prefixes_are_sums_over_all_alignments():
    """Of A, A A, A B, and of what follows them."""
    log_probs = posteriors(3, frames=5, size=4)  # blank, A, B, end
    paths = list(itertools.product(range(3), repeat=5))
    p = np.exp([sum(row[k] for row, k in zip(log_probs, path, strict=True)) for path in paths])
    said = [tuple(k for k, _ in itertools.groupby(path) if k) for path in paths]

    def begins(*labels):
        """Of all paths that begin so; a prefix counts from the frame that completes it."""
        total = 0.0
        for n in range(1, 6):
            for path in itertools.product(range(3), repeat=n):
                done = tuple(k for k, _ in itertools.groupby(path) if k)
                before = tuple(k for k, _ in itertools.groupby(path[:-1]) if k)
                if done == labels and before != labels:
                    total += math.exp(sum(r[k] for r, k in zip(log_probs, path, strict=False)))
        return total

    heard = search.CtcPrefixes(log_probs, 0, 3)
    first = heard.scores(np.array([3]))
    assert np.exp(first[0, 1:3]) == pytest.approx([begins(1), begins(2)])
    heard.go_on(np.array([0, 0]), np.array([1, 2]))
    second = heard.scores(np.array([1, 2]))
    wanted = [[begins(a, b) / begins(a) for b in (1, 2)] for a in (1, 2)]
    np.testing.assert_allclose(np.exp(second[:, 1:3]), wanted)
    ends = [sum(q for q, s in zip(p, said, strict=True) if s == (a,)) / begins(a) for a in (1, 2)]
    np.testing.assert_allclose(np.exp(second[:, 3]), ends)
    assert (second[:, 0] == -math.inf).all()


def test_an_ngram_is_added_as_it_is():
    """With all prefixes kept and the decoder silent, the best is the best of all sums."""
    log_probs = posteriors(11, frames=4, size=4)
    said = {(): 0.1, (1,): -0.2, (2,): 1.5, (1, 2): 2.0, (2, 1): 2.2}

    def lm(labels, ends):
        return said.get(labels, -9.0) - (0.5 if ends else 0.0)

    def silent(prefixes):
        return np.zeros((len(prefixes), 4))

    def score(labels):
        heard, total = search.CtcPrefixes(log_probs, 0, 3), 0.0
        for last, token in itertools.pairwise((3, *labels, 3)):
            scores = heard.scores(np.array([last]))
            total += scores[0, token]
            heard.go_on(np.array([0]), np.array([token]))
        return total + lm(labels, True)

    found = search.joint_beam(log_probs, silent, 1000, 1.0, 3, lm=lm)
    assert found == list(max(said, key=score)) and found


def test_nothing_heard_is_nothing_said():
    assert search.joint_beam(np.zeros((0, V)), lambda said: 1 / 0, 4, 0.3, EOS) == []
