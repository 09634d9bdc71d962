"""What a label store is like: size, cluster use, what it says of phones and speakers.

The agreement is also kept beside the store, in ``agreement_<set>.json``.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.io import fingerprint
from espnet_dice.io.json_files import read_json, write_json
from espnet_dice.labels import quality, store
from espnet_dice.records import phones


def compare(
    ids: Callable[[str], np.ndarray], clusters: int, alignment: phones.Alignment
) -> dict[str, Any]:
    """What hard labels say of phones, and of who speaks, over the frames that are in a phone.

    Args:
        ids: utterance → its labels, (frames,).
        clusters: K.
        alignment: of utterances that have labels.

    Returns:
        See :func:`quality.agreement`; ``speakers``, the share of the speakers' entropy that the
        cluster takes away, as PNMI is that of the phones', None where one speaks, or each
        utterance has a speaker of its own; and ``frames``, ``utterances`` and ``phones`` that were
        compared.

    Raises:
        DataError: phones overlap, or hold no frame.
    """
    said: Counter[tuple[str, int]] = Counter()
    who: Counter[tuple[str, int]] = Counter()
    for utt, spoken in alignment.items():
        own = ids(utt).tolist()
        pairs = zip(phones.on_frames(spoken, len(own)), own, strict=True)
        heard = Counter((name, k) for name, k in pairs if name)
        said.update(heard)
        for (_, k), frames in heard.items():
            who[spoken[0].speaker, k] += frames
    if not said:
        raise phones.no_frame(alignment)
    joint, speakers = _joint(said, clusters), _joint(who, clusters)
    told = 1 < len(speakers) < len(alignment)
    return {
        **quality.agreement(joint),
        "speakers": quality.agreement(speakers)["pnmi"] if told else None,
        "frames": int(joint.sum()),
        "utterances": len(alignment),
        "phones": len(joint),
    }


def _joint(counts: Mapping[tuple[str, int], int], clusters: int) -> np.ndarray:
    """Frames of each name in each cluster, (names, K)."""
    rows = {name: row for row, name in enumerate(sorted({name for name, _ in counts}))}
    joint = np.zeros((len(rows), clusters), np.int64)
    for (name, k), frames in counts.items():
        joint[rows[name], k] = frames
    return joint


def measure(directory: Path, alignment: phones.Alignment) -> list[dict[str, Any]]:
    """Compare a store with phones, and keep what was found.

    Returns:
        Of each codebook, see :func:`compare`; nothing where no utterance of the store is aligned.
    """
    reader = store.Reader(directory)
    own = {utt: spoken for utt, spoken in alignment.items() if utt in reader}
    if not own:
        return []

    def ids_of(codebook: int) -> Callable[[str], np.ndarray]:
        return lambda utt: reader.ids(utt).reshape(reader.frames(utt), -1)[:, codebook]

    found = [
        compare(ids_of(n), book["clusters"], own) for n, book in enumerate(store.each(reader.meta))
    ]
    write_json(_beside(directory), {"key": _key(directory), "codebooks": found})
    return found


def measured(directory: Path) -> list[dict[str, Any]]:
    """What :func:`measure` found of the labels that are there now; nothing if it was not asked."""
    found = read_json(_beside(directory))
    return found["codebooks"] if found and found["key"] == _key(directory) else []


def _beside(directory: Path) -> Path:
    return directory.parent / f"agreement_{directory.name}.json"


def _key(directory: Path) -> str | None:
    return (fingerprint.read(directory) or {}).get("key")


def describe(directory: Path, agreements: Sequence[Mapping[str, Any]] = ()) -> str:
    """Size of a store, use of its clusters, and agreement with phones.

    One line; of several codebooks one more line each.

    Args:
        directory: the store.
        agreements: what :func:`measure` found.
    """
    reader = store.Reader(directory)
    meta, books = reader.meta, store.each(reader.meta)
    each = agreements or [None] * len(books)
    size = (
        f"{directory}: {meta['utterances']} utterances, {meta['frames']} frames, "
        f"{meta['bytes_per_frame']} bytes each"
    )
    kl = ""
    if meta["kl"]:
        kl = "; KL " + ", ".join(f"{kl:.1e} (τ {tau})" for tau, kl in meta["kl"].items())
    if len(books) == 1:
        return f"{size}; {_use(meta)}{_spread(meta)}{kl}{_agreement(each[0])}"
    lines = [
        f"  codebook {n}, layer {one['layer']}: {_use(one)}{_spread(one)}{_agreement(each[n])}"
        for n, one in enumerate(books)
    ]
    return "\n".join([f"{size}{kl}", *lines])


def _use(meta: dict[str, Any]) -> str:
    return (
        f"{meta['clusters_used']} of {meta['clusters']} clusters used, perplexity "
        f"{meta['perplexity']:.1f}"
    )


def _spread(meta: dict[str, Any]) -> str:
    spread = meta.get("spread")  # stores of before have none
    if not spread:
        return ""
    told = ", ".join(f"{clusters:.1f} (τ {tau})" for tau, clusters in spread.items())
    return f"; soft labels spread over {told} clusters"


def _agreement(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    speakers = found.get("speakers")
    who = "" if speakers is None else f", of the speakers' entropy {speakers:.3f}"
    return (
        f"; PNMI {found['pnmi']:.3f}, phone purity {found['phone_purity']:.3f}, cluster purity "
        f"{found['cluster_purity']:.3f}{who} on {found['frames']} frames of {found['phones']} "
        "phones"
    )
