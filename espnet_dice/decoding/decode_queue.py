"""What is left to decode: batches of utterances that forked workers take from one queue."""

import json
import logging
import multiprocessing as mp
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from espnet_dice.io.progress import LOG_EVERY_S, format_duration

BATCH, HYPOTHESES, SECONDS = 32, 128, 160
"""Utterances searched at once: at most 32; with wide beams so many that they have 128 hypotheses:
with more a step is no faster by the hypothesis; and of 160 s together, padding counted, for the
memory: 0.4 GB where there are 5000 tokens."""


def read_results(parts: Path, known: dict | None = None) -> dict[str, dict]:
    """utterance → result from the workers' parts; a line that a kill cut short is left out."""
    results = {}
    for part in sorted(parts.glob("*.jsonl")) if parts.exists() else ():
        for line in part.read_bytes().split(b"\n")[:-1]:
            try:
                result = json.loads(line)
            except json.JSONDecodeError:
                continue  # cut short by a kill, and then appended to
            if known is None or result["utt"] in known:
                results[result["utt"]] = result
    return results


@dataclass(frozen=True)
class Batch:
    """Utterances that are decoded together.

    Attributes:
        index: of the decoding.
        utterances: longest first. Which ones are together depends on the set alone, so that
            rounding does not depend on the workers or on an interruption.
        missing: those whose result is not there yet.
    """

    index: int
    utterances: list[str]
    missing: frozenset[str]


def batches(lengths: dict[str, int], beam: int, per_second: int) -> list[list[str]]:
    """Utterances of similar length, longest first.

    Args:
        lengths: of all utterances of a set, in frames or samples.
        beam: hypotheses an utterance.
        per_second: frames or samples a second.
    """
    left, made = sorted(lengths, key=lambda u: (-lengths[u], u)), []
    while left:
        fit = SECONDS * per_second // max(1, lengths[left[0]])
        size = max(1, min(BATCH, HYPOTHESES // beam, fit))
        made.append(left[:size])
        left = left[size:]
    return made


class Queue:
    """What is left to decode, shared by forked workers through one counter.

    Args:
        decodings: in the order in which they are worked on.
    """

    def __init__(self, decodings: list):
        self.decodings = decodings
        self.left: list[Batch] = []
        for k, d in enumerate(decodings):
            have = read_results(d.out / "parts")
            for utterances in batches(d.dump.lengths, d.conf["beam_size"], d.dump.per_second):
                if missing := frozenset(utterances) - set(have):
                    self.left.append(Batch(k, utterances, missing))
        self.total = sum(len(b.missing) for b in self.left)
        context = mp.get_context("fork")
        self.taken = context.Value("q", 0)
        self.done = context.Value("q", 0)
        self.bar: tqdm | None = None
        self.start = self.last = time.monotonic()

    def take(self) -> Batch | None:
        """The next batch, or None when all are taken."""
        with self.taken.get_lock():
            n = self.taken.value
            self.taken.value += 1
        return self.left[n] if n < len(self.left) else None

    def watch(self, running: list[str]) -> None:
        """Show progress; called now and then by the parent."""
        done, now = self.done.value, time.monotonic()
        if sys.stderr.isatty():
            if self.bar is None:
                tqdm.monitor_interval = 0  # its thread would be copied into later forks
                self.bar = tqdm(total=self.total, desc="decoding", unit="utt", dynamic_ncols=True)
            self.bar.update(done - self.bar.n)
            if not running:
                self.bar.close()
        elif now - self.last >= LOG_EVERY_S and done:
            self.last = now
            left = format_duration((self.total - done) * (now - self.start) / done)
            logging.info("decoding: %d/%d utterances, %s left", done, self.total, left)
