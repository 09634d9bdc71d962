"""The package: what it asks of ESPnet and of the user's environment."""

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import espnet_dice
from espnet_dice import compat
from espnet_dice.io.errors import ConfigError

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture
def fake_espnet(monkeypatch):
    def install(version):
        module = types.ModuleType("espnet2")
        module.__version__ = version
        monkeypatch.setitem(sys.modules, "espnet2", module)

    return install


@pytest.mark.parametrize(
    ("text", "version"), [("202511", 202511), ("202611", 202611), ("202701.post1", 202701)]
)
def test_espnet_version(fake_espnet, text, version):
    fake_espnet(text)
    assert compat.espnet_version() == version


@pytest.mark.parametrize("text", ["202509", "0.9.7", "unknown", "2025110", "0.0.0"])
def test_an_espnet_that_is_too_old_or_strange_is_refused(fake_espnet, text):
    fake_espnet(text)
    with pytest.raises(ConfigError, match=re.escape(text) + r".*install ESPnet 202511"):
        compat.espnet_version()


def test_no_espnet_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "espnet2", None)
    with pytest.raises(ConfigError, match="ESPnet is not installed: install ESPnet 202511"):
        compat.espnet_version()


def test_everything_that_moved_is_what_espnet_itself_uses():
    model = pytest.importorskip("espnet2.asr.espnet_model")
    decoder = pytest.importorskip("espnet2.asr.decoder.transformer_decoder")
    for name in ("ErrorCalculator", "LabelSmoothingLoss", "add_sos_eos", "th_accuracy"):
        assert getattr(compat, name) is getattr(model, name)
    for name in ("make_pad_mask", "subsequent_mask"):
        assert getattr(compat, name) is getattr(decoder, name)


def test_what_is_in_neither_place():
    pytest.importorskip("espnet2")
    with pytest.raises(ConfigError, match=r"has no module espnet.*nets\.no_such"):
        compat.moved_module("nets.no_such")
    with pytest.raises(AttributeError):
        _ = compat.no_such_name


def test_metadata(tmp_path):
    code = (
        "import sys; from distutils.core import run_setup\n"
        "d = run_setup('setup.py', stop_after='init')\n"
        "print(d.get_name(), d.get_version(), d.packages, sep='\\n')\n"
        "print(*d.install_requires, sep='\\n')"
    )
    result = subprocess.run(
        [sys.executable, "-c", f"import setuptools; {code}"],
        cwd=REPO, capture_output=True, text=True, check=True,
    )  # fmt: skip
    name, version, packages, *requires = result.stdout.splitlines()
    assert (name, version) == ("espnet-dice", espnet_dice.__version__)
    rooms = {p.parent.name for p in (REPO / "espnet_dice").glob("*/__init__.py")}
    assert {f"espnet_dice.{room}" for room in rooms} <= set(re.findall(r"'([\w.]+)'", packages))
    # pip leaves alone what satisfies a requirement, so without bounds the user's torch stays
    assert "torch" in requires
    assert all(re.fullmatch(r"[\w-]+(>=\d+)?(; .*)?", r) for r in requires), requires
    assert not any(r.startswith("torchaudio") for r in requires)


def test_the_environment_satisfies_the_metadata():
    requirements = pytest.importorskip("packaging.requirements")
    try:
        declared = importlib.metadata.requires("espnet-dice")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("espnet-dice is not installed here, only on the path")
    missing = []
    for line in declared:
        requirement = requirements.Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": "test"}):
            version = importlib.metadata.version(requirement.name)
            if not requirement.specifier.contains(version, prereleases=True):
                missing.append(f"{line} (installed: {version})")
    assert missing == []
