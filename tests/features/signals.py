"""Waves with a known pitch."""

import numpy as np


def voiced(f0, rate=16000, seconds=None, noise=0.0, seed=0):
    """Twelve harmonics of ``f0`` Hz (a number, or one value per sample) as int16."""
    if seconds is not None:
        f0 = np.full(int(seconds * rate), float(f0))
    phase = 2 * np.pi * np.cumsum(f0) / rate
    wave = sum(np.cos(k * phase + k * k) / k for k in range(1, 13))
    wave = wave + noise * np.random.default_rng(seed).standard_normal(len(wave))
    return np.round(2500 * wave).astype(np.int16)


def speechlike(rate=16000, seconds=0.6, seed=3):
    """Voiced stretches with moving pitch, noise between them, and a pause of digital silence."""
    t = np.arange(int(seconds * rate)) / rate
    f0 = 140 + 60 * np.sin(2 * np.pi * 1.1 * t + seed)
    loud = np.clip(np.sin(2 * np.pi * 3 * t) + 0.4, 0.02, 1)
    wave = loud * voiced(f0, rate, noise=0.05, seed=seed)
    wave[int(0.45 * len(t)) : int(0.55 * len(t))] = 0
    return np.round(wave).astype(np.int16)
