"""What a directory was made from, so that stale results are redone and never used.

A stage's output directory holds ``.fingerprint.json``: the stage, its settings, the keys of what
it read, and the key (SHA-256) of all of these. The key of an output is an input of the next stage,
so a change anywhere upstream changes every key below it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from espnet_dice.io.atomic import write_text
from espnet_dice.io.errors import StaleError

NAME = ".fingerprint.json"
SUMS = "files"
"""Where a record has the checksums of what was made; not part of its key."""


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value, independent of key order and of the hash seed."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_files(paths: Iterable[str | Path]) -> str:
    """SHA-256 (hex) of the contents of files, in the order given."""
    h = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as f:
            h.update(hashlib.file_digest(f, "sha256").digest())
    return h.hexdigest()


def digest_stat(paths: Iterable[str | Path]) -> str:
    """SHA-256 (hex) of sizes and modification times: for files too large to read again."""
    h = hashlib.sha256()
    for path in paths:
        st = Path(path).stat()
        h.update(f"{st.st_size} {st.st_mtime_ns}\n".encode())
    return h.hexdigest()


class Fingerprint:
    """The key of one output directory.

    Args:
        stage: name of the stage that makes it.
        settings: everything that changes the result and is not an input (JSON-able).
        inputs: name → key or digest of what is read.
    """

    def __init__(self, stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str]):
        self.record = {"stage": stage, "settings": dict(settings), "inputs": dict(inputs)}
        self.key = digest(self.record)

    def is_done(self, directory: str | Path) -> bool:
        """True if ``directory`` was finished with exactly this key."""
        found = read(directory)
        return found is not None and found.get("key") == self.key and found.get("done", False)

    def is_same(self, directory: str | Path) -> bool:
        """True if ``directory`` was begun (perhaps not finished) with exactly this key."""
        found = read(directory)
        return found is not None and found.get("key") == self.key

    def begin(self, directory: str | Path) -> None:
        """Say that ``directory`` is being made from this; a killed run can then be resumed."""
        self._write(directory, done=False)

    def finish(self, directory: str | Path, sums: Mapping[str, Any] | None = None) -> None:
        """Say that ``directory`` is whole. Call last.

        Args:
            directory: that was made.
            sums: of its files, see :mod:`espnet_dice.io.checksums`.
        """
        self._write(directory, done=True, **({SUMS: dict(sums)} if sums else {}))

    def why(self, directory: str | Path) -> str:
        """What differs from the fingerprint in ``directory``, for a log line."""
        found = read(directory)
        if found is None:
            return "not made yet"
        if found.get("key") == self.key:
            return "whole" if found.get("done") else "begun, not finished"
        changed = []
        for part in ("settings", "inputs"):
            old, new = found.get(part, {}), _plain(self.record[part])
            changed += [
                k for k in sorted({*old, *new}) if (k in old, old.get(k)) != (k in new, new.get(k))
            ]
        return "changed: " + ", ".join(changed or ["stage"])

    def _write(self, directory: str | Path, done: bool, **more: Any) -> None:
        _write(directory, {"key": self.key, "done": done, **self.record, **more})


def read(directory: str | Path) -> dict[str, Any] | None:
    """The fingerprint record of ``directory``, or None where there is none."""
    path = Path(directory) / NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as err:
        raise StaleError(f"{path}: not JSON ({err}); remove the directory and run again") from err
    kinds = {"key": str, "settings": dict, "inputs": dict}
    whole = isinstance(record, dict)
    if not whole or not all(isinstance(record.get(k), kind) for k, kind in kinds.items()):
        raise StaleError(f"{path}: no fingerprint; remove the directory and run again")
    return record


def unfinish(directory: str | Path, record: Mapping[str, Any]) -> None:
    """Say that a directory is no longer whole, so that its stage makes what is missing.

    Args:
        directory: of a stage.
        record: from :func:`read`.
    """
    _write(directory, {**record, "done": False})


def key_of(directory: str | Path, made_by: str) -> str:
    """The key of a finished input directory.

    Args:
        made_by: what makes it, for the message ("stage 2").

    Raises:
        StaleError: it is missing or was not finished.
    """
    found = read(directory)
    if found is None:
        raise StaleError(f"{directory} is missing: run {made_by} first")
    if not found.get("done"):
        raise StaleError(f"{directory} was begun and never finished: run {made_by} again")
    return found["key"]


def _write(directory: str | Path, record: Mapping[str, Any]) -> None:
    text = json.dumps(record, indent=1, ensure_ascii=False, default=str)
    write_text(Path(directory) / NAME, text + "\n")


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
