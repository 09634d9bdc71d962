"""The three pitch features that go beside the filter-bank: Kaldi's process-kaldi-pitch-feats."""

import hashlib

import numpy as np

NORMALIZATION_FRAMES = 75
DELTA_WINDOW = 2
NOISE_STD = 0.005


def pov_feature(nccf: np.ndarray) -> np.ndarray:
    """(1.0001 - n)^0.15 - 1 for n = NCCF clipped to [-1, 1]: a nearly Gaussian voicing measure."""
    return (1.0001 - np.clip(nccf, -1.0, 1.0)) ** 0.15 - 1.0


def voicing_probability(nccf: np.ndarray) -> np.ndarray:
    """1/(1+e^-r), r = -5.2 + 5.4e^{7.5(a-1)} + 4.8a - 2e^{-10a} + 4.2e^{20(a-1)}, a = |NCCF| ≤ 1.

    A fit to labelled speech (Ghahremani et al. 2014).
    """
    a = np.minimum(np.abs(nccf), 1.0)
    r = -5.2 + 5.4 * np.exp(7.5 * (a - 1)) + 4.8 * a
    r += -2.0 * np.exp(-10 * a) + 4.2 * np.exp(20 * (a - 1))
    return 1 / (1 + np.exp(-r))


def _window_sums(values: np.ndarray, context: int) -> np.ndarray:
    """Sum over t-context … t+context, cut at the ends, along axis 0."""
    total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
    t = np.arange(len(values))
    return total[np.minimum(t + context + 1, len(values))] - total[np.maximum(t - context, 0)]


def _delta(values: np.ndarray, window: int) -> np.ndarray:
    """Regression slope Σ_k k·x(t+k) / Σ_k k², k = -window … window; the ends are repeated."""
    padded = np.pad(values, window, mode="edge")
    slope = np.correlate(padded, np.arange(-window, window + 1.0), mode="valid")
    return slope / (2 * sum(k * k for k in range(1, window + 1)))


def generator(purpose: str, seed: int | str | None) -> np.random.Generator:
    """A random generator for a number, an utterance id, or (None) a fresh one each time.

    Generators of one seed but different purposes are independent.
    """
    if seed is None:
        return np.random.default_rng()
    # unlike hash(), the same in every process
    digest = hashlib.sha256(f"{purpose} {seed!r}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def process_pitch(
    raw_pitch: np.ndarray,
    add_noise: bool = True,
    seed: int | str | None = 0,
    noise_std: float = NOISE_STD,
) -> np.ndarray:
    """Features from raw pitch, as Kaldi's ``process-kaldi-pitch-feats`` makes them by default.

    Args:
        raw_pitch: (frames, 2), [NCCF, F0 in Hz], from ``kaldi_pitch``.
        add_noise: whether the delta gets Gaussian noise, which hides that F0 is quantised.
        seed: of the noise: a number or an utterance id (same seed, same noise), or None for
            other noise at every call, which is what Kaldi does.
        noise_std: standard deviation of the noise, in log Hz per frame.

    Returns:
        (frames, 3) float32: 2·POV feature; 2·(log F0 − its voicing-weighted mean over ±75
        frames); 10·(slope of log F0 over ±2 frames + noise).

    Raises:
        ValueError: not (frames, 2), not finite, or an F0 that is not positive.
    """
    raw_pitch = np.asarray(raw_pitch, np.float64)
    if raw_pitch.ndim != 2 or raw_pitch.shape[1] != 2:
        raise ValueError(f"raw pitch must be (frames, 2), [NCCF, F0]: got {raw_pitch.shape}")
    if not np.isfinite(raw_pitch).all() or not (raw_pitch[:, 1] > 0).all():
        raise ValueError("raw pitch must be finite, with F0 above 0 Hz in every frame")
    if len(raw_pitch) == 0:
        return np.zeros((0, 3), np.float32)
    nccf, log_f0 = raw_pitch[:, 0], np.log(raw_pitch[:, 1])
    weight = voicing_probability(nccf)
    sums = _window_sums(np.stack([weight, weight * log_f0], axis=1), NORMALIZATION_FRAMES)
    slope = _delta(log_f0, DELTA_WINDOW)
    if add_noise:
        slope = slope + noise_std * generator("pitch", seed).standard_normal(len(slope))
    features = [2 * pov_feature(nccf), 2 * (log_f0 - sums[:, 1] / sums[:, 0]), 10 * slope]
    return np.stack(features, axis=1).astype(np.float32)
