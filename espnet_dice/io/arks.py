"""Kaldi archives of float32 matrices, readable by ESPnet as type ``kaldi_ark``.

An ``.scp`` line is ``utterance path/to/file.ark:offset``. ESPnet resolves that path against the
working directory, so it is written as the caller gives it: relative to the recipe in a recipe.
"""

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from espnet_dice.io.atomic import atomic_file
from espnet_dice.io.errors import DataError

_HEADER = struct.Struct("<2s3sBiBi")


Place = tuple[int, int, int]
"""Of a matrix: byte offset for the scp, rows, columns."""


@contextmanager
def new_ark(ark: str | Path) -> Iterator[Callable[[str, np.ndarray], Place]]:
    """Write one archive, which appears whole or not at all.

    Args:
        ark: the archive.

    Yields:
        A function that writes an utterance's matrix, (rows, columns), as float32, and returns its
        place. It raises DataError: not a matrix, no rows, NaN or infinite values, or an utterance
        given twice.
    """
    import kaldiio

    written: set[str] = set()
    with atomic_file(ark, "wb") as f:

        def put(utt: str, matrix: np.ndarray) -> Place:
            matrix = np.ascontiguousarray(matrix, dtype=np.float32)
            if matrix.ndim != 2 or 0 in matrix.shape:
                raise DataError(f"{ark}: {utt}: expected a matrix, got shape {matrix.shape}")
            if not np.isfinite(matrix).all():
                raise DataError(f"{ark}: {utt}: NaN or infinite values; check its audio")
            if utt in written:
                raise DataError(f"{ark}: {utt}: written twice")
            written.add(utt)
            place = (f.tell() + len(utt.encode()) + 1, *matrix.shape)
            kaldiio.save_ark(f, {utt: matrix})
            return place

        yield put


def write_ark(matrices: Iterable[tuple[str, np.ndarray]], ark: str | Path) -> dict[str, Place]:
    """Write matrices to one archive, in their order: utterance → place; see :func:`new_ark`."""
    with new_ark(ark) as put:
        return {utt: put(utt, matrix) for utt, matrix in matrices}


def write_scp(entries: Iterable[tuple[str, str | Path, int]], scp: str | Path) -> None:
    """Write (utterance, archive path, byte offset) lines to ``scp`` in one step."""
    with atomic_file(scp) as f:
        for utt, ark, offset in entries:
            f.write(f"{utt} {ark}:{offset}\n")


class ArkReader(Mapping):
    """Matrices of an scp by utterance, read when asked for and checked.

    An archive path that does not resolve from here is looked up beside the scp.

    Raises:
        DataError: a missing or malformed scp; on access, an archive that is missing or truncated.
    """

    def __init__(self, scp: str | Path):
        self.scp = Path(scp)
        self._entries: dict[str, tuple[str, int]] = {}
        self._paths: dict[str, str] = {}
        try:
            lines = self.scp.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError as err:
            raise DataError(f"{scp}: missing; run the stage that makes it") from err
        for number, line in enumerate(lines, 1):
            utt, _, entry = line.partition(" ")
            path, _, offset = entry.rpartition(":")
            if not path or not offset.isdigit():
                raise DataError(f"{scp}:{number}: {utt}: expected 'utterance file.ark:offset'")
            if utt in self._entries:
                raise DataError(f"{scp}:{number}: {utt}: listed twice")
            self._entries[utt] = (path, int(offset))

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __getitem__(self, utt: str) -> np.ndarray:
        """The matrix (rows, columns) of an utterance, float32."""
        if utt not in self._entries:
            raise KeyError(utt)
        with self._open(utt) as f:
            rows, columns = self._shape(f, utt)
            return self._body(f, utt, rows, columns)

    def shape(self, utt: str) -> tuple[int, int]:
        """(rows, columns) of an utterance, without reading the values."""
        with self._open(utt) as f:
            return self._shape(f, utt)

    def check(self) -> None:
        """Read every header and see that the file is long enough for its values.

        Raises:
            DataError: naming the first archive and utterance that is cut short.
        """
        for utt in self:
            with self._open(utt) as f:
                rows, columns = self._shape(f, utt)
                if os.fstat(f.fileno()).st_size < f.tell() + 4 * rows * columns:
                    raise self._truncated(utt)

    def _open(self, utt: str):
        listed, offset = self._entries[utt]
        if listed not in self._paths:
            beside = self.scp.parent / Path(listed).name
            found = [p for p in (listed, beside) if os.path.isfile(p)]
            if not found:
                raise DataError(
                    f"{self.scp}: {utt}: no such archive: {listed}; run the stage that makes it"
                )
            self._paths[listed] = str(found[0])
        f = open(self._paths[listed], "rb")
        f.seek(offset)
        return f

    def _shape(self, f, utt: str) -> tuple[int, int]:
        raw = f.read(_HEADER.size)
        if len(raw) < _HEADER.size:
            raise self._truncated(utt)
        magic, kind, four_a, rows, four_b, columns = _HEADER.unpack(raw)
        if (
            magic != b"\0B"
            or kind != b"FM "
            or (four_a, four_b) != (4, 4)
            or min(rows, columns) < 1
        ):
            raise DataError(
                f"{self.scp}: {utt}: {f.name} holds no float32 matrix at this offset; make it again"
            )
        return rows, columns

    def _body(self, f, utt: str, rows: int, columns: int) -> np.ndarray:
        raw = f.read(4 * rows * columns)
        if len(raw) < 4 * rows * columns:
            raise self._truncated(utt)
        return np.frombuffer(bytearray(raw), dtype="<f4").reshape(rows, columns)

    def _truncated(self, utt: str) -> DataError:
        path = self._paths[self._entries[utt][0]]
        return DataError(f"{path}: {utt}: truncated archive; remove it and make it again")
