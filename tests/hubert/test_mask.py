"""Span masks, each utterance's by itself."""

import numpy as np
import pytest
import torch

from espnet_dice.hubert.models import mask


def draw(frames, times=400, seed=0, **conf):
    return np.array(
        [mask.span_mask(frames, np.random.default_rng([seed, i]), **conf) for i in range(times)]
    )


@pytest.mark.parametrize("frames", [100, 250, 780, 1500])
def test_56_percent_are_masked(frames):
    assert draw(frames).mean() == pytest.approx(0.56, abs=0.02)


@pytest.mark.parametrize("frames", [40, 49, 780])
def test_shares_are_those_of_transformers(frames):
    """Theirs, too, follows fairseq; utterances of a second are masked a little more, 58 %."""
    from transformers.models.hubert.modeling_hubert import _compute_mask_indices

    np.random.seed(0)
    # they round once for a whole batch
    theirs = [_compute_mask_indices((4, frames), 0.8, 10) for _ in range(400)]
    assert draw(frames).mean() == pytest.approx(np.mean(theirs), abs=0.012)


def test_a_tenth_of_the_setting_masks_a_tenth():
    """mask_prob 0.08 is the known wrong reading: 8 % of the frames in all."""
    assert draw(500, mask_prob=0.08).mean() == pytest.approx(0.077, abs=0.01)


@pytest.mark.parametrize("frames", range(2, 31))
def test_a_short_utterance_is_masked_in_part(frames):
    shares = draw(frames)
    assert shares.any(axis=1).all() and not shares.all(axis=1).any()
    assert 0.25 < shares.mean() < 0.75


def test_what_cannot_be_masked_in_part_is_not_masked():
    assert not draw(1).any()
    assert draw(0).shape == (400, 0)
    assert not draw(100, mask_prob=0.0).any()


def test_every_place_is_masked_now_and_then():
    often = draw(60, times=3000).mean(axis=0)
    assert often[10:-10].std() < 0.02  # away from the ends all frames alike
    assert often[0] > 0.05 and often[-1] > 0.05


def test_masks_come_in_spans():
    for row in draw(200, times=50):
        edges = np.flatnonzero(np.diff(np.r_[0, row, 0]))
        assert (edges[1::2] - edges[::2]).min() >= 10


def test_starts_are_8_percent_with_probabilistic_rounding():
    """780 frames have 62.4 spans: 62 or 63."""
    rng = np.random.default_rng(0)
    starts = [int(0.8 * 780 / 10 + rng.random()) for _ in range(2000)]
    assert set(starts) == {62, 63} and np.mean(starts) / 780 == pytest.approx(0.08, abs=1e-3)


def test_an_utterances_mask_does_not_depend_on_its_neighbours():
    lengths = {"long": 700, "short": 11, "middle": 90}
    alone = {u: mask.span_mask(n, mask.utterance_rng(5, u)) for u, n in lengths.items()}
    together = mask.pad_masks(
        [mask.span_mask(n, mask.utterance_rng(5, u)) for u, n in lengths.items()], 700
    )
    for row, (utt, n) in zip(together, lengths.items(), strict=True):
        assert np.array_equal(row[:n].numpy(), alone[utt])
        assert not row[n:].any()
    assert together.shape == (3, 700) and together.dtype == torch.bool


def test_generators_differ_by_seed_and_utterance():
    draws = {
        (s, u): mask.utterance_rng(s, u).integers(2**60) for s in range(20) for u in ("a", "b", "é")
    }
    assert len(set(draws.values())) == 60
