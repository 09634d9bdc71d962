"""The client of ``speak.py``, the process that holds the espeak-ng library."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

from espnet_dice.io.errors import DiceError

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

    def speak(
        self, text: str, language, variant, rate, pitch, range_
    ) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """Say a text.

        Args:
            rate: in words per minute; pitch and range 0–100.

        Returns:
            (n,) float64 samples in ±1 at ``sample_rate``; and of each phoneme its first sample and
            espeak-ng's name.
        """
        job = {"text": text.lower(), "language": language, "variant": variant}
        job |= {"rate": round(rate), "pitch": round(pitch), "range": round(range_)}
        self.child.stdin.write((json.dumps(job) + "\n").encode())
        self.child.stdin.flush()
        raw = self._read(2)
        said = self._read(1)
        if not raw or not said:
            raise DiceError(f"espeak-ng did not say {text!r} as {language}+{variant}")
        wave = np.frombuffer(raw, np.int16).astype(np.float64) / 32768
        return wave, [(start, name) for start, name in json.loads(said)]

    def _read(self, width: int) -> bytes:
        """A number n and n values of ``width`` bytes; nothing where the process has ended."""
        head = self.child.stdout.read(4)
        size = width * struct.unpack("=I", head)[0] if len(head) == 4 else 0
        raw = self.child.stdout.read(size)
        return raw if len(raw) == size else b""
