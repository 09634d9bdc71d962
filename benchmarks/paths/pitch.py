"""fbank + pitch on one core, beside Kaldi's C++ pitch.

Bound by operations: the normalised cross-correlation of 4 kHz speech at each lag, and Viterbi over
some 417 lags a frame. Kaldi's C++ is the last that torchaudio carried (2.0.2, with torch 2.0.1): a
virtual environment of its own, which ``--kaldi_python`` names. Its time alone is compared: there
the Viterbi pass does the same work on stale costs. ``tests/features`` compare the pitch with
Kaldi's own.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import RATE, Cost, Row, alternate, faster, fixed, median

SECONDS = 30.0

KALDI = """
import json, sys, time
import numpy as np, torch, torchaudio
torch.set_num_threads(1)
wave = torch.from_numpy(np.load(sys.argv[1]).astype(np.float32))[None]
for line in sys.stdin:
    wall, cpu = time.perf_counter(), time.process_time()
    torchaudio.functional.compute_kaldi_pitch(wave, 16000)
    took = time.process_time() - cpu, time.perf_counter() - wall
    print(json.dumps(took), flush=True)
"""


def synthetic(seconds: float) -> np.ndarray:
    """Voiced and unvoiced stretches of ten seconds, repeated, (samples,) int16."""
    rng = np.random.default_rng(0)
    t = np.arange(10 * RATE) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 60 * np.sin(2 * np.pi * 0.4 * t)) / RATE
    wave = sum(np.cos(k * phase + k * k) / k for k in range(1, 13))
    wave = wave * np.clip(np.sin(2 * np.pi * 2 * t) + 0.4, 0, 1)
    wave = np.round(2500 * wave + 50 * rng.standard_normal(len(t))).astype(np.int16)
    return np.resize(wave, int(seconds * RATE))


class Kaldi:
    """Kaldi's C++ pitch, in a process of another interpreter that waits for its turns."""

    def __init__(self, python: str, wave: np.ndarray, directory: Path):
        np.save(directory / "wave.npy", wave)
        command = [python, "-c", KALDI, directory / "wave.npy"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self) -> Cost:
        """One turn."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return Cost(*json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        """End it."""
        self.process.stdin.close()
        self.process.wait()


def rows(options: Any) -> Iterator[Row]:
    """Ours beside Kaldi's."""
    from espnet_dice.features import fbank, fbank_pitch, kaldi_pitch

    wave = synthetic(SECONDS)
    calls: dict[str, Any] = {
        "fbank + pitch": lambda: fbank_pitch(wave, RATE),
        "pitch alone": lambda: kaldi_pitch(wave, RATE),
        "fbank alone": lambda: fbank(wave, RATE),
    }
    kaldi = None
    with tempfile.TemporaryDirectory() as tmp:
        if options.kaldi_python:
            kaldi = calls["Kaldi"] = Kaldi(options.kaldi_python, wave, Path(tmp))
        spent = alternate(calls, options.turns)
        names = {"beside": "Kaldi's C++ pitch"}
        for what, goal in (("fbank + pitch", "pitch"), ("pitch alone", None)):
            if kaldi is None:
                yield Row(what, "Kaldi's C++ pitch", "", None, goal, median(spent[what]))
            else:
                yield faster(spent, what, "Kaldi", goal, **names)
        for what in spent:
            cost = median(spent[what])
            yield Row(what, "real time", "times faster", fixed(SECONDS / cost.cpu_s), None, cost)
        if kaldi is not None:
            kaldi.close()
