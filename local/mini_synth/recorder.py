"""Recordings from plans: drives the espeak-ng process and puts room, level and noise around it."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

from espnet_dice.io.errors import DiceError
from local.mini_synth import sound
from local.mini_synth.plan import Utterance
from local.mini_synth.text import generator

SPEAK = Path(__file__).with_name("speak.py")
NO_WHEEL = 3
INSTALL = 'the synthetic corpus needs espeak-ng: pip install "espnet-dice[synth]"'


class Espeak:
    """The child process that speaks. Use as a context manager.

    Args:
        python: the interpreter that runs ``speak.py`` and has the espeakng-loader wheel.

    Raises:
        DiceError: the wheel is not installed, or the process did not start.
    """

    def __init__(self, python: str = sys.executable):
        self.child = subprocess.Popen(
            [python, str(SPEAK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        head = self.child.stdout.read(4)
        if len(head) < 4:
            code = self.child.wait()
            raise DiceError(INSTALL if code == NO_WHEEL else f"{SPEAK.name} ended with code {code}")
        self.sample_rate = struct.unpack("=I", head)[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """End the process."""
        self.child.stdin.close()
        self.child.wait()
        self.child.stdout.close()

    def speak(self, text: str, language, variant, rate, pitch, range_) -> np.ndarray:
        """(n,) float64 samples in ±1 at ``sample_rate``; rate in words per minute, rest 0–100."""
        job = {"text": text.lower(), "language": language, "variant": variant}
        job |= {"rate": round(rate), "pitch": round(pitch), "range": round(range_)}
        self.child.stdin.write((json.dumps(job) + "\n").encode())
        self.child.stdin.flush()
        head = self.child.stdout.read(4)
        n = struct.unpack("=I", head)[0] if len(head) == 4 else 0
        raw = self.child.stdout.read(2 * n)
        if n == 0 or len(raw) < 2 * n:
            raise DiceError(f"espeak-ng did not say {text!r} as {language}+{variant}")
        return np.frombuffer(raw, np.int16).astype(np.float64) / 32768


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
                clip = self._say(u, u.voice.rate, u.voice.pitch)
                self._bank.append(clip / np.sqrt(sound.power(clip)))
        return self._bank

    def _say(self, u: Utterance, rate: float, pitch: float) -> np.ndarray:
        v = u.voice
        pitch = min(max(pitch, 0), 99)
        wave = self.espeak.speak(u.said, v.language, v.variant, rate, pitch, v.range)
        return sound.trim(sound.resample(wave, self.espeak.sample_rate, self.sample_rate))

    def record(self, set_name: str, u: Utterance) -> np.ndarray:
        """(n,) int16 samples of one utterance of a set.

        Everything is drawn in the same order whatever the settings, and the noise from a stream of
        its own: with other noise or another room the same words stand at the same samples.
        """
        s = self.sets[set_name]
        rng = generator(u.seed)
        speech = self._say(
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
        return sound.to_int16(sound.mix(wave, noise, span, snr, level))
