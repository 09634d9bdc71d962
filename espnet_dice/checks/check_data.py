"""Utterances that went missing on the way, by stages that did what they are meant to do."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from espnet_dice.checks.run_warning import RunWarning, percent
from espnet_dice.io import fingerprint

DROPPED = 0.01
KERNELS = {
    "linear": (),
    "conv2d1": ((3, 1), (3, 1)),
    "conv2d2": ((3, 2), (3, 1)),
    "conv2d": ((3, 2), (3, 2)),
    "conv2d6": ((3, 2), (5, 3)),
    "conv2d8": ((3, 2), (3, 2), (3, 2)),
}
"""Kernel and stride, in time, of ESPnet's input layers."""


def dropped(
    before: int, after: int, where: str, on_the_way: str, causes: tuple[str, ...], do: str
) -> RunWarning | None:
    """More than 1 % of a set's utterances left out.

    Args:
        before, after: utterances.
        where: the set.
        on_the_way: from where to where.
        causes, do: see :class:`RunWarning`.
    """
    if before - after <= DROPPED * before:
        return None
    share = percent((before - after) / before)
    what = f"{before - after} of {before} utterances ({share}) were dropped {on_the_way}"
    return RunWarning(where, what, causes, do)


def encoder_frames(frames: int, input_layer: str) -> int:
    """Frames that an encoder makes of an utterance's feature frames."""
    for kernel, stride in KERNELS[input_layer]:
        frames = (frames - kernel) // stride + 1
    return frames


def too_long(
    lengths: Mapping[str, int], texts: Mapping[str, Sequence], input_layer: str, where: str
) -> RunWarning | None:
    """Transcripts with more tokens than their encoder frames: CTC ignores such an utterance.

    CTC needs a frame a token, and one more between equal ones; ESPnet sets the infinite loss of
    any other utterance to zero.

    Args:
        lengths: utterance → feature frames.
        texts: utterance → tokens of the transcript.
        input_layer: of the encoder, one of :data:`KERNELS`.
        where: for the warning.
    """
    short = []
    for utt in lengths.keys() & texts.keys():
        text = texts[utt]
        needed = len(text) + sum(a == b for a, b in pairwise(text))
        if encoder_frames(lengths[utt], input_layer) < needed:
            short.append(utt)
    if not short or len(short) <= DROPPED * len(lengths):
        return None
    share = percent(len(short) / len(lengths))
    return RunWarning(
        where,
        f"CTC learns nothing from {len(short)} of {len(lengths)} training utterances ({share}), "
        f"{min(short)} for one: they have fewer encoder frames than tokens",
        (
            "transcripts of other utterances",
            "segments that are cut too short",
            f"input_layer {input_layer} keeps too few frames for fast speech",
        ),
        "compare segments and transcripts; take input_layer conv2d2",
    )


def taken(directory: Path) -> RunWarning | None:
    """A set in ``data/`` beside the directory that it was taken from.

    Args:
        directory: ``data/<set>``, as ``local/take_data.py`` makes it.
    """
    settings: dict[str, Any] = (fingerprint.read(directory) or {}).get("settings") or {}
    source = Path(settings["from"]) if isinstance(settings.get("from"), str) else None
    if source is None or not (source / "text").is_file():
        return None
    # ESPnet's length filter writes dump/raw/<set> from dump/raw/org/<set>
    before = source.parent / "org" / source.name
    before = before if (before / "text").is_file() else source
    return dropped(
        count(before / "text"),
        count(directory / "text"),
        str(directory),
        f"from {before}",
        ("--text_rules leave out what cannot be spelt", "ESPnet's filter of long utterances"),
        "look at those transcripts; choose other --text_rules, or take ESPnet's dump/raw/org",
    )


def kept(data: Path, dump: Path) -> RunWarning | None:
    """A set's features beside its data directory.

    Args:
        data: ``data/<set>``.
        dump: ``dump/<feats_type>/<set>``.
    """
    if not ((data / "text").is_file() and (dump / "feats_shape").is_file()):
        return None
    settings: dict[str, Any] = (fingerprint.read(dump) or {}).get("settings") or {}
    speeds = settings.get("speeds") or [1.0]
    return dropped(
        len(speeds) * count(data / "text"),
        count(dump / "feats_shape"),
        str(dump),
        f"from {data}",
        (
            "utterances were added after the features stage",
            "lines were removed by hand",
            "--min_wav_duration or --max_wav_duration leaves them out",
        ),
        "run the stages to features again (1 and 2; of dice1 1), or choose other durations",
    )


def count(path: Path) -> int:
    """Lines of a file."""
    with open(path, "rb") as f:
        return sum(1 for _ in f)


def read_lengths(path: Path) -> dict[str, int]:
    """utterance → frames, of a shape file of ESPnet."""
    with open(path, encoding="utf-8") as f:
        rows = (line.split() for line in f)
        return {utt: int(shape.split(",")[0]) for utt, shape in rows}
