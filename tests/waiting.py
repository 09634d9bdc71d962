"""Waiting for other processes."""

import time
from pathlib import Path


def gone(pid: int, patience_s: float = 20.0) -> bool:
    """Whether a process ends in time; a zombie has ended."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def wait_for(path: Path, patience_s: float = 60.0) -> int:
    """The process id that a process writes to a file."""
    deadline = time.monotonic() + patience_s
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < deadline, f"{path} was not written"
        time.sleep(0.02)
    return int(path.read_text())
