"""Files of torch.save: what they hold comes back, foreign objects as stand-ins."""

import collections
import enum
from argparse import Namespace
from fractions import Fraction

import pytest
import torch
from omegaconf import OmegaConf

from espnet_dice.io.errors import ConfigError
from espnet_dice.io.untrusted import torch_files
from espnet_dice.io.untrusted.inert import Inert, fields, opened


class Mode(enum.Enum):
    layer_norm = "layer_norm"  # as fairseq's, whose members are called what they are


class Other:
    """Pickled as Python 3.11.0 to 3.11.3 do an enum's member."""

    def __reduce__(self):
        return getattr, (Mode, "layer_norm")


HELD = {
    "state": collections.OrderedDict(w=torch.arange(6.0).reshape(2, 3), b=torch.zeros(2).half()),
    "plain": [1, 2.5, "x", None, True, (3, {"y": -(2**70)})],
}
FOREIGN = {
    "counts": collections.defaultdict(int, {"a": 1}),
    "args": Namespace(layers=3, mode=Mode.layer_norm, other=Other()),
    "cfg": OmegaConf.create({"model": {"layers": 3, "name": "${oc.env:HOME}", "shape": [1, 2]}}),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("foreign", [False, True])
def test_what_was_saved(tmp_path, legacy, foreign):
    torch.save(HELD, tmp_path / "m", _use_new_zipfile_serialization=not legacy)
    found = torch_files.load(tmp_path / "m", foreign=foreign)
    assert found["plain"] == HELD["plain"]
    assert list(found["state"]) == ["w", "b"]
    for key, value in HELD["state"].items():
        assert torch.equal(found["state"][key], value) and found["state"][key].dtype == value.dtype


@pytest.mark.parametrize("legacy", [False, True])
def test_settings_in_foreign_objects(tmp_path, legacy):
    torch.save(HELD | FOREIGN, tmp_path / "m", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ConfigError, match="--trust_pickle true"):
        torch_files.load(tmp_path / "m")
    found = torch_files.load(tmp_path / "m", foreign=True)
    trusted = torch_files.load(tmp_path / "m", trust_pickle=True)
    assert isinstance(found["args"], Inert) and isinstance(trusted["args"], Namespace)
    assert torch.equal(found["state"]["w"], HELD["state"]["w"])
    assert found["counts"] == trusted["counts"] == {"a": 1}
    for each in (found, trusted):
        args = fields(each["args"])
        assert args["layers"] == 3
        model = fields(fields(each["cfg"])["model"])
        assert opened(model["layers"]) == 3
    for name in ("mode", "other"):
        assert opened(fields(found["args"])[name]) == "layer_norm"
    name = fields(fields(found["cfg"])["model"])["name"]
    assert opened(name) == "${oc.env:HOME}"  # what omegaconf would look up


def test_files_of_torch_that_are_not_read(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "m")
    with pytest.raises(ConfigError, match="a program of TorchScript: save its parameters alone"):
        torch_files.load(tmp_path / "m", foreign=True)
    torch.save(HELD, tmp_path / "m", pickle_protocol=4)
    with pytest.raises(ConfigError, match="only running it can read; save it without pickle_proto"):
        torch_files.load(tmp_path / "m", foreign=True)
    assert torch_files.load(tmp_path / "m", trust_pickle=True)["plain"] == HELD["plain"]


def test_a_value_inside_itself_has_no_end(tmp_path):
    loop = Inert()
    loop.state = {"_val": loop}
    assert opened(loop) is None and fields(loop) == {}


def test_names_of_two_kinds_of_files(tmp_path):
    for legacy in (False, True):
        path = tmp_path / str(legacy)
        torch.save({"f": Fraction(1), **HELD}, path, _use_new_zipfile_serialization=not legacy)
        names = set(torch_files.foreign_names(path))
        assert {"fractions.Fraction", "collections.OrderedDict"} <= names
        assert isinstance(torch_files.load(path, foreign=True)["f"], Inert)
        assert torch_files.load(path, trust_pickle=True)["f"] == 1
