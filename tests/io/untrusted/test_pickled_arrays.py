"""Arrays out of pickles, as numpy and joblib write them; pickles that attack."""

import io
import pickle
import pickletools

import joblib
import numpy as np
import pytest
from joblib.numpy_pickle import NumpyArrayWrapper

from espnet_dice.io.errors import DataError
from espnet_dice.io.untrusted import pickled_arrays
from espnet_dice.io.untrusted.inert import Inert, fields

RNG = np.random.default_rng(0)
ARRAYS = {
    "float64": RNG.normal(size=(5, 3)),
    "float32": RNG.normal(size=(2, 3, 4)).astype(np.float32),
    "float16": RNG.normal(size=7).astype(np.float16),
    "int64": RNG.integers(-9, 9, size=(4, 1)),
    "uint8": np.arange(6, dtype=np.uint8),
    "big": np.arange(4, dtype=">i4"),
    "fortran": np.asfortranarray(RNG.normal(size=(3, 2))),
    "empty": np.zeros((0, 3)),
    "zero_d": np.array(2.5),
}


class Holder:
    def __init__(self, **values):
        self.__dict__.update(values)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("how", ["pickle", "joblib"])
def test_arrays_come_back(tmp_path, how, protocol):
    path = tmp_path / "a.bin"
    whole = Holder(**ARRAYS, objects=[1, "two", None])
    if how == "joblib":
        joblib.dump(whole, path, protocol=protocol)
    else:
        path.write_bytes(pickle.dumps(whole, protocol=protocol))
    root = pickled_arrays.read(path)
    assert root.origin == f"{__name__}.Holder" and type(root) is not Holder
    found = fields(root)
    assert found["objects"] == [1, "two", None]
    for name, wanted in ARRAYS.items():
        if (how, protocol, name) == ("pickle", 2, "empty"):
            continue  # no bytes are written as a call there
        values = found[name].values
        np.testing.assert_array_equal(values, wanted)
        assert values.dtype == wanted.dtype and values.shape == wanted.shape


def test_arrays_of_a_joblib_that_did_not_align(tmp_path):
    """Before 1.2 the bytes followed at once, as they still do where a file cannot tell."""

    class NoTell(io.BytesIO):
        def tell(self):
            raise io.UnsupportedOperation

    f = NoTell()
    joblib.dump(Holder(**ARRAYS), f)
    whole = f.getvalue()
    (tmp_path / "a.bin").write_bytes(whole)
    found = fields(pickled_arrays.read(tmp_path / "a.bin"))
    for name, wanted in ARRAYS.items():
        np.testing.assert_array_equal(found[name].values, wanted)


def test_other_arrays_are_none_of_numbers(tmp_path):
    others = {"o": np.array([{}, None]), "s": np.array(["a"]), "t": np.zeros(1, "M8[s]")}
    (tmp_path / "p").write_bytes(pickle.dumps(Holder(**others)))
    assert all(x.values is None for x in fields(pickled_arrays.read(tmp_path / "p")).values())
    joblib.dump(Holder(**others), tmp_path / "j")
    with pytest.raises(DataError, match="other things than numbers"):
        pickled_arrays.read(tmp_path / "j")


def test_files_cut_short_or_of_another_kind(tmp_path):
    path = tmp_path / "a.bin"
    joblib.dump(Holder(a=ARRAYS["float64"]), path)
    whole = path.read_bytes()
    for size in range(1, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"a\.bin: cut short"):
            pickled_arrays.read(path)
    for other in (b"", b"\x93NUMPY", b"x\x9c123", b"<html>"):
        path.write_bytes(other)
        with pytest.raises(DataError, match=r"neither \.npy nor a pickle"):
            pickled_arrays.read(path)


class Leaves:
    """Unpickling it calls something."""

    def __init__(self, call, *args):
        self.how = call, args

    def __reduce__(self):
        return self.how


def attacks(trace) -> dict[str, bytes]:
    """Pickles that leave ``trace`` when they are unpickled."""
    import os

    made = f"open({str(trace)!r}, 'w')"
    python = pickle.dumps(Leaves(exec, made), protocol=2).replace(b"__builtin__", b"builtins")
    return {
        "open": pickle.dumps(Leaves(open, str(trace), "w")),
        "mkdir": pickle.dumps(Leaves(os.mkdir, str(trace))),
        "system": pickle.dumps(Leaves(os.system, f"touch {trace}")),
        "in_a_list": pickle.dumps([1, {"a": (Leaves(exec, made),)}]),
        "global": python,
        "inst": b"\x80\x02(S'" + made.encode().replace(b"'", b'"') + b"'\nibuiltins\nexec\n.",
        "obj": b"\x80\x02(cbuiltins\nexec\nX"
        + len(made).to_bytes(4, "little")
        + made.encode()
        + b"o.",
        "getattr": pickle.dumps(Leaves(getattr, Leaves(__import__, "os"), "mkdir")),
        "setstate": b"\x80\x02cos\nmkdir\n}(X\x0c\x00\x00\x00__setstate__cbuiltins\nexec\nu\x86b.",
    }


def test_attacks_leave_no_trace(tmp_path):
    trace = tmp_path / "trace"
    worked = []
    for name, data in attacks(trace).items():
        path = tmp_path / name
        path.write_bytes(data)
        list(pickletools.genops(data))  # well formed
        try:
            root = pickled_arrays.read(path)
            assert isinstance(root, (Inert, list, type))
        except DataError as err:
            assert f"{path}: cut short, or a pickle of another kind" in str(err)
        assert not trace.exists(), name
        try:
            pickle.loads(data)
        except Exception:
            continue
        if trace.exists():
            worked.append(name)
            trace.rmdir() if trace.is_dir() else trace.unlink()
    assert {"open", "mkdir", "system", "in_a_list", "global", "inst", "obj"} <= set(worked)


def test_an_attack_inside_joblibs_array_leaves_none(tmp_path):
    trace = tmp_path / "trace"
    path = tmp_path / "a.bin"
    joblib.dump(np.array([Leaves(open, str(trace), "w")], dtype=object), path)
    with pytest.raises(DataError, match="other things than numbers"):
        pickled_arrays.read(path)
    assert not trace.exists()
    joblib.load(path)
    assert trace.exists()


@pytest.mark.parametrize("shape", [(-1, 3), (2**40, 2**40), (1,) * 9, [2, 3], (True, 6), (7,)])
def test_shapes_that_a_file_cannot_have(tmp_path, shape):
    data = pickle.dumps(Holder(a=np.zeros(6)), protocol=4)
    plain = pickle.dumps((6,), protocol=4)
    inside = plain[plain.index(b"K\x06") : -1].rstrip(b"\x94")  # the opcodes of (6,)
    wanted = pickle.dumps(shape, protocol=3)[2:-1]
    frame = data[2:11]
    assert inside in data and frame[:1] == pickle.FRAME
    changed = data[:2] + data[11:].replace(inside, wanted, 1)
    (tmp_path / "a").write_bytes(changed)
    with pytest.raises(DataError, match="cut short, or a pickle of another kind"):
        pickled_arrays.read(tmp_path / "a")


def test_no_memory_is_taken_for_numbers_that_a_file_does_not_have(tmp_path):
    wrapper = NumpyArrayWrapper(np.ndarray, (2**40,), "C", np.dtype("f8"))
    wrapper.numpy_array_alignment_bytes = None
    (tmp_path / "a").write_bytes(pickle.dumps(wrapper))
    with pytest.raises(DataError, match=f"{2**43} bytes are wanted behind byte"):
        pickled_arrays.read(tmp_path / "a")
