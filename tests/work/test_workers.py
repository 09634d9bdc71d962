import os
import signal
import time

import pytest

from espnet_dice.io import progress
from espnet_dice.io.errors import ConfigError, DiceError
from espnet_dice.work import workers
from espnet_dice.work.workers import Work, run_forked
from tests.waiting import gone, wait_for


def work(tmp_path, name, run):
    return Work(name, run, tmp_path / f"{name}.log")


def test_all_run_no_more_than_nj_at_a_time(tmp_path):
    seen = []
    works = [
        work(tmp_path, f"w{k}", lambda k=k: (tmp_path / f"out{k}").write_text(str(k)))
        for k in range(5)
    ]
    run_forked(works, 2, lambda running: seen.append(len(running)), poll_s=0.01)
    assert sorted(p.read_text() for p in tmp_path.glob("out*")) == list("01234")
    assert max(seen) <= 2 and seen[-1] == 0


def test_what_is_done_and_what_runs_is_told(tmp_path, caplog, monkeypatch):
    """After each that ends, and each few seconds where none does."""
    caplog.set_level("INFO")
    works = [work(tmp_path, f"w{k}", lambda k=k: time.sleep(0.3 * k)) for k in range(3)]
    run_forked(works, 1)
    first, second = caplog.messages
    assert first.startswith("1 of 3 done, ") and first.endswith(" left; at w1")
    assert second.startswith("2 of 3 done, ") and second.endswith(" left; at w2")
    caplog.clear()
    monkeypatch.setattr(workers, "LOG_EVERY_S", 0.1)
    run_forked([work(tmp_path, "w", lambda: time.sleep(1))], 1, poll_s=0.05)
    assert len(caplog.messages) > 2 and set(caplog.messages) == {"0 of 1 done; at w"}
    caplog.clear()

    def slow():  # its log has the lines of a run before
        monkeypatch.setattr(progress, "LOG_EVERY_S", 0.2)
        for _ in progress.track(range(3), 3, "steps", "step"):
            time.sleep(0.4)

    run_forked([work(tmp_path, "slow", slow)], 1, poll_s=0.05)
    assert "0 of 1 done; at slow" in caplog.messages
    told = [m for m in caplog.messages if m.startswith("0 of 1 done; at slow (steps: 1/3 step, ")]
    assert told and told[0].endswith(" s left)")
    before = len(caplog.messages)
    run_forked([work(tmp_path, "slow", lambda: time.sleep(0.5))], 1, poll_s=0.05)
    assert set(caplog.messages[before:]) == {"0 of 1 done; at slow"}


def test_time_left_is_that_of_the_longest_queue(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(workers.time, "monotonic", lambda: now[0])
    tell = workers._Teller([work(tmp_path, name, None) for name in "abcde"])
    tell(["a", "b"])
    now[0] = 10.0
    tell(["b", "c"])  # a took 10 s; b ends at once, c and d in 10 s, e in 20
    assert tell._left(10.0) == 20.0
    now[0] = 14.0
    tell(["c", "d"])  # b took 14 s: a mean of 12, c has run for 4, e begins when it ends
    assert tell._left(14.0) == 20.0
    assert tell._left(15.0) == 19.0


def test_output_goes_to_the_log(tmp_path):
    run_forked([work(tmp_path, "w", lambda: print("said so"))], 1)
    assert (tmp_path / "w.log").read_text() == "said so\n"


def test_failure_shows_the_end_of_the_log(tmp_path):
    def fail():
        print("the last thing that worked")
        raise RuntimeError("something broke")

    with pytest.raises(DiceError, match=r"(?s)w failed.*w\.log.*the last thing.*something broke"):
        run_forked([work(tmp_path, "w", fail)], 1)


def test_a_message_for_the_user_comes_through_alone(tmp_path):
    def fail():
        raise ConfigError("no key 'x'")

    with pytest.raises(DiceError, match=r"^w: no key 'x' \(log: ") as caught:
        run_forked([work(tmp_path, "w", fail)], 1)
    assert "Traceback" not in str(caught.value)


def test_a_full_disk_is_named(tmp_path):
    def fail():
        with open("/dev/full", "w") as f:
            f.write("x" * 100000)

    with pytest.raises(DiceError, match="no space left"):
        run_forked([work(tmp_path, "w", fail)], 1)


def test_a_killed_child_is_told(tmp_path):
    with pytest.raises(DiceError, match="killed by signal 9"):
        run_forked([work(tmp_path, "w", lambda: os.kill(os.getpid(), signal.SIGKILL))], 1)


def sleeper(path):
    path.write_text(str(os.getpid()))
    time.sleep(60)


def test_a_failure_ends_the_others(tmp_path):
    def fail():
        wait_for(tmp_path / "pid")
        raise ConfigError("enough")

    works = [
        work(tmp_path, "sleeper", lambda: sleeper(tmp_path / "pid")),
        work(tmp_path, "failing", fail),
    ]
    with pytest.raises(DiceError, match="enough"):
        run_forked(works, 2)
    assert gone(int((tmp_path / "pid").read_text()))


def test_children_end_with_a_killed_parent(tmp_path):
    parent = os.fork()
    if parent == 0:
        run_forked([work(tmp_path, "w", lambda: sleeper(tmp_path / "pid"))], 1)
        os._exit(0)
    child = wait_for(tmp_path / "pid")
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert gone(child)
