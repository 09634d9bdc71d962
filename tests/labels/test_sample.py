"""The sample of frames: bounded, spread over the corpus, the same whatever the order."""

import numpy as np
import pytest

from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.labels import sample


def lengths(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return {f"utt{i:04d}": int(k) for i, k in enumerate(rng.integers(100, 40000, n))}


def test_all_frames_where_they_fit():
    corpus = lengths()
    chosen = sample.choose(corpus, 10**6)
    for utt, n in corpus.items():
        np.testing.assert_array_equal(chosen.get(utt, []), np.arange(n_frames(n)))


@pytest.mark.parametrize("limit", [1, 10, 500, 3000])
def test_bounded_and_inside(limit):
    corpus = lengths()
    chosen = sample.choose(corpus, limit)
    assert sum(map(len, chosen.values())) == limit
    for utt, frames in chosen.items():
        assert len(frames) and (np.diff(frames) > 0).all()
        assert frames[0] >= 0 and frames[-1] < n_frames(corpus[utt])


def test_independent_of_the_order():
    corpus = lengths()
    turned = dict(reversed(corpus.items()))
    one, other = sample.choose(corpus, 700, 3), sample.choose(turned, 700, 3)
    assert list(one) == list(other)
    assert all((one[utt] == other[utt]).all() for utt in one)
    again = sample.choose(corpus, 700, 4)
    assert list(again) != list(one)


def test_no_more_speech_is_heard_than_it_takes():
    corpus = lengths(2000)
    chosen = sample.choose(corpus, 500)
    heard = sum(n_frames(corpus[utt]) for utt in chosen)
    assert heard < sample.SPREAD * 500 + n_frames(40000)
    assert len(chosen) > 10  # a few utterances would not do


def test_every_frame_has_the_same_chance():
    corpus = {f"u{i}": 400 + 320 * (9 if i % 2 else 99) for i in range(20)}
    counts = dict.fromkeys(corpus, 0)
    for seed in range(200):
        for utt, frames in sample.choose(corpus, 400, seed).items():
            counts[utt] += len(frames)
    short = sum(counts[f"u{i}"] for i in range(1, 20, 2))
    assert short / sum(counts.values()) == pytest.approx(1 / 11, rel=0.15)


def test_memory():
    assert sample.most_frames(768) * 768 * 4 * 2 <= 2e9
    assert sample.choose({"a": 399}, 10) == {}
