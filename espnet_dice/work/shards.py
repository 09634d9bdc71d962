"""One shard of a directory: a run of utterances that is made whole or not at all.

How a set is cut depends on its size alone, and a shard is made by one thread, so the files depend
neither on the number of processes nor on the machines that they run on.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from espnet_dice.io import checksums
from espnet_dice.io.atomic import write_text

RECORDS = ".shards"
SHARD_UTTERANCES = 100
"""As many, up to ``FEW`` shards: what is lost where a process is killed."""
FEW = 64
LARGE_SHARD = 4000
"""Utterances of a shard at most, in corpora that have more than ``FEW`` times as many: a process
may hold a shard in memory (teachers' outputs: 50 kB an utterance), never a corpus."""
MAX_SHARDS = 1 << 16
T = TypeVar("T")


class Unusable(Exception):
    """Problems were collected; what was being written is dropped."""


@dataclass(frozen=True)
class Shard(ABC):
    """What one worker makes.

    A shard is whole once its record is there, which has the key of all that it was made from.

    Attributes:
        out_dir: the directory that it is a part of.
        number: from 1.
        utterances: what it holds, in the order in which it is made.
    """

    out_dir: Path
    number: int
    utterances: tuple[Any, ...]

    @property
    @abstractmethod
    def targets(self) -> tuple[Path, ...]:
        """The files or directories that are made."""

    @abstractmethod
    def key(self) -> str:
        """Everything that the content depends on."""

    @abstractmethod
    def write(self, problems: list[str], count: Callable[[int], None]) -> dict[str, Any]:
        """Write the targets.

        Args:
            problems: gets one line for each that is found.
            count: to be called with the number of utterances dealt with so far.

        Returns:
            What the directory must know of the shard (JSON-able); ``bytes`` of each file in it.

        Raises:
            Unusable: there are problems; no target was written.
        """

    @property
    def record_path(self) -> Path:
        """Where the record is."""
        return self.out_dir / RECORDS / f"{self.number}.json"

    def finished(self) -> dict[str, Any] | None:
        """The record of this shard if it is whole and made from what is there now."""
        try:
            record = json.loads(self.record_path.read_text(encoding="utf-8"))
            return record if record["key"] == self.key() and self.is_whole(record) else None
        except (FileNotFoundError, json.JSONDecodeError, KeyError):
            return None

    def is_whole(self, record: dict[str, Any]) -> bool:
        """Whether the targets are as large as they were made.

        Raises:
            FileNotFoundError: one is missing.
        """
        return sum(target.stat().st_size for target in self.targets) == record["bytes"]

    def make(self, count: Callable[[int], None]) -> list[str]:
        """Make the shard.

        Args:
            count: called with the number of utterances dealt with so far.

        Returns:
            problems: one line each; nothing is written if there is any.
        """
        from threadpoolctl import threadpool_limits

        key = self.key()
        problems: list[str] = []
        # sums must not depend on how many threads BLAS finds
        with threadpool_limits(1):
            try:
                record = self.write(problems, count)
            except Unusable:
                return problems
        record["checksums"] = checksums.of(self.targets)  # what was just written is still in memory
        self.record_path.parent.mkdir(exist_ok=True)
        write_text(self.record_path, json.dumps({"key": key, **record}, ensure_ascii=False) + "\n")
        return problems


def number_of(utterances: int) -> int:
    """How many shards a set has."""
    small, large = (-(-utterances // size) for size in (SHARD_UTTERANCES, LARGE_SHARD))
    return min(MAX_SHARDS, max(min(FEW, small), large))


def cut(items: Sequence[T], number: int) -> list[tuple[T, ...]]:
    """Cut into parts of equal size."""
    edges = [i * len(items) // number for i in range(number + 1)]
    return [tuple(items[a:b]) for a, b in pairwise(edges)]
