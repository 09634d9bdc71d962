"""Processes that make shards, spawned or forked."""

import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from espnet_dice.io.errors import DataError, DiceError
from espnet_dice.work.pool import Pool
from espnet_dice.work.shards import Shard
from tests.waiting import gone

IMPORTED = []
"""What the parent has imported: a forked process has it too, a spawned one has not."""


@dataclass(frozen=True)
class Noted(Shard):
    """A shard that notes where it was made."""

    utterances: tuple[str, ...]
    trouble: str = ""

    @property
    def target(self):
        return self.out_dir / f"{self.number}.txt"

    @property
    def targets(self):
        return (self.target,)

    def key(self):
        return "key"

    def write(self, problems, count):
        print(f"shard {self.number} speaks")
        if self.trouble == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.trouble:
            raise DataError(self.trouble)
        self.target.write_text(f"{os.getpid()} {' '.join(IMPORTED)}")
        count(len(self.utterances))
        return {"bytes": self.target.stat().st_size}


def shards(directory, trouble=""):
    directory.mkdir(exist_ok=True)
    return [Noted(directory, n, (f"u{n}",), trouble) for n in (1, 2, 3)]


@pytest.fixture
def forking(tmp_path, monkeypatch):
    """How a pool is told to fork, and how often it imported."""
    monkeypatch.setattr("tests.work.test_pool.IMPORTED", found := [])
    return {"imports": lambda: found.append("it"), "log": tmp_path / "log"}, found


@pytest.mark.parametrize("nj", [1, 2])
def test_forked_processes_have_what_was_imported(tmp_path, forking, nj):
    how, found = forking
    with Pool(nj, **how) as pool:
        assert found == []  # nothing to do, nothing to import
        for name in ("a", "b"):  # the same processes make both
            assert pool.make(shards(tmp_path / name), "what") == []
    said = [(tmp_path / name / f"{n}.txt").read_text().split() for name in "ab" for n in (1, 2, 3)]
    assert found == ["it"] and all(words == ["it"] for _, *words in said)
    processes = {int(process) for process, *_ in said}
    assert os.getpid() not in processes and len(processes) <= nj
    spoken = (tmp_path / "log").read_text()
    assert all(spoken.count(f"shard {n} speaks") == 2 for n in (1, 2, 3))


def test_one_spawned_process_is_this_one(tmp_path):
    with Pool(1) as pool:
        assert pool.make(shards(tmp_path / "a"), "what") == []
    assert (tmp_path / "a/1.txt").read_text().split()[0] == str(os.getpid())


def test_what_goes_wrong_in_a_process_is_raised(tmp_path, forking):
    how, _ = forking
    with Pool(2, **how) as pool, pytest.raises(DataError, match="u1: no such thing"):
        pool.make(shards(tmp_path / "a", "u1: no such thing"), "what")
    with Pool(2, **how) as pool, pytest.raises(DiceError, match="killed .* lower --nj"):
        pool.make(shards(tmp_path / "b", "killed"), "what")
    assert not list(Path(tmp_path).glob("[ab]/*.txt"))


def test_a_process_that_was_killed_between_two_sets_is_told(tmp_path, forking):
    before = set(multiprocessing.active_children())
    with Pool(2, **forking[0]) as pool:
        assert pool.make(shards(tmp_path / "a"), "what") == []
        killed = min(set(multiprocessing.active_children()) - before, key=lambda w: w.pid)
        os.kill(killed.pid, signal.SIGKILL)
        assert gone(killed.pid)
        with pytest.raises(DiceError, match="killed .* lower --nj"):
            pool.make(shards(tmp_path / "b"), "what")


@pytest.mark.parametrize("spawned", [True, False])
def test_a_process_that_is_killed_while_idle_ends_the_others(tmp_path, forking, spawned):
    """It holds the lock of the queue that they wait at: none of them would see the queue's end."""
    before = set(multiprocessing.active_children())
    pool = Pool(3, **({} if spawned else forking[0]))
    assert pool.make(shards(tmp_path / "a"), "what") == []
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) > 1

    def reads(worker):
        return "pipe" in Path(f"/proc/{worker.pid}/wchan").read_text()

    os.kill(next((w for w in workers if reads(w)), min(workers, key=lambda w: w.pid)).pid, 9)
    closing = threading.Thread(target=pool.close, daemon=True)
    closing.start()
    closing.join(20)
    ended = not closing.is_alive()
    for worker in workers:  # what hangs must not hang the tests
        worker.kill()
    assert ended and all(gone(worker.pid) for worker in workers)
