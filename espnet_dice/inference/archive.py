"""A packed recogniser, of any recipe: the zip of ``espnet2.bin.pack``, or what is in it.

Unpacked with nothing written outside its directory, and not by ESPnet's ``unpack``: that of 202511
writes a configuration wherever the archive says.
"""

import contextlib
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from espnet_dice.io.errors import ConfigError, DiceError
from espnet_dice.io.json_files import is_there

META = "meta.yaml"
CONFIG, MODEL = "asr_train_config", "asr_model_file"
LM_CONFIG, LM = "lm_train_config", "lm_file"
USED = (CONFIG, MODEL, LM_CONFIG, LM)


def unpack(archive: Path, directory: Path) -> dict[str, Path]:
    """Unpack an archive of ``espnet2.bin.pack``.

    Args:
        archive: a zip.
        directory: an empty one.

    Returns:
        What its ``meta.yaml`` lists, such as ``asr_train_config`` and ``asr_model_file``.

    Raises:
        ConfigError: no such archive, or one that would write outside ``directory``.
    """
    try:
        with zipfile.ZipFile(archive) as z:
            names = check_members(archive, z.infolist())
            text = z.read(META) if META in names else None
            found = _listed(archive, text, names.__contains__)
            z.extractall(directory)
    except (OSError, zipfile.BadZipFile) as err:
        raise ConfigError(f"{archive}: no packed model ({err}); copy or export it again") from err
    return {key: directory / name for key, name in found.items()}


def listed(directory: Path) -> dict[str, Path]:
    """What the ``meta.yaml`` of an unpacked archive lists.

    Raises:
        ConfigError: it cannot be read, or lists what is not there.
    """
    text = (directory / META).read_bytes()

    def has(name: str) -> bool:
        path = directory / name
        return _is_inside(name) and is_there(path) and path.is_file()

    found = _listed(directory, text, has)
    return {key: directory / name for key, name in found.items()}


def check_task(where: Path, found: Mapping[str, Any]) -> None:
    """Refuse a pack of another task than recognition.

    Args:
        where: the pack.
        found: what its ``meta.yaml`` lists.

    Raises:
        ConfigError: saying what it lists.
    """
    if not {CONFIG, MODEL} <= found.keys():
        raise ConfigError(
            f"{where}: no recogniser: its {META} lists {', '.join(found) or 'nothing'}, "
            f"not {CONFIG} and {MODEL}"
        )


@contextlib.contextmanager
def named(archive: Path, directory: Path) -> Iterator[None]:
    """Let errors name the archive, which the user knows, not where it was unpacked to."""
    try:
        yield
    except DiceError as err:
        text = str(err)
        for place in {str(directory), str(directory.resolve())}:
            text = text.replace(f"{place}/", f"{archive}: ").replace(place, str(archive))
        if text == str(err):
            raise
        raise type(err)(text) from err


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def check_members(archive: Path, members: list[zipfile.ZipInfo]) -> list[str]:
    """The names in an archive, none of which leads out of it.

    Raises:
        ConfigError: naming the first that does, or that is a link.
    """
    for member in members:
        # the first six bits of a Unix mode say what kind of file it is; 0 is not told
        kind = stat.S_IFMT(member.external_attr >> 16)
        outside = not _is_inside(member.filename) or "\\" in member.filename
        if outside or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ConfigError(
                f"{archive}: {member.filename!r} would be written outside the directory that it is "
                "unpacked to: this archive is not to be trusted"
            )
    return [member.filename for member in members]


def _listed(where: Path, text: bytes | None, has: Callable[[str], bool]) -> dict[str, str]:
    if text is None:
        raise ConfigError(f"{where}: there is no {META} in it: not packed by espnet2.bin.pack")
    try:
        meta = yaml.safe_load(text)
        found = {**meta["yaml_files"], **meta["files"]}
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as err:
        raise ConfigError(f"{where}: {META} cannot be read ({' '.join(str(err).split())})") from err
    for name in found.values():
        if not isinstance(name, str) or not has(name):
            raise ConfigError(f"{where}: {META} lists {name!r}, which is not in it")
    return found
