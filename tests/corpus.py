"""A small data directory of noise to test with."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
WORDS = "ONE TWO THREE FOUR FIVE SIX SEVEN".split()


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Samples with a rising tone in them, (samples,) float64 within ±0.5."""
    t = np.arange(round(seconds * RATE)) / RATE
    tone = 0.2 * np.sin(2 * np.pi * (120 + 40 * t) * t)
    return tone + 0.05 * np.random.default_rng(seed).uniform(-1, 1, len(t))


def write_audio(path: Path, samples: np.ndarray, rate: int = RATE, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **how)
    return path


def write_tables(directory: Path, **tables: list[str]) -> Path:
    """Write tables from lists of lines; ``wav_scp`` stands for wav.scp."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, lines in tables.items():
        text = "".join(f"{line}\n" for line in lines)
        (directory / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return directory


def make_corpus(directory: Path, utterances: int = 3, seconds: float = 0.3) -> Path:
    """A sound data directory: utterances u000, u001 … of speakers s0 and s1, as WAV files."""
    ids = [f"u{i:03}" for i in range(utterances)]
    for i, utt in enumerate(ids):
        write_audio(directory / "audio" / f"{utt}.wav", noise(seconds + 0.01 * i, i))
    return write_tables(
        directory,
        wav_scp=[f"{utt} audio/{utt}.wav" for utt in ids],
        text=[f"{utt} {WORDS[i % 7]} {WORDS[i % 5]}" for i, utt in enumerate(ids)],
        utt2spk=[f"{utt} s{i % 2}" for i, utt in enumerate(ids)],
    )
