"""The cheapest path of pitch lags: min-plus dynamic programming with a quadratic step cost.

One step is c_t(i) = local_t(i) + min_j [c_{t-1}(j) + factor · (i - j)²]. The best j never falls as
i rises, so that the states are halved again and again, each searched between the results of its
neighbours: exact, in states · log(states) operations. Of equally cheap predecessors the lowest is
taken. Costs are single precision, as in Kaldi: where two paths tie, so does the choice.
"""

import logging
from collections.abc import Callable
from functools import cache

import numpy as np


def _sweep(local, factor, cost, back):
    """Advance over some frames.

    Args:
        local: (frames, states) f4, local costs.
        factor: f4.
        cost: (states,) f4, costs at the frame before, updated to those at the last frame, the
            lowest of which is 0.
        back: (frames, states) i2, set to the predecessors.
    """
    frames, states = local.shape
    reached = np.empty(states, np.float32)
    widest = 1
    while widest < states:
        widest *= 2
    for t in range(frames):
        gap = widest
        while gap >= 1:
            # states gap-1, 3·gap-1, … lie between states that are known already
            for i in range(gap - 1, states, 2 * gap):
                low = back[t, i - gap] if i >= gap else 0
                high = back[t, i + gap] if i + gap < states else states - 1
                best, at = np.float32(np.inf), low
                for j in range(low, high + 1):
                    c = np.float32((j - i) * (j - i)) * factor + cost[j]
                    if c < best:
                        best, at = c, j
                back[t, i] = at
                reached[i] = best
            gap //= 2
        lowest = np.float32(np.inf)
        for i in range(states):
            cost[i] = reached[i] + local[t, i]
            lowest = min(lowest, cost[i])
        for i in range(states):  # element by element: slices compile more slowly
            cost[i] -= lowest


def sweep_numpy(local, factor, cost, back):
    """The same by comparing all pairs of states: some 30 times slower, needs NumPy alone."""
    index = np.arange(local.shape[1])
    step = ((index[:, None] - index[None, :]) ** 2).astype(np.float32) * np.float32(factor)
    for t in range(len(local)):
        total = step + cost
        back[t] = total.argmin(axis=1)
        cost[:] = total[index, back[t]] + local[t]
        cost -= cost.min()


@cache
def compiled_sweep() -> Callable:
    """The sweep compiled by numba (imported here: it costs a second), or the NumPy one."""
    try:
        import numba
    except ImportError as err:  # also raised by numba itself when NumPy is too new for it
        logging.warning("numba is not usable (%s): the pitch search runs 30 times slower", err)
        return sweep_numpy
    types = "void(f4[:, ::1], f4, f4[::1], i2[:, ::1])"
    try:
        return numba.njit(types, cache=True)(_sweep)
    except (RuntimeError, OSError):  # no directory to keep the compiled code in: compile anew
        return numba.njit(types)(_sweep)


class Viterbi:
    """A search that is fed block by block and traced back at the end.

    Args:
        states: number of lags.
        factor: cost of a step per squared difference of state indices.
        frames: number of frames to come.
    """

    def __init__(self, states: int, factor: float, frames: int):
        if states > np.iinfo(np.int16).max:
            raise ValueError(f"{states} pitch lags: a larger delta_pitch is needed")
        self.factor = np.float32(factor)
        self.cost = np.zeros(states, np.float32)
        self.back = np.empty((frames, states), np.int16)
        self.done = 0

    def feed(self, local: np.ndarray) -> None:
        """Take the local costs (frames, states) of the next frames."""
        local = np.ascontiguousarray(local, np.float32)
        back = self.back[self.done : self.done + len(local)]
        compiled_sweep()(local, self.factor, self.cost, back)
        self.done += len(local)

    def path(self) -> np.ndarray:
        """The state of every frame on the cheapest path, (frames,) int64."""
        states = np.empty(self.done, np.int64)
        state = int(self.cost.argmin())
        for t in range(self.done - 1, -1, -1):
            states[t] = state
            state = self.back[t, state]
        return states
