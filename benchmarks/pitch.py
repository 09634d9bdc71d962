"""Speed of pitch and filter-bank against real time, on one core, and peak memory.

    python benchmarks/pitch.py [--seconds 60] [--wav FILE]

CPU time is measured, so that other jobs on the machine disturb it little; the best of several
runs counts. The time to import and compile is given apart: every process pays it once.
"""

import argparse
import os
import resource
import sys
import time
from pathlib import Path

# before NumPy is imported: one core
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

RATE = 16000


def synthetic(seconds: float) -> np.ndarray:
    """Voiced and unvoiced stretches of ten seconds, repeated, (samples,) int16."""
    rng = np.random.default_rng(0)
    t = np.arange(10 * RATE) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 60 * np.sin(2 * np.pi * 0.4 * t)) / RATE
    wave = sum(np.cos(k * phase + k * k) / k for k in range(1, 13))
    wave = wave * np.clip(np.sin(2 * np.pi * 2 * t) + 0.4, 0, 1)
    wave = np.round(2500 * wave + 50 * rng.standard_normal(len(t))).astype(np.int16)
    return np.resize(wave, int(seconds * RATE))


def best_time(call, runs: int) -> float:
    """CPU seconds of the fastest of ``runs`` calls."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="of synthetic speech")
    parser.add_argument("--wav", help="a 16 kHz mono file to use instead")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    if args.wav:
        import soundfile

        wave, rate = soundfile.read(args.wav, dtype="int16")
        if rate != RATE or wave.ndim != 1:
            parser.error(f"{args.wav} must be 16 kHz mono")
    else:
        wave = synthetic(args.seconds)
    seconds = len(wave) / RATE

    start = time.process_time()
    from espnet_dice.features import PitchOptions, fbank, fbank_pitch, kaldi_pitch, process_pitch

    kaldi_pitch(wave[:RATE], RATE)
    fbank(wave[:RATE], RATE)
    ready = time.process_time() - start
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    kaldi = PitchOptions(search="kaldi")
    raw = kaldi_pitch(wave, RATE)
    rows = {
        "kaldi_pitch, search torchaudio": lambda: kaldi_pitch(wave, RATE),
        "kaldi_pitch, search kaldi": lambda: kaldi_pitch(wave, RATE, options=kaldi),
        "process_pitch": lambda: process_pitch(raw),
        "fbank": lambda: fbank(wave, RATE),
        "fbank_pitch, search torchaudio": lambda: fbank_pitch(wave, RATE),
        "fbank_pitch, search kaldi": lambda: fbank_pitch(wave, RATE, pitch_options=kaldi),
    }
    print(f"{seconds:.1f} s of audio, best of {args.runs} runs, CPU time of one core")
    print("| what | ms per s of audio | × real time |")
    print("|---|---|---|")
    for name, call in rows.items():
        spent = best_time(call, args.runs)
        print(f"| {name} | {1000 * spent / seconds:.2f} | {seconds / spent:.0f} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"\nimport and compile, once per process: {ready:.1f} s of CPU time")
    print(f"peak memory: {peak / 1024:.0f} MiB, {(peak - idle) / 1024:.0f} MiB of it for the wave")


if __name__ == "__main__":
    main()
