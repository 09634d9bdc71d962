"""Artificial utterances, and frozen models of which it is known what they tell."""

import numpy as np
import torch

from espnet_dice.hubert.models.frames import n_frames, n_samples
from espnet_dice.io.datadir import Recording, Utterance

FRAMES_PER_CHARACTER = 3


def utterance(utt, text="AB", speaker="s0"):
    return Utterance(utt, Recording(utt, "file", utt, ".", "x:1"), text, speaker, 0, None, "x:1")


def wave(utt: Utterance, extra: int = 0) -> np.ndarray:
    """Samples for three frames a character, the first sample naming the utterance's length."""
    frames = FRAMES_PER_CHARACTER * len(utt.text)
    return np.random.default_rng(len(utt.text)).normal(size=n_samples(frames) + extra)


class Told:
    """A model whose last layer tells each frame's character, and the speaker in every frame.

    Args:
        utterances: those that can be heard.
        noise: added to everything; with much of it the model tells nothing.
        layers: the others are noise.
    """

    key, size, dim = "told", 1000, 24

    def __init__(self, utterances, noise=0.1, layers=3):
        self.noise, self.layers_ = noise, layers
        self.of = {wave(utt)[:50].tobytes() + utt.id.encode(): utt for utt in utterances}
        self.directions = np.random.default_rng(0).normal(size=(256, self.dim))
        self.now = None
        self.heard = []

    def read(self, utt):
        self.now = utt
        return wave(utt)

    def hidden(self, waves, layers=None):
        return [self.states(samples) for samples in waves]

    def states(self, samples):
        utt, frames = self.now, n_frames(len(samples))
        self.heard.append((utt.id, frames))
        rng = np.random.default_rng(sum(map(ord, utt.id)))
        x = rng.normal(size=(self.layers_, frames, self.dim))
        codes = np.repeat([ord(c) for c in utt.text], FRAMES_PER_CHARACTER)[:frames]
        voice = 128 + int(utt.speaker.removeprefix("s"))
        x[-1] = self.noise * x[-1] + self.directions[codes] + self.directions[voice]
        return [torch.from_numpy(layer.astype(np.float32)) for layer in x]
