"""What a training job is doing, read from its log: epoch, validation score, seconds an epoch."""

import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from espnet_dice.io.progress import LOG_EVERY_S, format_duration
from espnet_dice.records import train_log


@dataclass
class Watched:
    """The state of one job.

    Args:
        name: what is shown.
        log: ESPnet's training log; only what is appended from now on is read.
        max_epoch: epochs to train.
        metric: validation statistic that is shown, ``acc`` or ``loss``.
        falls_to: batches after which the learning rate is 0; None where it never is. A training of
            another length is told so after its first epoch.
    """

    name: str
    log: Path
    max_epoch: int
    metric: str
    falls_to: int | None = None
    epoch: int = 0
    batch: int = 0
    first_epoch: int | None = None
    score: float | None = None
    started_at: float | None = None
    epoch_at: float | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        self.offset = self.log.stat().st_size if self.log.exists() else 0

    def read(self, now: float) -> None:
        """Take in what the log has gained; cheap when it has not grown."""
        if not self.log.exists():
            return
        with open(self.log, "rb") as f:
            if f.seek(0, os.SEEK_END) < self.offset:  # ESPnet's launcher began a new one
                self.offset = 0
            f.seek(self.offset)
            new = f.read()
        whole, newline, _ = new.rpartition(b"\n")
        self.offset += len(whole) + len(newline)
        for line in whole.decode("utf-8", "replace").splitlines():
            self._take(line, now)

    def _take(self, line: str, now: float) -> None:
        if (number := train_log.started(line)) is not None:
            if self.first_epoch is None:
                self.first_epoch = number
                self.epoch = self.first_epoch - 1
                self.started_at = now
            self.batch = 0
        elif epoch := train_log.Epoch.of(line):
            self.epoch = epoch.number
            if self.epoch_at is None:
                self._check_rate(epoch.updates / epoch.number)
            self.epoch_at = now
            self.score = epoch.valid.get(self.metric, self.score)
        elif (number := train_log.batch(line)) is not None:
            self.batch = number

    def _check_rate(self, per_epoch: float) -> None:
        batches = round(per_epoch * self.max_epoch)
        if self.falls_to is None or abs(batches - self.falls_to) < per_epoch:
            return
        after = ", and is optim_conf.lr again after it" if self.falls_to < batches else ""
        logging.warning(
            "%s: the learning rate falls to 0 at batch %d of %d%s: give "
            "scheduler_conf.warmup_steps_list another end, or max_epoch another value",
            self.name,
            self.falls_to,
            batches,
            after,
        )

    @property
    def seconds_per_epoch(self) -> float | None:
        """Mean over the epochs seen, or None before the first has ended."""
        if self.epoch_at is None:
            return None
        return (self.epoch_at - self.started_at) / (self.epoch - self.first_epoch + 1)

    def seconds_left(self, now: float) -> float | None:
        """Estimate, or None while nothing is known."""
        per_epoch = self.seconds_per_epoch
        if per_epoch is None:
            return None
        return max(0.0, (self.max_epoch - self.epoch) * per_epoch - (now - self.epoch_at))

    def line(self, now: float) -> str:
        """One line for a log."""
        parts = [f"epoch {self.epoch}/{self.max_epoch}"]
        if self.score is not None:
            parts.append(f"valid {self.metric} {self.score:.3f}")
        if self.seconds_per_epoch is None:
            parts.append(f"batch {self.batch} of the first epoch" if self.batch else "starting")
        else:
            parts.append(f"{self.seconds_per_epoch:.1f} s/epoch")
            parts.append(f"{format_duration(self.seconds_left(now))} left")
        return f"{self.name}: " + ", ".join(parts)


class Monitor:
    """Bars in a terminal, lines now and then elsewhere, for several jobs."""

    def __init__(self, watched: list[Watched]):
        self.watched = {w.name: w for w in watched}
        self.tty = sys.stderr.isatty()
        self.bars: dict[str, tqdm] = {}
        self.last = time.monotonic()
        self.begun: set[str] = set()
        self.ended: set[str] = set()

    def __call__(self, running: list[str]) -> None:
        """Look at the jobs; to be called about twice a second with the names that run."""
        now = time.monotonic()
        for name in running:
            self.watched[name].read(now)
        self.begun.update(running)
        for name in sorted(self.begun - self.ended - set(running)):
            self.watched[name].read(now)
            self._end(self.watched[name], now)
        if self.tty:
            for name in running:
                self._draw(self.watched[name], now)
        elif now - self.last >= LOG_EVERY_S and running:
            self.last = now
            for name in running:
                logging.info(self.watched[name].line(now))
            waiting = len(self.watched) - len(self.begun)
            if waiting:
                logging.info("%d more training jobs wait", waiting)

    def _draw(self, w: Watched, now: float) -> None:
        if w.name not in self.bars:
            tqdm.monitor_interval = 0  # its thread would be copied into later forks
            self.bars[w.name] = tqdm(
                total=w.max_epoch,
                desc=w.name,
                unit="epoch",
                dynamic_ncols=True,
                bar_format="{desc} {bar} {n_fmt}/{total_fmt}{postfix}",
                leave=False,
            )
        bar = self.bars[w.name]
        bar.n = w.epoch
        bar.set_postfix_str(w.line(now).partition(", ")[2])

    def _end(self, w: Watched, now: float) -> None:
        self.ended.add(w.name)
        if bar := self.bars.pop(w.name, None):
            bar.close()
        seconds = now - w.started_at if w.started_at else 0.0
        score = f"valid {w.metric} {w.score:.3f}" if w.score is not None else "no new epoch"
        logging.info(
            "%s: %d of %d epochs, %s, %s",
            w.name,
            w.epoch,
            w.max_epoch,
            score,
            format_duration(seconds),
        )
