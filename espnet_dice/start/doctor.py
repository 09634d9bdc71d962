"""What is installed here: packages beside their pins, programs, GPU, disk."""

import importlib.metadata
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from espnet_dice.io.options import cores
from espnet_dice.start import place

OURS = "espnet-dice"
ALONGSIDE = ("torchaudio",)
"""Packages that ESPnet needs and nobody's metadata asks for."""
EXTRAS = {
    "onnx": "ONNX exports",
    "onnxruntime": "ONNX exports",
    "onnxscript": "ONNX exports",
    "espeakng-loader": "the embedded corpus",
}
PROGRAMS = {
    "setpriv": "a killed run leaves nothing working",
    "flock": "one run at a time in a directory",
    "sox": "pipes of Kaldi's recipes in wav.scp",
    "sph2pipe": "WSJ and other SPHERE with shorten in wav.scp",
    "flac": "pipes of Kaldi's LibriSpeech in wav.scp",
    "sclite": "ESPnet's own asr.sh, stage 13; not our scoring",
    "nvidia-smi": "looking at GPUs",
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OK, NOTE, FAULT = "ok", "note", "fault"


class Line(NamedTuple):
    """One thing that was looked at.

    Attributes:
        state: :data:`OK`; :data:`NOTE`: absent and not always needed, or other than the pins;
            :data:`FAULT`: nothing runs without it.
        what: its name.
        said: what was found.
    """

    state: str
    what: str
    said: str


def look(directory: Path) -> list[Line]:
    """Everything, in order.

    Args:
        directory: whose disk is looked at.
    """
    return [*packages(), *programs(), *gpus(), disk(directory)]


def packages() -> Iterator[Line]:
    """Python, what our metadata asks for, extras; each beside the version that was tested."""
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    said = platform.python_version() + ("" if good else ", needed: 3.11, 3.12 or 3.13")
    yield Line(OK if good else FAULT, "Python", f"{said} ({sys.executable})")
    pins = tested(version("espnet") or "")
    for name, oldest in needed().items():
        found = version(name)
        if found is None:
            yield Line(FAULT, name, "missing: pip install " + name)
        elif oldest and _number(found) < _number(oldest):
            yield Line(FAULT, name, f"{found}, needed: {oldest} or newer")
        else:
            yield _beside(name, found, pins)
    for name, what_for in EXTRAS.items():
        found = version(name)
        if found is None:
            yield Line(NOTE, name, f"not installed; for {what_for}")
        else:
            yield _beside(name, found, pins)


def needed() -> dict[str, str]:
    """Package → oldest version, or empty, of what every recipe needs."""
    try:
        declared = importlib.metadata.requires(OURS) or []
    except importlib.metadata.PackageNotFoundError:  # on the path only
        declared = ["espnet", "torch"]
    asked = {OURS: ""}
    for line in declared:
        if "extra ==" not in line:
            name, _, oldest = re.match(r"([\w.-]+)\s*(>=)?\s*([\w.]*)", line).groups()
            asked[name] = oldest
    return asked | dict.fromkeys(ALONGSIDE, "")


def version(name: str) -> str | None:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def tested(espnet: str) -> dict[str, str]:
    """Package → version that this ESPnet was tested with; empty for an ESPnet that was not."""
    path = place.root() / f"local/constraints-{espnet}.txt"
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("==")[::2] for line in lines if "==" in line)
    return {name: pin.split()[0] for name, pin in pairs}


def programs() -> Iterator[Line]:
    """Programs that something may start."""
    for name, what_for in PROGRAMS.items():
        found = shutil.which(name)
        yield Line(OK if found else NOTE, name, found or f"not found; for {what_for}")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    said = browser or "not found; for the tests of report.html (any browser shows it)"
    yield Line(OK if browser else NOTE, "Chromium", said)


def gpus() -> Iterator[Line]:
    """What torch can compute on; imports torch."""
    try:
        import torch
    except ImportError as err:
        yield Line(FAULT, "torch", f"does not import: {err}")
        return
    yield Line(OK, "CPU", f"{cores()} cores for this process")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"built for CUDA {built}, no driver or GPU" if built else "a build for CPU"
        yield Line(NOTE, "GPU", f"none: torch {torch.__version__} is {why}")
    for k in range(torch.cuda.device_count()):
        p = torch.cuda.get_device_properties(k)
        yield Line(OK, f"GPU {k}", f"{p.name}, {p.total_memory / 2**30:.0f} GiB")


def disk(directory: Path) -> Line:
    """Free space; egs2/TEMPLATE/SCALE.md says what a corpus takes."""
    free = shutil.disk_usage(directory).free / 1e9
    return Line(OK if free > 10 else NOTE, "disk", f"{free:.0f} GB free in {directory.resolve()}")


def _beside(name: str, found: str, pins: dict[str, str]) -> Line:
    pin = pins.get(name) or pins.get(name.replace("-", "_"))
    if name == OURS or pin is None or _number(pin) == _number(found):
        return Line(OK, name, found)
    return Line(NOTE, name, f"{found}, tested: {pin}")


def _number(text: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", text.partition("+")[0])]
