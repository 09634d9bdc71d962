"""Several codebooks in one label store, and the file that one or several of them are kept in.

Each codebook is of a teacher's layer and has a number of clusters of its own. What a store needs of
its codebook, ``encode``, ``width``, ``books`` and so on, one :class:`codebook.Codebook` and several
:class:`Codebooks` have alike. A record of several has all hard labels first, in the codebooks'
order, then their codes; of one it is that codebook's own record.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from espnet_dice.io.atomic import atomic_file
from espnet_dice.io.errors import DataError
from espnet_dice.labels.codebook import BY_TAU, TENSORS, WORD, Codebook

if TYPE_CHECKING:  # coding frames must not cost the import of torch
    from collections.abc import Mapping

    import torch


@dataclass(frozen=True)
class Codebooks:
    """Codebooks of one source, whose layers stand beside each other in its features.

    Attributes:
        books: the codebooks.
        spans: of each, the values [begin, end) of a feature that it codes.
    """

    books: tuple[Codebook, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def clusters(self) -> list[int]:
        """K of each."""
        return [book.clusters for book in self.books]

    @property
    def width(self) -> int:
        """16-bit words of a record."""
        return sum(book.width for book in self.books)

    @property
    def bytes_per_frame(self) -> int:
        """Of a record."""
        return 2 * self.width

    @property
    def kl(self) -> dict[float, float]:
        """τ → mean KL in nats of decoded to exact soft labels, of the codebook that is worst."""
        taus = self.books[0].kl
        return {tau: max(book.kl[tau] for book in self.books) for tau in taus}

    def parts(self, features: Any) -> list[tuple[Codebook, Any]]:
        """Each codebook with the features that it codes, (frames, D) of (frames, ΣD)."""
        return [
            (book, features[:, begin:end])
            for book, (begin, end) in zip(self.books, self.spans, strict=True)
        ]

    def encode(self, features: np.ndarray | torch.Tensor) -> np.ndarray:
        """Features (frames, ΣD) → records (frames, width) uint16; see :meth:`Codebook.encode`."""
        records = [book.encode(part) for book, part in self.parts(features)]
        return np.concatenate([*(r[:, :1] for r in records), *(r[:, 1:] for r in records)], axis=1)


def of(books: Sequence[Codebook], spans: Sequence[tuple[int, int]]) -> Codebook | Codebooks:
    """One codebook as it is, or several together."""
    return books[0] if len(books) == 1 else Codebooks(tuple(books), tuple(spans))


def own_records(
    records: torch.Tensor, tables: Sequence[Mapping[str, torch.Tensor]], number: int
) -> torch.Tensor:
    """The records that one of several codebooks would have made alone.

    Args:
        records: (…, width), of all codebooks.
        tables: :meth:`Codebook.as_dict` of each.
        number: which, from 0.

    Returns:
        (…, width of its own).

    Raises:
        DataError: records of another width.
    """
    import torch

    codes = [1 + len(t["bit_scores"]) // WORD for t in tables]
    width = len(codes) + sum(codes)
    if records.size(-1) != width:
        raise DataError(
            f"labels have {records.size(-1)} words a frame, their codebook has {width}: they come "
            "from another label store"
        )
    if len(codes) == 1:
        return records
    begin = len(codes) + sum(codes[:number])
    own = (records[..., number : number + 1], records[..., begin : begin + codes[number]])
    return torch.cat(own, dim=-1)


def save(codebook: Codebook | Codebooks, path: str | Path) -> None:
    """Write it as safetensors, in one step; the same codebook gives the same bytes."""
    from safetensors.numpy import save as packed

    tensors, more = {}, []
    for number, book in enumerate(codebook.books):
        for name in TENSORS:
            tensors[_name(codebook, number, name)] = np.ascontiguousarray(getattr(book, name))
        by_tau = {
            name: {str(tau): value for tau, value in getattr(book, name).items()} for name in BY_TAU
        }
        more.append({"own_step": book.own_step, "soft": book.soft, **by_tau})
    if isinstance(codebook, Codebooks):
        said = {"codebooks": json.dumps(more), "spans": json.dumps(codebook.spans)}
    else:
        said = {"codebook": json.dumps(more[0])}
    with atomic_file(path, "wb") as f:
        f.write(packed(tensors, said))


def load(path: str | Path) -> Codebook | Codebooks:
    """Read what :func:`save` wrote.

    Raises:
        DataError: missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as f:
            said = f.metadata()
            if "codebooks" not in said:
                return _book({n: f.get_tensor(n) for n in TENSORS}, json.loads(said["codebook"]))
            books = [
                _book({n: f.get_tensor(f"{i}.{n}") for n in TENSORS}, more)
                for i, more in enumerate(json.loads(said["codebooks"]))
            ]
            return of(books, [(begin, end) for begin, end in json.loads(said["spans"])])
    except FileNotFoundError:
        raise DataError(f"{path}: missing; make the labels again") from None
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as err:
        raise DataError(f"{path}: damaged codebook ({err}); make the labels again") from err


def _name(codebook: Codebook | Codebooks, number: int, name: str) -> str:
    return f"{number}.{name}" if isinstance(codebook, Codebooks) else name


def _book(tensors: dict[str, np.ndarray], more: dict[str, Any]) -> Codebook:
    by_tau = {
        name: {float(tau): value for tau, value in more.pop(name, {}).items()} for name in BY_TAU
    }
    return Codebook(**tensors, **more, **by_tau)
