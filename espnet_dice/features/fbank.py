"""Log-mel filter-bank (kaldi-native-fbank), alone and with the three pitch features."""

import numpy as np

from espnet_dice.features.pitch import PitchOptions, kaldi_pitch, process_pitch
from espnet_dice.features.pitch_features import generator
from espnet_dice.features.wave import check_wave, int16_scale

CHUNK = 1 << 17


def fbank(
    wave: np.ndarray,
    sample_rate: int,
    num_mel_bins: int = 80,
    snip_edges: bool = True,
    dither: float = 0.0,
    seed: int | str | None = 0,
) -> np.ndarray:
    """Log-mel energies as Kaldi's ``compute-fbank-feats`` gives them, 25 ms every 10 ms.

    Defaults of Kaldi and of ESPnet's ``make_fbank_pitch.sh`` (Povey window, pre-emphasis 0.97,
    20 Hz to Nyquist, no energy), but for the dither.

    Args:
        wave: (samples,) int16 (others: :func:`wave.as_mono`), or float in [-1, 1], which is
            multiplied by 32768 first.
        sample_rate: in Hz.
        num_mel_bins: filters.
        snip_edges: true: only whole frames; false: one frame per shift, edges reflected.
        dither: standard deviation of the noise added to the samples, in the int16 scale; 0 for
            none (Kaldi's default is 1).
        seed: of the dither, a number or an utterance id, None for other noise at every call.

    Returns:
        (frames, num_mel_bins) float32 natural logarithms.

    Raises:
        ValueError: a wave that is not mono, of integers or of floats in [-1, 1], or NaN in it.
    """
    import kaldi_native_fbank as knf

    wave, sample_rate = check_wave(wave, sample_rate)
    samples = int16_scale(wave)
    if dither:
        samples = samples + dither * generator("dither", seed).standard_normal(len(samples))
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = sample_rate
    options.frame_opts.snip_edges = snip_edges
    # the library's own dither cannot be seeded
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = num_mel_bins
    return run(knf.OnlineFbank(options), samples, sample_rate, num_mel_bins)


def run(extractor, samples: np.ndarray, sample_rate: int, dim: int) -> np.ndarray:
    """All frames of one of kaldi-native-fbank's extractors, (frames, dim) float32.

    Args:
        extractor: ``OnlineFbank``, ``OnlineMfcc`` …
        samples: (samples,) in the int16 scale.
        sample_rate: in Hz.
        dim: of a frame.
    """
    # lists go through the binding faster than arrays, but take 40 bytes a sample
    for start in range(0, len(samples), CHUNK):
        extractor.accept_waveform(sample_rate, samples[start : start + CHUNK].tolist())
    extractor.input_finished()
    features = np.empty((extractor.num_frames_ready, dim), np.float32)
    for t in range(len(features)):
        features[t] = extractor.get_frame(t)
    return features


def fbank_pitch(
    wave: np.ndarray,
    sample_rate: int,
    num_mel_bins: int = 80,
    snip_edges: bool = True,
    dither: float = 0.0,
    add_noise: bool = True,
    seed: int | str | None = 0,
    pitch_options: PitchOptions | None = None,
) -> np.ndarray:
    """Filter-bank and pitch side by side: ``fbank`` then ``process_pitch`` of ``kaldi_pitch``.

    Args:
        add_noise: see ``process_pitch``.
        pitch_options: see ``kaldi_pitch``; the others: see ``fbank``.

    Returns:
        (frames, num_mel_bins + 3) float32. The two differ in length by at most two frames, in
        waves that end just short of a frame; the longer one is cut, as Kaldi's paste-feats does.
        A wave shorter than one frame gives (0, num_mel_bins + 3).

    Raises:
        ValueError: see ``fbank`` and ``kaldi_pitch``.
    """
    mel = fbank(wave, sample_rate, num_mel_bins, snip_edges, dither, seed)
    raw = kaldi_pitch(wave, sample_rate, snip_edges, pitch_options)
    pitch = process_pitch(raw, add_noise, seed)
    frames = min(len(mel), len(pitch))
    return np.concatenate([mel[:frames], pitch[:frames]], axis=1)
