"""Files and directories that are either whole or not there."""

import contextlib
import fcntl
import glob
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from espnet_dice.io.errors import DataError


def fsync_path(path: Path) -> None:
    """Flush a file or a directory entry to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def atomic_file(path: str | Path, mode: str = "w") -> Iterator:
    """Open a file beside ``path`` and rename it there once it is written and flushed.

    On an exception nothing is left at ``path`` and the temporary file is removed; that of a killed
    process is when ``path`` is next written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = None if "b" in mode else "utf-8"
    _remove_left(path)
    fd, tmp = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(fd, mode, encoding=encoding) as f:
            _hold(fd)
            yield f
            f.flush()
            os.fchmod(f.fileno(), 0o666 & ~_umask())
            os.fsync(f.fileno())
            os.replace(tmp, path)
    except BaseException as err:
        if os.path.exists(tmp):
            os.unlink(tmp)
        if isinstance(err, OSError) and err.filename is None:
            err.filename = str(path)  # a failed write does not know its file
        raise
    fsync_path(path.parent)


def _hold(fd: int) -> bool:
    """Lock a file until this process closes it or ends; False if another one holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as err:  # some network disks lock nothing
        logging.debug("not locked (%s)", err)
        return False
    return True


def _remove_left(path: Path) -> None:
    """Remove what killed processes left of ``path``; files that somebody still writes are held."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(FileNotFoundError), open(left, "rb") as f:
            if _hold(f.fileno()):
                left.unlink()


def link_or_copy(path: Path, to: Path) -> None:
    """A hard link of a file, or a copy: not every disk has links."""
    try:
        os.link(path, to)
    except OSError:
        shutil.copyfile(path, to)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` in one step."""
    with atomic_file(path) as f:
        f.write(text)


@contextmanager
def atomic_dir(path: str | Path) -> Iterator[Path]:
    """Yield a fresh directory beside ``path`` and rename it there on success.

    An old ``path`` is replaced only when the new one is whole; left-overs of killed runs
    (``.NAME.tmp``) are removed first, so one directory must have one writer at a time.
    """
    path = Path(os.path.realpath(path))  # of a link the directory that it names is replaced
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.parent / f".{path.name}.tmp"
    old = path.parent / f".{path.name}.old"
    if old.exists() and not path.exists():
        os.rename(old, path)
    for left in (tmp, old):
        shutil.rmtree(left, ignore_errors=True)
    tmp.mkdir()
    try:
        yield tmp
        for file in tmp.rglob("*"):
            if file.is_file():
                fsync_path(file)
        if path.exists():
            os.rename(path, old)
        os.rename(tmp, path)
        fsync_path(path.parent)
    except BaseException as err:
        shutil.rmtree(tmp, ignore_errors=True)
        if isinstance(err, OSError) and err.filename is None:
            err.filename = str(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def only_writer(
    directory: str | Path, among: bool = False, patience_s: float = 0.0
) -> Iterator[None]:
    """Hold ``directory`` (made if missing) for this process until the block ends, or it is killed.

    Args:
        directory: to hold.
        among: beside others that hold it so, too, but not beside one that holds it alone.
        patience_s: seconds to wait for another that holds it.

    Raises:
        DataError: another process holds it.
    """
    Path(directory).mkdir(parents=True, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY)
    try:
        try:
            _lock(fd, fcntl.LOCK_SH if among else fcntl.LOCK_EX, patience_s)
        except BlockingIOError as err:
            raise DataError(
                f"{directory}: another process is writing it; wait for its end"
            ) from err
        except OSError as err:  # some network disks lock no directories
            logging.debug("%s: not locked (%s)", directory, err)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, kind: int, patience_s: float) -> None:
    limit = time.monotonic() + patience_s
    while True:
        try:
            return fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= limit:
                raise
            time.sleep(0.5)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
