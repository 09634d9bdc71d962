"""``demo/``: a page that transcribes in a browser, offline, with the model of a ``ship/``.

It holds ``index.html`` and its scripts, the model, and onnxruntime-web, which npm fetches once.
Browsers read it from a server, such as ``python3 -m http.server -d demo``.
"""

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import espnet_dice.ship
from espnet_dice.io.atomic import link_or_copy
from espnet_dice.io.errors import ConfigError

NAME = "demo"
RUNTIME, VERSION = "onnxruntime-web", "1.30.0"
PARTS = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""Of the runtime, what a page without threads and GPU loads."""
MODEL = (*(f"{part}.int8.onnx" for part in ("model", "decoder", "lm")), "config.json", "tokens.txt")
TIMEOUT_S = 600


def fetch(cache: Path) -> Path:
    """The runtime's directory, fetched where ``cache`` does not hold it.

    Raises:
        ConfigError: npm is not there, or cannot fetch it.
    """
    found = cache / f"{RUNTIME}-{VERSION}"
    if all((found / part).exists() for part in PARTS):
        return found
    if shutil.which("npm") is None:
        raise ConfigError(f"--demo takes {RUNTIME} from npm: install Node.js, or leave --demo out")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as tmp:
        command = ["npm", "pack", f"{RUNTIME}@{VERSION}", "--silent", "--pack-destination", tmp]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as err:
            raise ConfigError(f"npm took more than {TIMEOUT_S} s for {RUNTIME} {VERSION}") from err
        archives = list(Path(tmp).glob("*.tgz"))
        if run.returncode or not archives:
            raise ConfigError(f"npm cannot fetch {RUNTIME} {VERSION}: {run.stderr.strip()[-500:]}")
        whole = Path(tmp, "whole")
        whole.mkdir()
        with tarfile.open(archives[0]) as f:
            for part in PARTS:
                with f.extractfile(f"package/dist/{part}") as source:
                    whole.joinpath(part).write_bytes(source.read())
        shutil.rmtree(found, ignore_errors=True)
        os.replace(whole, found)
    return found


def write(ship: Path, to: Path, runtime: Path) -> None:
    """Write the page.

    Args:
        ship: a recogniser's ``ship/``.
        to: the directory; it is made.
        runtime: of :func:`fetch`.
    """
    shutil.copytree(Path(espnet_dice.ship.__file__).with_name("browser"), to, dirs_exist_ok=True)
    for name in MODEL:
        if (ship / name).exists():
            link_or_copy(ship / name, to / name)
    (to / RUNTIME).mkdir()
    for name in PARTS:
        link_or_copy(runtime / name, to / RUNTIME / name)
