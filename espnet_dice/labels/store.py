"""Labels on disk: sharded, checksummed, read at random through memory maps.

A store is a directory with ``labels.N.bin``, ``labels.scp`` (a line an utterance: ``utt
labels.N.bin:offset frames crc crc``), ``codebook.safetensors``, ``store.json`` and the fingerprint,
which says what it was made from. In a shard an utterance is a block: its hard labels (frames,), of
C codebooks (frames, C), and then the rest of its records (frames, width - C), little-endian 16-bit
words, each part with a CRC-32 of its own, so that hard labels are read without the code.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from espnet_dice.io import fingerprint, options
from espnet_dice.io.atomic import atomic_file
from espnet_dice.io.errors import DataError, StaleError
from espnet_dice.io.json_files import write_json

if TYPE_CHECKING:
    from espnet_dice.labels.codebook import Codebook
    from espnet_dice.labels.codebooks import Codebooks

SCP, CODEBOOK, META = "labels.scp", "codebook.safetensors", "store.json"
FORMAT = 1
NEEDED = {"width", "clusters", "codebook_sha256", "index_sha256"}
MADE_BY = "the labelling stage"
_SAID = {"source": "teacher or layer"}


class Entry(NamedTuple):
    """Where an utterance's block is.

    Attributes:
        shard: name of the file.
        offset: in bytes.
        frames: number of records.
        crc_ids, crc_code: CRC-32 of the hard labels and of the rest.
    """

    shard: str
    offset: int
    frames: int
    crc_ids: int
    crc_code: int


SHARD = re.compile(r"labels\.\d+\.bin")


def shard_name(number: int) -> str:
    """File name of a shard, numbered from 1."""
    return f"labels.{number}.bin"


def write_shard(
    path: Path, labelled: Iterable[tuple[str, np.ndarray]], codebooks: int = 1
) -> dict[str, Entry]:
    """Write the records of utterances to one shard, which appears whole or not at all.

    Args:
        path: the shard.
        labelled: (utterance, records (frames, width) uint16), in the order to write.
        codebooks: C, the first columns of a record, which are hard labels.

    Returns:
        utterance → where it is.

    Raises:
        DataError: an utterance without frames, or given twice.
    """
    index: dict[str, Entry] = {}
    with atomic_file(path, "wb") as f:
        for utt, records in labelled:
            if utt in index:
                raise DataError(f"{path}: {utt}: labelled twice")
            if not len(records):
                raise DataError(f"{path}: {utt}: no frames")
            ids = np.ascontiguousarray(records[:, :codebooks], "<u2").tobytes()
            code = np.ascontiguousarray(records[:, codebooks:], "<u2").tobytes()
            index[utt] = Entry(path.name, f.tell(), len(records), zlib.crc32(ids), zlib.crc32(code))
            f.write(ids + code)
    return index


def write_index(
    directory: Path,
    codebook: Codebook | Codebooks,
    index: Mapping[str, Entry],
    more: Mapping[str, Any],
) -> None:
    """Write codebook, ``labels.scp`` and ``store.json`` beside shards that are there.

    Args:
        directory: of the store.
        codebook: that the records were made with.
        index: utterance → where it is.
        more: what else ``store.json`` should say (JSON-able); of several codebooks what belongs
            to each is a list, see :func:`each`.
    """
    from espnet_dice.labels import codebooks

    codebooks.save(codebook, directory / CODEBOOK)
    with atomic_file(directory / SCP) as f:
        for utt, e in index.items():
            f.write(f"{utt} {e.shard}:{e.offset} {e.frames} {e.crc_ids:08x} {e.crc_code:08x}\n")
    meta = {
        "format": FORMAT,
        "clusters": codebook.clusters,
        "width": codebook.width,
        "bytes_per_frame": codebook.bytes_per_frame,
        "utterances": len(index),
        "frames": sum(e.frames for e in index.values()),
        "codebook_sha256": fingerprint.digest_files([directory / CODEBOOK]),
        "index_sha256": fingerprint.digest_files([directory / SCP]),
        "kl": {f"{tau:g}": kl for tau, kl in codebook.kl.items()},
        "spread": options.one_or_all(
            [{f"{tau:g}": n for tau, n in book.spread.items()} for book in codebook.books]
        ),
        **more,
    }
    write_json(directory / META, meta)


def write(
    directory: str | Path,
    codebook: Codebook | Codebooks,
    labelled: Mapping[str, np.ndarray],
) -> None:
    """Write a whole store of one shard; its fingerprint is the caller's to finish.

    Args:
        directory: made if missing.
        codebook: that the records were made with.
        labelled: utterance → records.
    """
    directory = Path(directory)
    index = write_shard(directory / shard_name(1), labelled.items(), len(codebook.books))
    write_index(directory, codebook, index, {})


def each(meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What ``store.json`` says, of each codebook by itself.

    Of several codebooks ``clusters``, ``layer`` and what else belongs to each are lists.
    """
    if not isinstance(meta["clusters"], list):
        return [dict(meta)]
    return [
        {key: value[n] if isinstance(value, list) else value for key, value in meta.items()}
        for n in range(len(meta["clusters"]))
    ]


class Reader(Mapping):
    """A finished store: utterance → records (frames, width) int32, the hard labels first.

    Files are opened at first use, in each process for itself; every read is checked.

    Raises:
        StaleError: the store is missing or unfinished.
        DataError: a file of it is missing, truncated or damaged; on reading, a checksum that is
            wrong, with the utterance.
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        self.key = fingerprint.key_of(self.directory, MADE_BY)
        self.meta = self._meta()
        self.width: int = self.meta["width"]
        self.codebooks: int = len(each(self.meta))
        self._index = self._read_index()
        self._check_sizes()
        self._maps: dict[str, np.ndarray] = {}
        self._codebook: Codebook | Codebooks | None = None

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __contains__(self, utt: object) -> bool:
        return utt in self._index

    def __getitem__(self, utt: str) -> np.ndarray:
        """Records (frames, width) int32 of an utterance."""
        entry = self._index[utt]
        ids, code = self._part(utt, entry, 0), self._part(utt, entry, 1)
        records = np.empty((entry.frames, self.width), np.int32)
        records[:, : self.codebooks] = ids.reshape(entry.frames, self.codebooks)
        records[:, self.codebooks :] = code.reshape(entry.frames, self.width - self.codebooks)
        return records

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_maps": {}}  # maps do not go to other processes

    def ids(self, utt: str) -> np.ndarray:
        """Hard labels (frames,) int64 of an utterance, of C codebooks (frames, C).

        Its code is not touched.
        """
        ids = self._part(utt, self._index[utt], 0).astype(np.int64)
        return ids if self.codebooks == 1 else ids.reshape(-1, self.codebooks)

    def frames(self, utt: str) -> int:
        """Number of records of an utterance, from the index."""
        return self._index[utt].frames

    @property
    def codebook(self) -> Codebook | Codebooks:
        """The codebook, or all of them, checked against the checksum.

        Raises:
            DataError: it is missing or damaged.
        """
        if self._codebook is None:
            from espnet_dice.labels import codebooks

            path = self.directory / CODEBOOK
            self._same(path, self.meta["codebook_sha256"])
            self._codebook = codebooks.load(path)
        return self._codebook

    def check(self) -> None:
        """Read everything once.

        Raises:
            DataError: the first thing that is wrong.
        """
        clusters = [book.clusters for book in self.codebook.books]
        for utt in self:
            for ids, k in zip(self[utt].T[: self.codebooks], clusters, strict=True):
                if ids.max() >= k:
                    raise DataError(f"{self.directory}: {utt}: a label above K = {k}: label again")

    def _meta(self) -> dict[str, Any]:
        path = self.directory / META
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
            found = meta["format"]
            if found == FORMAT and not meta.keys() >= NEEDED:
                raise KeyError("width")
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
            raise _damaged(path) from None
        if found != FORMAT:
            raise DataError(f"{path}: format {found}, expected {FORMAT}: label again")
        return meta

    def _read_index(self) -> dict[str, Entry]:
        path = self.directory / SCP
        self._same(path, self.meta["index_sha256"])
        index = {}
        with open(path, encoding="utf-8") as f:
            for line in f:
                utt, where, frames, *crcs = line.split()
                shard, _, offset = where.rpartition(":")
                if not SHARD.fullmatch(shard):
                    raise _damaged(path, f"{utt}: {shard} is no shard of it")
                index[utt] = Entry(shard, int(offset), int(frames), *(int(c, 16) for c in crcs))
        return index

    def _check_sizes(self) -> None:
        ends: dict[str, int] = {}
        for entry in self._index.values():
            end = entry.offset + 2 * self.width * entry.frames
            ends[entry.shard] = max(ends.get(entry.shard, 0), end)
        for shard, end in ends.items():
            path = self.directory / shard
            if not path.is_file():
                raise _damaged(path, "missing")
            if path.stat().st_size != end:
                raise _damaged(path, f"{path.stat().st_size} bytes, {end} expected")

    def _same(self, path: Path, sha256: str) -> None:
        try:
            found = fingerprint.digest_files([path])
        except FileNotFoundError:
            raise _damaged(path, "missing") from None
        if found != sha256:
            raise _damaged(path)

    def _part(self, utt: str, entry: Entry, part: int) -> np.ndarray:
        """The hard labels (part 0) or the rest (part 1) of a block, as flat words."""
        if entry.shard not in self._maps:
            self._maps[entry.shard] = np.memmap(self.directory / entry.shard, "<u2", "r")
        start = entry.offset // 2 + (entry.frames * self.codebooks if part else 0)
        count = entry.frames * (self.width - self.codebooks if part else self.codebooks)
        words = np.array(self._maps[entry.shard][start : start + count])
        if zlib.crc32(words) != (entry.crc_code if part else entry.crc_ids):
            raise _damaged(self.directory / entry.shard, f"{utt}: wrong checksum")
        return words


def check(directory: str | Path, **expected: str) -> str:
    """Refuse a store that was made from something else.

    Args:
        directory: the store.
        expected: keys of what it must have been made from: ``source`` (teacher and
            layer), ``quantizer``, ``codebook``, ``data``.

    Returns:
        The store's key, an input of what is trained on it.

    Raises:
        StaleError: missing, unfinished, or made from something else; the message says what.
    """
    key = fingerprint.key_of(directory, MADE_BY)
    inputs = fingerprint.read(directory)["inputs"]
    changed = [_SAID.get(k, k) for k, value in expected.items() if inputs.get(k) != value]
    if changed:
        raise StaleError(
            f"{directory}: these labels were made from another {' and another '.join(changed)} "
            "than there is now: label again"
        )
    return key


def _damaged(path: Path, what: str = "") -> DataError:
    said = f" ({what})" if what else ""
    return DataError(f"{path}: missing or damaged{said}; remove {path.parent} and label again")
