"""What a recipe's directory holds, as digests in which two runs must agree.

All files count by their bytes but for those that hold times or are logs; of checkpoints, every
tensor and every loss counts.
"""

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from espnet_dice.export import greedy_wer

LOGS = (".log", ".lock")
HOLD_TIMES = ("model.json", "meta.json", "speed.json", "export.json")
TIMES = ("seconds", "cpu_s_per_audio_s", "rounds", "seconds_per_audio_second", greedy_wer.SPEED)
CPU_SECONDS = re.compile(rb"\b\d+\.\d{4}\b")
"""Of a second of audio, in tables and cards: nothing else there has four decimals."""


def describe(directory: Path) -> dict[str, str]:
    """Path → digest of every file, link and empty directory; logs are left out."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.name.endswith(LOGS) or name == "log":
            continue
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            found[name] = digest(path)
        elif not any(path.iterdir()):
            found[name] = "empty directory"
    return found


def differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    """One line for each path in which two descriptions differ."""
    both = sorted({*wanted, *found})
    how = {(True, False): "missing", (False, True): "left over", (True, True): "differs"}
    return [
        f"{name}: {how[name in wanted, name in found]}"
        for name in both
        if wanted.get(name) != found.get(name)
    ]


def digest(path: Path) -> str:
    """SHA-256 of what counts in a file."""
    if path.suffix == ".pth":
        parts = _values(_torch(path))
    elif path.suffix == ".zip":
        parts = _members(path)
    elif path.name in HOLD_TIMES:
        parts = iter([repr(json.loads(path.read_text(), object_hook=_timeless))])
    else:
        parts = iter([_plain(path.name, path.read_bytes())])
    h = hashlib.sha256()
    for part in parts:
        h.update(part if isinstance(part, bytes) else part.encode())
    return h.hexdigest()


def _timeless(values: dict) -> dict:
    return {key: value for key, value in values.items() if key not in TIMES}


def _torch(path: Path) -> Any:
    import torch

    return torch.load(path, map_location="cpu", weights_only=False)


def _values(value: Any, at: str = "") -> Iterator[str | bytes]:
    """Everything in a checkpoint but for times and memory: parameters, optimizer, losses."""
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray):
        yield f"{at} {value.dtype} {value.shape}"
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, dict):
        for key, held in value.items():
            if not str(key).endswith(("time", "cached_mem_GB")):
                yield from _values(held, f"{at}/{key}")
    elif isinstance(value, (list, tuple)):
        for n, held in enumerate(value):
            yield from _values(held, f"{at}/{n}")
    elif hasattr(value, "__dict__"):
        yield from _values(vars(value), f"{at}:{type(value).__name__}")
    else:
        yield f"{at} {value!r}"


def _members(path: Path) -> Iterator[str | bytes]:
    with zipfile.ZipFile(path) as z:
        for info in z.infolist():
            yield info.filename
            yield _plain(info.filename, z.read(info))


def _plain(name: str, content: bytes) -> bytes:
    """The content without CPU seconds, and the time that ESPnet's pack notes in its meta.yaml."""
    if name.endswith(".md"):
        return CPU_SECONDS.sub(b"", content)
    if not name.endswith("meta.yaml"):
        return content
    return b"".join(x for x in content.splitlines(True) if not x.startswith(b"timestamp:"))
