"""Cached teacher outputs: what goes in comes out, and what belongs elsewhere is refused."""

import numpy as np
import pytest
import torch

from espnet_dice.io.errors import DataError, StaleError
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.kd import cache
from espnet_dice.stages import teacher_outputs

V = 5
IDS = np.array([3, 2, 4])


@pytest.fixture
def said():
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, V)).astype(np.float32), rng.gamma(1.0, size=(3, V)).astype("f4")


def batch(matrix):
    """The matrix alone and with a longer, padded neighbour's padding."""
    padded = np.concatenate([matrix, np.zeros((2, matrix.shape[1]), "f4")])
    ys_out = torch.tensor([[*IDS, -1, -1]])
    return torch.from_numpy(padded)[None], torch.tensor([3]), ys_out


@pytest.mark.parametrize("with_variances", [True, False])
def test_round_trip(said, with_variances):
    log_probs, variances = said
    matrix = cache.pack(log_probs, variances if with_variances else None, IDS)
    assert matrix.shape == (3, (2 if with_variances else 1) * V + 1)
    got, var = cache.unpack(*batch(matrix), V, -1, "a")
    np.testing.assert_array_equal(got[0, :3].numpy(), log_probs)
    if with_variances:
        np.testing.assert_array_equal(var[0, :3].numpy(), variances)
    else:
        assert var is None


def test_other_transcripts_are_refused(said):
    matrix, lengths, ys_out = batch(cache.pack(*said, IDS))
    other = ys_out.clone()
    other[0, 1] = 1
    with pytest.raises(DataError, match="teacher a: cached outputs of utt7 .* another transcript"):
        cache.unpack(matrix, lengths, other, V, -1, "a", ["utt7"])
    with pytest.raises(DataError, match="utt7"):
        cache.unpack(matrix[:, :4], lengths - 1, ys_out, V, -1, "a", ["utt7"])
    with pytest.raises(DataError, match="another token list"):
        cache.unpack(matrix, lengths, ys_out, V + 1, -1, "a", ["utt7"])


def test_a_cache_made_from_something_else_is_stale(tmp_path):
    keys = {"data": "d1", "tokens": "t1", "teacher": "m1"}
    with pytest.raises(StaleError, match="run stage 6"):
        cache.check(tmp_path, "d1", "t1", "m1")
    made_from = Fingerprint(cache.STAGE, {}, keys)
    made_from.begin(tmp_path)
    with pytest.raises(StaleError, match="never finished"):
        cache.check(tmp_path, "d1", "t1", "m1")
    made_from.finish(tmp_path)
    assert cache.check(tmp_path, "d1", "t1", "m1") == made_from.key
    for name, now in (
        ("data", ("d2", "t1", "m1")),
        ("tokens", ("d1", "t2", "m1")),
        ("teacher", ("d1", "t1", "m2")),
    ):
        with pytest.raises(StaleError, match=f"made from other {name} than"):
            cache.check(tmp_path, *now)


def test_outputs_that_have_the_ctc_branch_keep_it(tmp_path):
    """A student that does not read it depends on them all the same."""
    places = [tmp_path / name for name in ("a", "b")]
    Fingerprint(cache.STAGE, {"ctc": False}, {}).finish(places[0])
    assert not teacher_outputs._have_ctc(places)
    Fingerprint(cache.STAGE, {"ctc": True}, {}).finish(places[1])
    assert teacher_outputs._have_ctc(places)
