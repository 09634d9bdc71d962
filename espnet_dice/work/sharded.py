"""A directory that is made of shards: all at once, or in parts that know nothing of each other.

Parts, on different machines, share a file system and nothing else: ``begin`` prepares the
directory, any number of commands make their parts, and the command without a part finishes. Each
may be killed and run again.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_dice.io import checksums, fingerprint
from espnet_dice.io.atomic import only_writer
from espnet_dice.io.errors import ConfigError, DataError, ProblemList, StaleError
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.work.pool import Pool
from espnet_dice.work.shards import RECORDS, Shard


@dataclass(frozen=True)
class Part:
    """A share of the shards.

    Attributes:
        index: from 1; 0 only prepares the directory.
        number: of the parts.
    """

    index: int
    number: int

    @classmethod
    def parse(cls, text: str) -> "Part | None":
        """Read ``I/N`` or ``begin``; an empty text is no part: everything.

        Raises:
            ConfigError: it has another form.
        """
        if not text:
            return None
        if text == "begin":
            return cls(0, 1)
        index, slash, number = text.partition("/")
        if slash and index.isdecimal() and number.isdecimal() and 1 <= int(index) <= int(number):
            return cls(int(index), int(number))
        raise ConfigError(f"--shard {text!r}: write I/N, from 1/N to N/N, or begin")

    def of(self, shards: Sequence[Shard]) -> list[Shard]:
        """The shards of this part."""
        return list(shards[self.index - 1 :: self.number]) if self.index else []


@dataclass(frozen=True)
class Sharded:
    """A directory to be made.

    Attributes:
        out_dir: the directory.
        source: what it is made from, for messages.
        made_from: its fingerprint.
        shards: all of it.
        assemble: writes what stands beside the shards, from their records.
    """

    out_dir: Path
    source: Path
    made_from: Fingerprint
    shards: Sequence[Shard]
    assemble: Callable[[list[dict]], None]

    def make(self, pool: Pool, part: Part | None = None) -> bool:
        """Make the shards that are missing, and finish; or make one part of them.

        Returns:
            False if everything was there already.

        Raises:
            ProblemList: everything that is wrong with the speech.
            StaleError: a part of a directory that was begun from something else, or not at all.
            DataError: another command is writing the directory.
        """
        todo = [shard for shard in self.shards if shard.finished() is None]
        if self.made_from.is_done(self.out_dir) and not todo:
            number = sum(len(shard.utterances) for shard in self.shards)
            logging.info("%s: up to date (%d utterances)", self.out_dir, number)
            return False
        if part is not None and part.index:
            return self._make_part([s for s in part.of(self.shards) if s in todo], pool, part)
        logging.info("%s: %s", self.out_dir, self.made_from.why(self.out_dir))
        if todo:
            checksums.verify(self.source)
        with only_writer(self.out_dir):
            self.made_from.begin(self.out_dir)
            self._sweep()
            if len(todo) < len(self.shards):
                kept = len(self.shards) - len(todo)
                logging.info("%s: %d of %d shards kept", self.out_dir, kept, len(self.shards))
            if part is None:
                self._make(todo, pool)
                records = [self._record(shard) for shard in self.shards]
                self.assemble(records)
                self.made_from.finish(self.out_dir, self._sums(records))
        return True

    def _make_part(self, todo: list[Shard], pool: Pool, part: Part) -> bool:
        if fingerprint.read(self.out_dir) is None:
            raise StaleError(f"{self.out_dir} was not begun: run this once with --shard begin")
        if not self.made_from.is_same(self.out_dir):
            raise StaleError(
                f"{self.out_dir} was begun from something else ({self.made_from.why(self.out_dir)})"
                ": give all parts the same options, or begin anew with --shard begin"
            )
        logging.info(
            "%s: part %d of %d: %d of %d shards", self.out_dir, part.index, part.number, len(todo),
            len(self.shards),
        )  # fmt: skip
        with only_writer(self.out_dir, among=True):
            self._make(todo, pool)
        return True

    def _make(self, shards: list[Shard], pool: Pool) -> None:
        problems = pool.make(shards, str(self.out_dir))
        if problems:
            raise ProblemList(str(self.source), problems)

    def _record(self, shard: Shard) -> dict:
        record = shard.finished()
        if record is None:
            raise DataError(
                f"{shard.targets[0]}: what it was made from changed meanwhile; run the stage again"
            )
        return record

    def _sums(self, records: list[dict]) -> checksums.Sums:
        """Of the shards, as their makers found them, and of what stands beside them."""
        sums: checksums.Sums = {}
        for shard, record in zip(self.shards, records, strict=True):
            sums |= record.get("checksums") or checksums.of(shard.targets)
        tables = [p for p in self.out_dir.iterdir() if p.is_file() and p.name != fingerprint.NAME]
        return sums | checksums.of(sorted(p for p in tables if p.name not in sums))

    def _sweep(self) -> None:
        """Remove what other settings or killed runs left; shards that may be kept stay."""
        targets = {target.name for shard in self.shards for target in shard.targets}
        for path in self.out_dir.iterdir():
            if path.name not in {*targets, RECORDS, fingerprint.NAME}:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        records = {shard.record_path for shard in self.shards}
        for path in (self.out_dir / RECORDS).glob("*"):
            if path not in records:
                path.unlink()
