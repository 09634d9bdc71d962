"""Whole or not there: after an exception, a kill, a full disk."""

import errno
import os
import subprocess
import sys
import threading

import pytest

from espnet_dice.io.atomic import atomic_dir, atomic_file, only_writer, write_text
from espnet_dice.io.errors import DataError, describe_os_error


def test_file_appears_whole_with_ordinary_permissions(tmp_path):
    path = tmp_path / "a" / "x.txt"
    with atomic_file(path) as f:
        f.write("é")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "é"
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    write_text(path, "two")
    assert path.read_text() == "two" and len(list(path.parent.iterdir())) == 1


def test_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_file(path, "wb") as f:
        f.write(b"new")
        raise ZeroDivisionError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_full_disk_names_the_file(tmp_path):
    path = tmp_path / "x.txt"
    with pytest.raises(OSError) as err, atomic_file(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert describe_os_error(err.value).startswith(f"no space left while writing {path}: free")
    assert list(tmp_path.iterdir()) == []


def test_directory_is_replaced_only_when_whole(tmp_path):
    path = tmp_path / "d"
    with atomic_dir(path) as made:
        (made / "sub").mkdir()
        (made / "sub" / "x").write_text("1")
        assert not path.exists()
    assert (path / "sub" / "x").read_text() == "1"
    with pytest.raises(ZeroDivisionError), atomic_dir(path) as made:
        (made / "y").write_text("2")
        raise ZeroDivisionError
    assert (path / "sub" / "x").read_text() == "1"
    with atomic_dir(path) as made:
        (made / "y").write_text("2")
    assert [p.name for p in path.iterdir()] == ["y"]
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("point", ["inside", "between"])
def test_directory_after_a_kill(tmp_path, point):
    path = tmp_path / "d"
    with atomic_dir(path) as made:
        (made / "x").write_text("old")
    code = """if 1:
        import os, signal, sys
        from espnet_dice.io import atomic
        kill = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
        rename = os.rename
        def once(a, b):
            rename(a, b)
            kill()
        with atomic.atomic_dir(sys.argv[1]) as made:
            (made / "x").write_text("new")
            if sys.argv[2] == "inside":
                kill()
            os.rename = once  # the old directory is moved away, the new one not yet there
    """
    done = subprocess.run([sys.executable, "-c", code, path, point], check=False)
    assert done.returncode == -9
    if point == "inside":
        assert (path / "x").read_text() == "old"
    with atomic_dir(path) as made:
        assert (path / "x").read_text() == "old"
        assert list(made.iterdir()) == []
        (made / "x").write_text("newer")
    assert (path / "x").read_text() == "newer" and len(list(tmp_path.iterdir())) == 1


def test_a_directory_that_is_a_link_is_replaced_where_it_is(tmp_path):
    large = tmp_path / "large/x"
    large.mkdir(parents=True)
    (tmp_path / "x").symlink_to(large)
    for said in ("one", "two"):  # once more: nothing that hinders was left
        with atomic_dir(tmp_path / "x") as tmp:
            (tmp / "a").write_text(said)
        assert (tmp_path / "x").is_symlink() and (large / "a").read_text() == said
        assert sorted(p.name for p in tmp_path.iterdir()) == ["large", "x"]
        assert [p.name for p in large.parent.iterdir()] == ["x"]


def test_a_directory_has_one_writer_or_several_that_share_it(tmp_path):
    with only_writer(tmp_path, among=True), only_writer(tmp_path, among=True):
        for patience_s in (0.0, 0.1):
            with pytest.raises(DataError, match="another process is writing it"):
                only_writer(tmp_path, patience_s=patience_s).__enter__()
    with only_writer(tmp_path), pytest.raises(DataError, match="another process"):
        only_writer(tmp_path, among=True).__enter__()
    holds = only_writer(tmp_path)
    holds.__enter__()
    ends = threading.Timer(0.2, holds.__exit__, (None, None, None))
    ends.start()
    with only_writer(tmp_path, patience_s=60):
        ends.join()


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    code = """if 1:
        import os, signal, sys
        from espnet_dice.io.atomic import atomic_file
        with atomic_file(sys.argv[1]) as f:
            f.write("half")
            f.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    path = tmp_path / "x[1].txt"
    subprocess.run([sys.executable, "-c", code, path], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / ".x[1].txt.other").touch()
    with atomic_file(path) as slow:  # of two at once the last one wins
        slow.write("slow")
        write_text(path, "fast")
        assert path.read_text() == "fast"
    assert path.read_text() == "slow"
    assert {p.name for p in tmp_path.iterdir()} == {"x[1].txt", ".x[1].txt.other"}
