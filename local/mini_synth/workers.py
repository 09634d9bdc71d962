"""Recording in parallel: each worker has an espeak-ng process of its own."""

import hashlib
import io
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import soundfile

from espnet_dice.io.processes import die_with
from local.mini_synth.phones import Phone
from local.mini_synth.plan import Utterance
from local.mini_synth.recorder import Recorder

_recorder: Recorder | None = None  # one in each worker process


def _start_worker(config: dict, babble: list[Utterance], parent: int) -> None:
    global _recorder
    die_with(parent, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    _recorder = Recorder(config, babble)


Made = tuple[int, str, list[Phone]]
"""Samples of a recording, their SHA-256 (hex), and its phones."""


def _record(job: tuple[str, Utterance, str]) -> tuple[str, Made]:
    set_name, u, path = job
    return u.utt, write_recording(_recorder, set_name, u, path)


def write_recording(recorder, set_name: str, u: Utterance, path: str) -> Made:
    """Write one utterance.

    As WAV: each epoch of ``dice1`` reads all of them, FLAC in 0.4 ms an utterance, this in 0.1.
    """
    wave, phones = recorder.record(set_name, u)
    packed = io.BytesIO()
    soundfile.write(packed, wave, recorder.sample_rate, "PCM_16", format="WAV")
    try:
        Path(path).write_bytes(packed.getbuffer())
    except OSError as err:
        raise OSError(err.errno, err.strerror, path) from err
    return len(wave), hashlib.sha256(wave.astype("<i2").tobytes()).hexdigest(), phones


class Workers:
    """``jobs`` processes that record; with one, this process does. Use as a context manager."""

    def __init__(self, jobs: int, config: dict, babble: list[Utterance]):
        self.jobs, self.args = max(1, jobs), (config, babble)
        self.pool = self.recorder = None

    def start(self) -> None:
        """Start them. Raises DiceError where the espeak-ng wheel is missing."""
        # Here too with several workers: a missing wheel is told once, not by every one of them.
        self.recorder = Recorder(*self.args)
        if self.jobs > 1:
            # Spawned: a fork would copy the threads and locks of a host that has loaded torch.
            context = multiprocessing.get_context("spawn")
            self.pool = context.Pool(self.jobs, _start_worker, (*self.args, os.getpid()))
            self.pool.map(_ready, range(self.jobs), chunksize=1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.pool:
            self.pool.terminate()
            self.pool.join()
        if self.recorder:
            self.recorder.close()

    def run(self, jobs: list[tuple[str, Utterance, str]]) -> Iterator[tuple[str, Made]]:
        """Yield each job's utterance and what was made, in any order."""
        if self.pool:
            yield from self.pool.imap_unordered(_record, jobs, chunksize=8)
            return
        for name, u, path in jobs:
            yield u.utt, write_recording(self.recorder, name, u, path)


def _ready(_: int) -> bool:
    return _recorder is not None
