"""Acoustic features: filter-bank, Kaldi pitch, and their global statistics.

Importing this needs NumPy only; kaldi-native-fbank and numba are imported at the first use.
"""

from espnet_dice.features.cmvn import GlobalStats
from espnet_dice.features.fbank import fbank, fbank_pitch
from espnet_dice.features.mfcc import mfcc
from espnet_dice.features.pitch import PitchOptions, kaldi_pitch, process_pitch

__all__ = [
    "GlobalStats",
    "PitchOptions",
    "fbank",
    "fbank_pitch",
    "kaldi_pitch",
    "mfcc",
    "process_pitch",
]
