"""Arrays of numbers out of a pickle, joblib's too, without running anything that is in it.

The unpickler imports nothing: every class and function that the file names becomes a stand-in
(:mod:`espnet_dice.io.untrusted.inert`), and an array is made here from its shape, type and bytes.
"""

import math
import os
import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from espnet_dice.io.errors import DataError
from espnet_dice.io.untrusted.inert import Inert, stand_in

PICKLE = b"\x80"
NUMBER = re.compile(r"[fiu][1248]")
ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")
BUFFERS = ("numpy.core.numeric", "numpy._core.numeric")
JOBLIB = ("joblib.numpy_pickle", "sklearn.externals.joblib.numpy_pickle")
MOST_DIMENSIONS = 8


class Array(Inert):
    """Stands for an array.

    Attributes:
        values: its numbers; None where it held something else.
    """

    values: np.ndarray | None = None


def read(path: Path) -> Any:
    """What a pickle holds: stand-ins, whose arrays of numbers are :class:`Array`.

    Raises:
        DataError: it is compressed, damaged, or no pickle.
    """
    with open(path, "rb") as f:
        first = f.read(1)
        f.seek(0)
        if first != PICKLE:
            raise DataError(f"{path}: neither .npy nor a pickle (one that joblib compressed?)")
        try:
            return _Unpickler(_Exact(f)).load()
        except Exception as err:  # a file may bring an unpickler to raise anything
            said = f"{type(err).__name__}: {' '.join(str(err).split())[:200]}"
            raise DataError(f"{path}: cut short, or a pickle of another kind ({said})") from err


class _Exact:
    """A file that gives what is asked for and no more: joblib's arrays lie between opcodes."""

    def __init__(self, f: BinaryIO):
        self._f = f
        self._size = os.fstat(f.fileno()).st_size

    def read(self, n: int) -> bytes:
        if not 0 <= n <= self._size - self._f.tell():
            raise EOFError(f"{n} bytes are wanted behind byte {self._f.tell()} of {self._size}")
        return self._f.read(n)

    def readline(self) -> bytes:
        return self._f.readline()


class _Unpickler(pickle.Unpickler):
    """Imports nothing."""

    def __init__(self, f: _Exact):
        super().__init__(f)
        self._wrapped = type("Wrapped", (_Wrapped,), {"file": f})

    def find_class(self, module: str, name: str) -> type[Inert]:
        if name == "NumpyArrayWrapper" and module in JOBLIB:
            return self._wrapped
        if name == "_reconstruct" and module in ARRAYS:
            return _Reconstructed
        if name == "_frombuffer" and module in BUFFERS:
            return _FromBuffer
        return stand_in(f"{module}.{name}")


class _Wrapped(Array):
    """joblib's NumpyArrayWrapper: the bytes follow it in the file, since joblib 1.2 aligned."""

    file: _Exact

    def __setstate__(self, state: Any) -> None:
        dtype = _dtype(state["dtype"])
        if dtype is None:
            raise ValueError("an array of other things than numbers")
        shape = _shape(state["shape"])
        if state.get("numpy_array_alignment_bytes") is not None:
            self.file.read(self.file.read(1)[0])
        data = self.file.read(math.prod(shape) * dtype.itemsize)
        self.values = _array(data, dtype, shape, state["order"] == "F")


class _Reconstructed(Array):
    """numpy's own way in pickles: (version, shape, type, whether Fortran's order, bytes)."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        dtype = _dtype(dtype)
        if isinstance(data, Inert) and data.origin == "_codecs.encode":  # protocol 2 has no bytes
            data = data.args[0].encode("latin-1")
        if dtype is not None and isinstance(data, bytes):
            self.values = _array(data, dtype, _shape(shape), bool(fortran))


class _FromBuffer(Array):
    """numpy's way in protocol 5: (bytes, type, shape, order)."""

    def __init__(self, data: Any, dtype: Any, shape: Any, order: Any = "C"):
        found = _dtype(dtype)
        if found is not None and isinstance(data, (bytes, bytearray)):
            self.values = _array(bytes(data), found, _shape(shape), order == "F")


def _dtype(pickled: Any) -> np.dtype | None:
    """``numpy.dtype("f8")`` with the state (3, "<", …); None for what are no numbers."""
    if not isinstance(pickled, Inert) or pickled.origin != "numpy.dtype" or not pickled.args:
        return None
    name, order = pickled.args[0], (pickled.state or (3, "|"))[1]
    if not isinstance(name, str) or not NUMBER.fullmatch(name) or order not in ("<", ">", "|", "="):
        return None
    return np.dtype(order + name)


def _shape(found: Any) -> tuple[int, ...]:
    if not isinstance(found, tuple) or len(found) > MOST_DIMENSIONS:
        raise ValueError(f"a shape of {found!r:.80}")
    if any(type(n) is not int or n < 0 for n in found):
        raise ValueError(f"a shape of {found!r:.80}")
    return found


def _array(data: bytes, dtype: np.dtype, shape: tuple[int, ...], fortran: bool) -> np.ndarray:
    """A new array.

    Raises:
        ValueError: there are more or fewer bytes than the shape says.
    """
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C").copy()
