import numba
import numpy as np
import pytest

from espnet_dice.features import viterbi


def smooth_costs(frames, states, seed):
    rng = np.random.default_rng(seed)
    basis = np.cos(np.pi * np.outer(np.arange(25), np.arange(states)) / states)
    return (rng.standard_normal((frames, 25)) @ basis * 0.02).astype(np.float32)


def best_by_enumeration(local, factor):
    """The cheapest of all paths of a tiny problem."""
    frames, states = local.shape
    cost = {(s,): local[0, s] for s in range(states)}
    for t in range(1, frames):
        cost = {
            p + (s,): c + factor * (p[-1] - s) ** 2 + local[t, s]
            for p, c in cost.items()
            for s in range(states)
        }
    return min(cost, key=cost.get)


@pytest.mark.parametrize("seed", range(5))
def test_finds_the_cheapest_of_all_paths(seed):
    local = np.random.default_rng(seed).standard_normal((5, 6)).astype(np.float32)
    search = viterbi.Viterbi(6, 0.3, 5)
    search.feed(local)
    assert tuple(search.path()) == best_by_enumeration(local.astype(np.float64), 0.3)


@pytest.mark.parametrize("states", [1, 2, 3, 64, 100])
def test_compiled_and_plain_sweep_agree(states, monkeypatch):
    local = smooth_costs(31, states, states)
    fast = viterbi.Viterbi(states, 1e-4, 31)
    fast.feed(local[:19])
    fast.feed(local[19:])
    monkeypatch.setattr(viterbi, "compiled_sweep", lambda: viterbi.sweep_numpy)
    plain = viterbi.Viterbi(states, 1e-4, 31)
    plain.feed(local)
    np.testing.assert_allclose(fast.cost, plain.cost, atol=1e-6)
    np.testing.assert_array_equal(fast.path(), plain.path())


def test_ties_go_to_the_lowest_state():
    search = viterbi.Viterbi(50, 1e-4, 6)
    search.feed(np.ones((6, 50), np.float32))
    assert (search.path() == 0).all()
    for sweep in (viterbi.compiled_sweep(), viterbi.sweep_numpy):
        cost = np.array([0, 5, 0], np.float32)
        back = np.full((1, 3), -1, np.int16)
        sweep(np.zeros((1, 3), np.float32), np.float32(1), cost, back)
        np.testing.assert_array_equal(back, [[0, 0, 2]])
        np.testing.assert_array_equal(cost, [0, 1, 0])


def test_refuses_too_many_states():
    with pytest.raises(ValueError, match="delta_pitch"):
        viterbi.Viterbi(40000, 1e-4, 1)


def test_compiles_without_a_cache_directory(monkeypatch):
    plain = numba.njit

    def no_cache(*args, cache=False):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return plain(*args)

    monkeypatch.setattr(numba, "njit", no_cache)
    sweep = viterbi.compiled_sweep.__wrapped__()
    back = np.zeros((1, 3), np.int16)
    cost = np.zeros(3, np.float32)
    sweep(np.array([[3, 1, 2]], np.float32), np.float32(1), cost, back)
    np.testing.assert_array_equal(cost, [2, 0, 1])


def test_works_without_numba(monkeypatch, caplog):
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    assert viterbi.compiled_sweep.__wrapped__() is viterbi.sweep_numpy
    assert "numba is not usable" in caplog.text
