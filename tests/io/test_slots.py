"""Slots that commands share: held by who works, free when that has ended, however it did."""

import multiprocessing as mp
import os
import signal
import time

import pytest

from espnet_dice.io import slots
from espnet_dice.work.workers import Work, run_forked

fork = mp.get_context("fork")


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A directory of one slot."""
    directory = tmp_path / "slots"
    directory.mkdir()
    (directory / "0").touch()
    monkeypatch.setenv(slots.SETTING, str(directory))
    return directory


def test_without_slots_to_share_everybody_starts(monkeypatch):
    monkeypatch.delenv(slots.SETTING, raising=False)
    taken = [slots.take() for _ in range(3)]
    assert None not in taken
    for fd in taken:
        os.close(fd)


def test_there_are_as_many_as_files(shared):
    (shared / "1").touch()
    first, second = slots.take(), slots.take()
    assert slots.take() is None
    os.close(first)
    third = slots.take()
    assert third is not None
    os.close(second)
    os.close(third)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_child_holds_its_slot_until_it_ends(shared, how):
    fd = slots.take()
    child = fork.Process(target=time.sleep, args=(60,))
    child.start()
    os.close(fd)
    assert slots.take() is None
    os.kill(child.pid, how)
    child.join(10)
    again = slots.take()
    assert again is not None
    os.close(again)


def test_the_nicer_one_comes_after_those_that_wait(shared, monkeypatch):
    def take(nice):
        monkeypatch.setattr(os, "nice", lambda more: nice)
        return slots.take()

    held = take(10)  # nobody waits
    assert held is not None and take(10) is None and take(15) is None
    assert take(0) is None  # and waits from now on
    os.close(held)
    assert take(15) is None and take(10) is None
    held = take(0)
    assert held is not None
    os.close(held)
    waits = shared.with_name("slots.waits")
    long_ago = time.time() - slots.WAITED_S - 0.1
    os.utime(waits / "20", (long_ago, long_ago))  # it has all it wants, or was killed
    assert take(15) is None  # 10 still waits
    held = take(10)
    assert held is not None
    os.close(held)


def test_children_of_two_commands_never_outnumber_the_slots(shared, tmp_path):
    def work():
        with open(tmp_path / "trace", "a") as f:
            f.write("+")
            f.flush()
            time.sleep(0.2)
            f.write("-")

    def command(name):
        run_forked([Work(f"{name}{i}", work, tmp_path / f"{name}{i}.log") for i in range(2)], 2)

    both = [fork.Process(target=command, args=(name,)) for name in "ab"]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
        assert one.exitcode == 0
    assert (tmp_path / "trace").read_text() == "+-" * 4
