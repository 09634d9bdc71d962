"""Slow float64 loops, written from the published descriptions, to compare the package with."""

import math

import numpy as np


def hann_sinc(t, cutoff, zeros):
    """A sinc low-pass under a Hann window over ``zeros`` zero crossings on each side."""
    if abs(t) >= zeros / (2 * cutoff):
        return 0.0
    window = 0.5 * (1 + math.cos(2 * math.pi * cutoff / zeros * t))
    if t == 0:
        return 2 * cutoff * window
    return math.sin(2 * math.pi * cutoff * t) / (math.pi * t) * window


def resample(wave, rate, new_rate=4000, cutoff=1000.0, zeros=1):
    """One output sample at a time, over the input samples under the filter."""
    out = []
    k = 0
    while k * rate < len(wave) * new_rate:
        centre = k / new_rate
        near = range(
            max(0, math.floor((centre - zeros / (2 * cutoff)) * rate)),
            min(len(wave), math.ceil((centre + zeros / (2 * cutoff)) * rate) + 1),
        )
        out.append(sum(wave[n] * hann_sinc(n / rate - centre, cutoff, zeros) for n in near) / rate)
        k += 1
    return np.array(out)


def raw_pitch(wave, rate, snip_edges):
    """NCCF and F0 with the default options; the ballast is that of the whole signal throughout.

    Returns:
        (frames, 2).
    """
    signal = resample(np.asarray(wave, np.float64), rate)
    length, shift, first_lag, last_lag = 100, 40, 8, 82
    if len(signal) < length:
        return np.zeros((0, 2))
    if snip_edges:
        starts = [shift * t for t in range((len(signal) - length) // shift + 1)]
    else:
        frames = math.floor(len(signal) / shift + 0.5)
        starts = [shift * t + shift // 2 - (length + last_lag) // 2 for t in range(frames)]

    lags = [1 / 400]
    while lags[-1] * 1.005 <= 1 / 50:
        lags.append(lags[-1] * 1.005)
    weights = np.array(
        [[hann_sinc(x - n / 4000, 2000.0, 5) / 4000 for n in range(first_lag, last_lag + 1)]
         for x in lags]
    )  # fmt: skip
    mean_square = np.mean(signal**2) - np.mean(signal) ** 2
    ballast = 7000 * (mean_square * length) ** 2

    with_ballast, plain = [], []
    for start in starts:
        frame = np.zeros(length + last_lag)
        for n in range(len(frame)):
            if 0 <= start + n < len(signal):
                frame[n] = signal[start + n]
        frame -= frame[:length].mean()
        head = frame[:length]
        for ballast_now, rows in ((ballast, with_ballast), (0.0, plain)):
            row = []
            for lag in range(first_lag, last_lag + 1):
                part = frame[lag : lag + length]
                norm = math.sqrt(head.dot(head) * part.dot(part) + ballast_now)
                row.append(head.dot(part) / norm if norm else 0.0)
            rows.append(weights @ row)
    local = [1 - row * (1 - 10 * np.array(lags)) for row in with_ballast]
    return np.array([[plain[t][s], 1 / lags[s]] for t, s in enumerate(path(local))])


def path(local):
    """Plain Viterbi: the cheapest sequence of states."""
    index = np.arange(len(local[0]))
    step = 0.1 * math.log(1.005) ** 2 * (index[:, None] - index[None, :]) ** 2
    cost, back = np.zeros(len(index)), []
    for row in local:
        total = cost + step
        back.append(total.argmin(axis=1))
        cost = total.min(axis=1) + row
    state, states = int(cost.argmin()), []
    for best in reversed(back):
        states.append(state)
        state = best[state]
    return states[::-1]


def processed_pitch(raw):
    """POV feature, normalised log F0, delta; frame by frame, without noise."""
    nccf, log_f0 = raw[:, 0].astype(float), np.log(raw[:, 1].astype(float))
    frames = len(raw)

    def voicing(n):
        a = min(abs(n), 1.0)
        r = -5.2 + 5.4 * math.exp(7.5 * (a - 1)) + 4.8 * a
        r = r - 2 * math.exp(-10 * a) + 4.2 * math.exp(20 * (a - 1))
        return 1 / (1 + math.exp(-r))

    rows = []
    for t in range(frames):
        near = range(max(0, t - 75), min(frames, t + 76))
        weight = [voicing(nccf[u]) for u in near]
        mean = sum(w * log_f0[u] for w, u in zip(weight, near, strict=True)) / sum(weight)
        delta = sum(k * log_f0[min(max(t + k, 0), frames - 1)] for k in (-2, -1, 1, 2)) / 10
        pov = (1.0001 - min(max(nccf[t], -1.0), 1.0)) ** 0.15 - 1
        rows.append([2 * pov, 2 * (log_f0[t] - mean), 10 * delta])
    return np.array(rows)


def fbank(wave, rate, bins=80):
    """Log-mel energies of whole 25 ms frames: Kaldi's defaults without dither, int16 scale."""
    size, shift = rate * 25 // 1000, rate // 100
    padded = 2 ** math.ceil(math.log2(size))
    n = np.arange(size)
    povey = (0.5 - 0.5 * np.cos(2 * np.pi * n / (size - 1))) ** 0.85

    def mel(f):
        return 1127 * np.log(1 + f / 700)

    edges = np.linspace(mel(20.0), mel(rate / 2), bins + 2)
    at = mel(np.arange(padded // 2) * rate / padded)
    rows = []
    for start in range(0, len(wave) - size + 1, shift):
        frame = np.asarray(wave[start : start + size], np.float64)
        frame = frame - frame.mean()
        frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        power = np.abs(np.fft.rfft(frame * povey, padded)[: padded // 2]) ** 2
        row = []
        for low, mid, high in zip(edges, edges[1:], edges[2:], strict=False):
            weight = np.minimum((at - low) / (mid - low), (high - at) / (high - mid))
            row.append(math.log(max(power @ np.maximum(weight, 0), np.finfo(np.float32).eps)))
        rows.append(row)
    return np.array(rows)
