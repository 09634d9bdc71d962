"""Shards of a feature directory: archives of features, or checked and cut audio."""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from espnet_dice.io.arks import write_ark
from espnet_dice.io.atomic import atomic_dir
from espnet_dice.io.audio import AudioOptions, AudioReader
from espnet_dice.io.datadir import Utterance
from espnet_dice.io.errors import DataError
from espnet_dice.io.fingerprint import digest, digest_stat
from espnet_dice.work import shards
from espnet_dice.work.shards import Shard, Unusable

ALGORITHM = 3
"""Raise it when the features of the same audio change, so that old ones are made again."""
RAW = "raw"
LONGEST_STEM = 120
"""Bytes: file systems allow names of 255 bytes, encrypted ones of 143; an id may be longer."""
LARGEST_INT16 = 32767.5 / 32768
"""Floats above this are clipped in 16 bits."""
ANY_LENGTH = (0.0, math.inf)


@dataclass(frozen=True)
class FeatureShard(Shard):
    """Features or audio of some utterances.

    Attributes:
        utterances: in order of their ids.
        feats_type: ``fbank_pitch``, ``fbank`` or ``raw``.
        audio: what audio to accept.
        durations: shortest and longest utterance in seconds; others are left out.
    """

    utterances: tuple[Utterance, ...]
    feats_type: str
    audio: AudioOptions
    durations: tuple[float, float] = ANY_LENGTH

    @property
    def target(self) -> Path:
        """The archive, or for ``raw`` the directory of cut audio."""
        name = f"wavs.{self.number}" if self.feats_type == RAW else f"feats.{self.number}.ark"
        return self.out_dir / name

    @property
    def targets(self) -> tuple[Path, ...]:
        """The archive or the directory."""
        return (self.target,)

    def key(self) -> str:
        """Everything that the shard's content depends on; transcripts do not count."""
        audio = {k: v for k, v in asdict(self.audio).items() if k != "allow_pipes"}
        entries = [
            [u.id, u.recording.kind, u.recording.source, u.start, u.end, u.speed]
            + [u.recording.cwd] * (u.recording.kind == "pipe")
            for u in self.utterances
        ]
        files = [path for u in self.utterances for path in u.recording.files()]
        limits = [] if self.durations == ANY_LENGTH else [self.durations]
        return digest([ALGORITHM, self.feats_type, audio, entries, digest_stat(files), *limits])

    def is_whole(self, record: dict[str, Any]) -> bool:
        """Whether the archive is as large as it was made; audio was renamed there as a whole."""
        return self.target.is_dir() if self.feats_type == RAW else super().is_whole(record)

    def write(self, problems: list[str], count: Callable[[int], None]) -> dict[str, Any]:
        """Make the features, or copy what must be cut."""
        write = self._write_raw if self.feats_type == RAW else self._write_ark
        reader = AudioReader(self.audio)
        return write(reader, self._samples(reader, problems, count), problems)

    def _samples(
        self, reader: AudioReader, problems: list[str], count: Callable[[int], None]
    ) -> Iterator[tuple[Utterance, np.ndarray, int]]:
        """Read on after a problem, so that all are reported, and then give up."""
        shortest, longest = self.durations
        for n, utt in enumerate(self.utterances, 1):
            try:
                samples, rate = reader.read(utt)
            except DataError as err:
                problems.append(str(err))
            else:
                if shortest <= len(samples) / rate <= longest:
                    yield utt, samples, rate
            count(n)
        if problems:
            raise Unusable

    def _write_ark(
        self,
        reader: AudioReader,
        read: Iterator[tuple[Utterance, np.ndarray, int]],
        problems: list[str],
    ) -> dict[str, Any]:
        from espnet_dice.features.cmvn import GlobalStats

        extract, stats = extractor(self.feats_type), GlobalStats()

        def matrices() -> Iterator[tuple[str, np.ndarray]]:
            for utt, samples, rate in read:
                try:
                    matrix = extract(samples, rate, utt.id)
                    if len(matrix) == 0:
                        length = 1000 * len(samples) / rate
                        raise ValueError(f"{length:.1f} ms are too short for one frame")
                    stats.add(matrix)
                except ValueError as err:
                    problems.append(f"{utt.name}: {err}; fix or remove the utterance")
                else:
                    yield utt.id, matrix

        index = write_ark(matrices(), self.target)
        return {
            "bytes": self.target.stat().st_size,
            "rows": [[utt, *entry] for utt, entry in index.items()],
            "count": stats.count,
            "sum": None if stats.sum is None else stats.sum.tolist(),
            "sum_square": None if stats.sum is None else stats.sum_square.tolist(),
        }

    def _write_raw(
        self,
        reader: AudioReader,
        read: Iterator[tuple[Utterance, np.ndarray, int]],
        problems: list[str],
    ) -> dict[str, Any]:
        """Files that soundfile reads as they are stay where they are; the others are written here.

        These are FLAC of 16 bits; where samples reach beyond [-1, 1), which 16 bits would clip, WAV
        of 32-bit floats.
        """
        import soundfile

        rows = []
        with atomic_dir(self.target) as made:
            for utt, samples, rate in read:
                if reader.is_plain(utt):
                    path = utt.recording.source
                    if self.out_dir.is_absolute():  # from there no relative path leads back
                        path = str(Path(path).absolute())
                else:
                    loud = samples.max() > LARGEST_INT16 or samples.min() < -1
                    kind, subtype = ("WAV", "FLOAT") if loud else ("FLAC", "PCM_16")
                    name = file_name(utt.id, f".{kind.lower()}")
                    packed = io.BytesIO()  # libsndfile does not say that a disk is full
                    soundfile.write(packed, samples, rate, format=kind, subtype=subtype)
                    (made / name).write_bytes(packed.getbuffer())
                    path = str(self.target / name)
                rows.append([utt.id, path, len(samples)])
        return {"rows": rows}


def file_name(utt: str, suffix: str) -> str:
    """A file name of an utterance, whatever is in its id and however long it is.

    ``wav.scp`` says which file is whose; the name is for people.
    """
    stem = quote(utt, safe="")
    if len(stem) > LONGEST_STEM:
        sign = "-" + digest(utt)[:16]
        stem = stem[: LONGEST_STEM - len(sign)] + sign
    return stem + suffix


def cut(
    out_dir: Path,
    feats_type: str,
    audio: AudioOptions,
    utterances: tuple[Utterance, ...],
    durations: tuple[float, float] = ANY_LENGTH,
) -> list[FeatureShard]:
    """Cut a set into shards of equal size."""
    parts = shards.cut(utterances, shards.number_of(len(utterances)))
    how = feats_type, audio, durations
    return [FeatureShard(out_dir, n, part, *how) for n, part in enumerate(parts, 1)]


def extractor(feats_type: str) -> Callable[[np.ndarray, int, str], np.ndarray]:
    """The function (samples, rate, utterance) → (frames, dimensions) of a feature type."""
    from espnet_dice import features

    if feats_type == "fbank":
        return lambda samples, rate, utt: features.fbank(samples, rate)
    # Kaldi adds a little noise to the pitch: the id as its seed makes it the same in every run
    return lambda samples, rate, utt: features.fbank_pitch(samples, rate, seed=utt)
