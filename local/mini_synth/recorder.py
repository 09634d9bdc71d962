"""Recordings from plans: spoken words with room, level and noise around them."""

import numpy as np

from local.mini_synth import phones, sound
from local.mini_synth.espeak import Espeak
from local.mini_synth.phones import Phone
from local.mini_synth.plan import Utterance
from local.mini_synth.text import generator


class Recorder:
    """Makes recordings; the same utterance always gives the same samples.

    Args:
        config: the settings (``config.load``).
        babble: what the background says (``plan_babble``).
    """

    def __init__(self, config: dict, babble: list[Utterance]):
        self.sets = config["sets"]
        self.sample_rate = config["sample_rate"]
        self.espeak = Espeak()
        self.babble = babble
        self._bank: list[np.ndarray] = []

    def close(self) -> None:
        """End the child process."""
        self.espeak.close()

    @property
    def bank(self) -> list[np.ndarray]:
        """The background talkers, each of unit power; spoken at first use."""
        if not self._bank:
            for u in self.babble:
                clip, _ = self._say(u, u.voice.rate, u.voice.pitch)
                self._bank.append(clip / np.sqrt(sound.power(clip)))
        return self._bank

    def _say(self, u: Utterance, rate: float, pitch: float) -> tuple[np.ndarray, list[Phone]]:
        """Samples without the silence at both ends, and phones from the first one on."""
        v = u.voice
        pitch = min(max(pitch, 0), 99)
        wave, events = self.espeak.speak(u.said, v.language, v.variant, rate, pitch, v.range)
        wave = sound.resample(wave, self.espeak.sample_rate, self.sample_rate)
        kept = sound.loud_part(wave)
        first, last = kept.start / self.sample_rate, kept.stop / self.sample_rate
        return wave[kept], phones.spans(events, self.espeak.sample_rate, first, last)

    def record(self, set_name: str, u: Utterance) -> tuple[np.ndarray, list[Phone]]:
        """(n,) int16 samples of one utterance of a set, and its phones.

        Everything is drawn in the same order whatever the settings, and the noise from a stream of
        its own: with other noise or another room the same words stand at the same samples.
        """
        s = self.sets[set_name]
        rng = generator(u.seed)
        speech, spoken = self._say(
            u,
            u.voice.rate * (1 + rng.uniform(-1, 1) * s["rate_jitter"]),
            u.voice.pitch + rng.uniform(-1, 1) * s["pitch_jitter"],
        )
        before, after = (int(rng.uniform(*s["pad"]) * self.sample_rate) for _ in range(2))
        snr, level = rng.uniform(*s["snr_db"]), rng.uniform(*s["level_db"])
        shares = np.cumsum(list(s["noise"].values())) / sum(s["noise"].values())
        kind = list(s["noise"])[
            min(np.searchsorted(shares, rng.random(), "right"), len(shares) - 1)
        ]
        room = s["reverb"]
        reverberant = rng.random() < room["probability"]
        t60, direct = rng.uniform(*room["t60"]), rng.uniform(*room["direct_db"])

        span = slice(before, before + len(speech))
        wave = np.pad(speech, (before, after))
        if reverberant:
            tail = generator(u.seed, "room")
            wave = sound.reverberate(wave, len(wave), self.sample_rate, t60, direct, tail)
        bank = self.bank if kind == "babble" else []
        background = generator(u.seed, "noise")
        noise = sound.make_noise(kind, len(wave), bank, s["babble_talkers"], background)
        said = phones.later(spoken, before / self.sample_rate)
        return sound.to_int16(sound.mix(wave, noise, span, snr, level)), said
