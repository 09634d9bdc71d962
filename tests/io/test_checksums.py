"""A byte that was flipped, a file cut short or gone: told, moved aside, made again."""

import os
import zlib

import pytest

from espnet_dice.io import checksums, fingerprint
from espnet_dice.io.errors import StaleError
from espnet_dice.io.fingerprint import Fingerprint

MADE = Fingerprint("features", {"x": 1}, {})


@pytest.fixture
def made(tmp_path):
    """A finished directory of a file and a directory of files."""
    (tmp_path / "a.ark").write_bytes(bytes(range(256)) * 9000)  # more than one block
    (tmp_path / "wavs.1" / "deep").mkdir(parents=True)
    (tmp_path / "wavs.1" / "x.flac").write_bytes(b"x" * 100)
    (tmp_path / "wavs.1" / "deep" / "y.flac").write_bytes(b"y" * 50)
    MADE.finish(tmp_path, checksums.of([tmp_path / "a.ark", tmp_path / "wavs.1"]))
    return tmp_path


def flip(path, at=77):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 4]))


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


def test_what_is_whole_passes(made):
    sums = fingerprint.read(made)["files"]
    assert sums["a.ark"] == [256 * 9000, zlib.crc32(bytes(range(256)) * 9000)]
    assert sums["wavs.1"] == [150, zlib.crc32(b"y" * 50 + b"x" * 100)]
    assert MADE.is_done(made)
    checksums.verify(made)
    checksums.verify(made)
    checksums.verify(made / "nothing here")


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("a.ark", flip, "its bytes are not those that were written"),
        ("a.ark", cut, "2303999 bytes where 2304000 were written"),
        ("a.ark", os.unlink, "missing"),
        ("wavs.1/x.flac", flip, "not those that were written"),
        ("wavs.1/deep/y.flac", cut, "149 bytes where 150"),
    ],
)
def test_damage_is_told_and_moved_aside(made, name, damage, says):
    damage(made / name)
    top = name.split("/")[0]
    with pytest.raises(StaleError, match=rf"{top}: .*{says}.*run the stage .*\(features\)"):
        checksums.verify(made)
    assert not (made / top).exists()
    assert (made / f"{top}.damaged").exists() is (damage is not os.unlink)
    assert MADE.is_same(made) and not MADE.is_done(made)
    with pytest.raises(StaleError, match="never finished"):
        fingerprint.key_of(made, "stage 2")


def test_directories_without_sums_are_taken_as_they_are(tmp_path):
    (tmp_path / "a.ark").write_bytes(b"1")
    MADE.finish(tmp_path)
    cut(tmp_path / "a.ark")
    checksums.verify(tmp_path)
    assert MADE.is_done(tmp_path)
