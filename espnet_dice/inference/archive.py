"""A packed recogniser (``asr_<tag>.zip``), unpacked with nothing written outside its directory.

Not by ESPnet's ``unpack``: that of 202511 writes a configuration wherever the archive says.
"""

import stat
import zipfile
from pathlib import Path, PurePosixPath

import yaml

from espnet_dice.io.errors import ConfigError

META = "meta.yaml"


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
            listed = _listed(archive, z, names)
            z.extractall(directory)
    except (OSError, zipfile.BadZipFile) as err:
        raise ConfigError(f"{archive}: no packed model ({err}); copy or export it again") from err
    return {key: directory / name for key, name in listed.items()}


def check_members(archive: Path, members: list[zipfile.ZipInfo]) -> list[str]:
    """The names in an archive, none of which leads out of it.

    Raises:
        ConfigError: naming the first that does, or that is a link.
    """
    for member in members:
        path = PurePosixPath(member.filename)
        # the first six bits of a Unix mode say what kind of file it is; 0 is not told
        kind = stat.S_IFMT(member.external_attr >> 16)
        outside = path.is_absolute() or ".." in path.parts or "\\" in member.filename
        if outside or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ConfigError(
                f"{archive}: {member.filename!r} would be written outside the directory that it is "
                "unpacked to: this archive is not to be trusted"
            )
    return [member.filename for member in members]


def _listed(archive: Path, z: zipfile.ZipFile, names: list[str]) -> dict[str, str]:
    if META not in names:
        raise ConfigError(f"{archive}: there is no {META} in it: not packed by espnet2.bin.pack")
    try:
        meta = yaml.safe_load(z.read(META))
        listed = {**meta["yaml_files"], **meta["files"]}
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as err:
        raise ConfigError(
            f"{archive}: {META} cannot be read ({' '.join(str(err).split())})"
        ) from err
    for name in listed.values():
        if name not in names:
            raise ConfigError(f"{archive}: {META} lists {name!r}, which is not in the archive")
    return listed
