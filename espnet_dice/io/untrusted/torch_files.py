"""Files of ``torch.save``, without running what is in them."""

import datetime
import os
import pickle
import pickletools
import re
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from espnet_dice.io.errors import ConfigError
from espnet_dice.io.sound import beginnings
from espnet_dice.io.untrusted.inert import stand_in

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle of a file that torch wrote before it wrote zip archives: a magic number."""
PROTOCOL = "Unsupported operand"
"""What torch's reader says of pickles of another protocol than its own, 2."""
LEGACY_PICKLES = 5
"""Magic number, version, system, the object, names of its tensors."""


ALLOWED = "ESPNET_ALLOW_UNSAFE_TORCH_LOAD"
"""ESPnet 202611's own switch."""
NUMBERS = ("f4", "f8", "i4", "i8", "?")


def _dictionary(*_: Any) -> dict:
    return {}


KNOWN = {"collections.defaultdict": _dictionary}
"""Stand-ins that the file fills as what they are; omegaconf's containers have one."""


def load(path: Path, trust_pickle: bool = False, foreign: bool = False) -> Any:
    """Read one file. Imports torch.

    Args:
        path: the file.
        trust_pickle: let a pickle run what it wants where it holds more than tensors.
        foreign: do not refuse objects of foreign classes, but put a stand-in
            (:mod:`espnet_dice.io.untrusted.inert`) in the place of each; nothing of them is
            imported or run.

    Returns:
        What was saved, its tensors on the CPU (with ``foreign`` and a zip archive: still on disk).

    Raises:
        ConfigError: the file is damaged or of another kind, or a pickle that can run code.
    """
    import torch

    zipped = zipfile.is_zipfile(path)
    with open(path, "rb") as f:
        if not zipped and f.read(len(LEGACY)) != LEGACY:
            what = beginnings.seems(path, zipped=True)
            raise ConfigError(
                f"{path}: cut short, or no file that torch.save wrote{what}; copy it again"
            )
    try:
        names = sorted(set(foreign_names(path))) if foreign else []
        known = [(KNOWN.get(name) or stand_in(name), name) for name in names]
        with torch.serialization.safe_globals(known):
            return torch.load(
                path,
                map_location="cpu",
                weights_only=True,
                mmap=True if foreign and zipped else None,
            )
    except pickle.UnpicklingError as err:
        refused = err
    except Exception as err:  # zipfile, pickletools and torch have classes of their own
        if "TorchScript" in str(err):
            raise ConfigError(
                f"{path}: a program of TorchScript: save its parameters alone, "
                "torch.save(torch.jit.load(…).state_dict(), …)"
            ) from err
        raise ConfigError(f"{path}: damaged ({' '.join(str(err).split())[:200]})") from err
    if not trust_pickle:
        why = "that holds more than tensors and can run any code; save its state dict alone"
        if PROTOCOL in str(refused):
            why = "of a protocol that only running it can read; save it without pickle_protocol=…"
        raise ConfigError(
            f"{path}: a pickle {why}, or, if you trust where it comes from, give --trust_pickle "
            "true (k-means, labels, probes and ABX have it)"
        ) from refused
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as err:  # the pickle may run anything
        said = f"{type(err).__name__}: {' '.join(str(err).split())[:200]}"
        raise ConfigError(f"{path}: cannot be unpickled here ({said})") from err


def load_own(path: str | Path, map_location: Any = "cpu", **_: Any) -> Any:
    """What a training of ours or of ESPnet's saved: tensors, numbers and times.

    Args:
        path: the file.
        map_location: see ``torch.load``.

    Raises:
        ConfigError: it is damaged, or holds more and can run any code; unless the environment has
            ``ESPNET_ALLOW_UNSAFE_TORCH_LOAD=1``.
    """
    import numpy as np
    import torch

    if os.environ.get(ALLOWED) == "1":
        return torch.load(path, map_location=map_location, weights_only=False)
    make = np.float64(0).__reduce__()[0]
    safe = [datetime.timedelta, np.dtype, *(type(np.dtype(kind)) for kind in NUMBERS)]
    safe += [(make, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    try:
        with torch.serialization.safe_globals(safe):
            return torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as err:  # pickle, zipfile and torch have their own classes
        text = " ".join(str(err).split())
        asked = re.search(r"GLOBAL (\S+)", text)
        said = f"it asks for {asked[1]}" if asked else text[:100]
        raise ConfigError(
            f"{path}: damaged, or a pickle that holds more than tensors and can run any code "
            f"({said}); if you trust where it comes from, set {ALLOWED}=1"
        ) from err


def foreign_names(path: Path) -> Iterator[str]:
    """``module.name`` of all that a file's pickles would import; they are only looked at.

    Raises:
        ValueError: it is no sequence of pickles.
    """
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as f:
            for _ in range(LEGACY_PICKLES):
                yield from _names(f)
        return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.split("/")[-1] == "data.pkl":
                with archive.open(name) as f:
                    yield from _names(f)


def _names(f: BinaryIO) -> Iterator[str]:
    """Torch writes protocol 2 and reads no other: ``GLOBAL`` is its only opcode that imports."""
    for opcode, arg, _ in pickletools.genops(f):
        if opcode.name == "GLOBAL":
            module, name = arg.split(" ", 1)
            # names of Python 2, as torch translates them
            if (module, name) in NAME_MAPPING:
                module, name = NAME_MAPPING[module, name]
            elif module in IMPORT_MAPPING:
                module = IMPORT_MAPPING[module]
            yield f"{module}.{name}"
