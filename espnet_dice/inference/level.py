"""How loud an utterance is, and whether anything in it stands above its noise floor.

A recogniser that was trained on speech alone finds words in silence and in noise too, and is sure
of them; the energies of the frames tell these from speech.
"""

from dataclasses import dataclass

import numpy as np

FRAME_S, SHIFT_S = 0.05, 0.01
BAND = (100.0, 1000.0)
"""Hz. Voiced speech has most of its energy there, rumble and hiss have little."""
LOUD_S = 0.1
"""What is louder for a shorter time than this is a click."""
FLOOR_PERCENTILE = 10
QUIET_DB = -70.0
"""dBFS below which nothing is taken for speech: 16 bits end at -90."""
RANGE_DB = 6.0
"""Frames of white, pink and brown noise differ by 2 to 5 dB."""
LEAST = 2.0**-34
"""Added to every mean square, -102 dB: digital silence has a level, too."""


@dataclass(frozen=True)
class Level:
    """Energies of an utterance, of frames of 50 ms every 10 ms.

    Attributes:
        level_db: of its loud part, in dB of full scale (a square wave from -1 to 1 has 0): the mean
            square about the mean that its frames exceed for 100 ms in all.
        range_db: between 100 and 1000 Hz, how much that is above the 10th percentile of the frames,
            the noise floor.
    """

    level_db: float
    range_db: float

    @property
    def is_speech(self) -> bool:
        """Whether something stands above the noise floor: 6 dB above it, and -70 dBFS or more.

        Not for silence, a constant, hum and steady noise. Music and a slamming door stand above it
        as speech does; speech that begins and ends in noise as loud as itself does not.
        """
        return self.level_db >= QUIET_DB and self.range_db >= RANGE_DB


def measure(samples: np.ndarray, rate: int) -> Level:
    """The level of an utterance.

    Args:
        samples: (samples,) in [-1, 1], one at least.
        rate: in Hz.
    """
    from scipy.signal import butter, sosfilt

    x = samples.astype(np.float64)
    x -= x.mean()
    band = BAND[0], min(BAND[1], 0.45 * rate)
    voiced = _frames_db(sosfilt(butter(4, band, "bandpass", fs=rate, output="sos"), x), rate)
    loud = min(round(LOUD_S / SHIFT_S), (len(voiced) + 1) // 2)
    floor = np.percentile(voiced, FLOOR_PERCENTILE)
    return Level(float(np.sort(_frames_db(x, rate))[-loud]), float(np.sort(voiced)[-loud] - floor))


def _frames_db(x: np.ndarray, rate: int) -> np.ndarray:
    """Mean square of every frame in dB, (frames,); of a shorter signal, one frame."""
    length, shift = min(round(FRAME_S * rate), len(x)), round(SHIFT_S * rate)
    sums = np.concatenate([[0.0], np.cumsum(x**2)])
    return 10 * np.log10((sums[length:] - sums[:-length])[::shift] / length + LEAST)
