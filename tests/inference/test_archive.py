"""Archives that must not be unpacked."""

import stat
import zipfile

import pytest

from espnet_dice.inference import archive, load
from espnet_dice.io.errors import ConfigError

META = "files: {asr_model_file: model.pth}\nyaml_files: {asr_train_config: config.yaml}\n"


def packed(path, members, meta=META):
    with zipfile.ZipFile(path, "w") as z:
        if meta is not None:
            z.writestr("meta.yaml", meta)
        for name in members:
            z.writestr(name, "x")
    return path


def test_a_sound_one(tmp_path):
    path = packed(tmp_path / "a.zip", ["config.yaml", "model.pth", "exp/more.txt"])
    found = archive.unpack(path, tmp_path / "out")
    assert found == {
        "asr_model_file": tmp_path / "out/model.pth",
        "asr_train_config": tmp_path / "out/config.yaml",
    }
    assert (tmp_path / "out/exp/more.txt").read_text() == "x"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "..\\evil"])
def test_members_that_lead_outside(tmp_path, name):
    path = packed(tmp_path / "a.zip", ["config.yaml", "model.pth", name])
    with pytest.raises(ConfigError, match="would be written outside .* not to be trusted"):
        load.load(path)
    with pytest.raises(ConfigError, match=r"a\.zip: '.*evil'"):
        archive.unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "evil").exists()


def test_links(tmp_path):
    path = packed(tmp_path / "a.zip", ["config.yaml", "model.pth"])
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as z:
        z.writestr(link, "/etc")
    with pytest.raises(ConfigError, match="'link' would be written outside"):
        archive.unpack(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        (None, "there is no meta.yaml in it"),
        ("files: [", "meta.yaml cannot be read"),
        ("files: {}", "meta.yaml cannot be read"),
        (META.replace("model.pth", "../model.pth"), "lists '../model.pth', which is not in"),
    ],
)
def test_no_archive_of_a_model(tmp_path, meta, message):
    path = packed(tmp_path / "a.zip", ["config.yaml", "model.pth"], meta)
    with pytest.raises(ConfigError, match=message):
        archive.unpack(path, tmp_path / "out")


def test_no_archive_at_all(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"not a zip")
    with pytest.raises(ConfigError, match=r"a\.zip: no packed model"):
        archive.unpack(tmp_path / "a.zip", tmp_path / "out")
