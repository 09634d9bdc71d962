"""Kaldi-style data directories: ``wav.scp``, optional ``segments``, ``text`` and ``utt2spk``.

Nothing here opens audio; :mod:`espnet_dice.io.audio` does.
"""

import math
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from espnet_dice.io import wav_scp
from espnet_dice.io.errors import DataError, ProblemList
from espnet_dice.io.fingerprint import digest, digest_files, digest_stat
from espnet_dice.io.tables import Table, check_sides, check_transcripts
from espnet_dice.io.texts import number as number_of

TABLES = ("wav.scp", "segments", "text", "utt2spk")


@dataclass(frozen=True, slots=True)
class Recording:
    """One line of ``wav.scp``.

    Attributes:
        id: recording id (the utterance id where there is no ``segments``).
        kind: ``file``, ``ark`` (``file.ark:offset``) or ``pipe``.
        source: the resolved path (with ``:offset`` for an ark) or the shell command.
        cwd: the directory a command is run in.
        where: ``file:line`` of the entry, for messages.
    """

    id: str
    kind: str
    source: str
    cwd: str
    where: str

    @property
    def path(self) -> str | None:
        """The file that is read, or None for a command."""
        if self.kind == "pipe":
            return None
        return self.source.rsplit(":", 1)[0] if self.kind == "ark" else self.source

    def files(self) -> list[str]:
        """The files that its audio comes from; of a command those that it names."""
        if self.path is not None:
            return [self.path]
        try:
            words = shlex.split(self.source)
        except ValueError:
            words = self.source.split()
        cwd = self.cwd
        if words[:1] == ["cd"] and words[2:3] == ["&&"]:
            cwd, words = os.path.join(cwd, words[1]), words[3:]
        named = (os.path.join(cwd, word) for word in words)
        return [path for path in named if os.path.isfile(path)]


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance.

    Attributes:
        id: utterance id.
        recording: where its audio is.
        text: transcript, words separated by single spaces.
        speaker: speaker id.
        start: seconds into the recording.
        end: seconds into the recording; None is its end.
        where: ``file:line`` of the entry that defines its audio, for messages.
        speed: factor of a speed perturbation; 1 is none.
    """

    id: str
    recording: Recording
    text: str
    speaker: str
    start: float
    end: float | None
    where: str
    speed: float = 1.0

    @property
    def name(self) -> str:
        """``file:line: utterance: audio``, with which messages begin."""
        source = self.recording.source
        audio = f"`{source}`" if self.recording.kind == "pipe" else source
        return f"{self.where}: {self.id}: {audio}"

    @property
    def is_whole(self) -> bool:
        """True if the utterance is the whole recording, unchanged."""
        return self.start == 0 and self.end is None and self.speed == 1.0


@dataclass(frozen=True)
class DataDir:
    """A checked data directory; utterances are sorted by id."""

    path: Path
    utterances: tuple[Utterance, ...]

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    @property
    def speakers(self) -> list[str]:
        """Speaker ids, sorted."""
        return sorted({u.speaker for u in self.utterances})

    def audio_files(self) -> list[str]:
        """The files that are read, each once, in order of the utterances."""
        recordings = {u.recording.id: u.recording for u in self.utterances}
        return list(dict.fromkeys(p for r in recordings.values() for p in r.files()))

    def key(self) -> str:
        """What the directory holds now: contents of its tables, sizes and times of its audio."""
        tables = [self.path / name for name in TABLES if (self.path / name).exists()]
        names = [t.name for t in tables]
        return digest([names, digest_files(tables), digest_stat(self.audio_files())])


def read_data_dir(
    path: str | Path,
    allow_pipes: bool = False,
    allowed: Mapping[str, str] | None = None,
    transcripts: bool | None = True,
) -> DataDir:
    """Read and check a data directory.

    Without ``utt2spk`` every utterance is a speaker of its own, as Kaldi's recipes have it. Where
    relative paths in ``wav.scp`` start, see :mod:`espnet_dice.io.wav_scp`.

    Args:
        path: the directory.
        allow_pipes: accept entries that are shell commands.
        allowed: characters a transcript may have, see :func:`allowed_characters`.
        transcripts: True: each utterance has one. False: they may be empty, or ``text`` missing.
            None: all have one, or none has.

    Raises:
        ProblemList: everything that is wrong, each with file, line and utterance.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such data directory; it should hold wav.scp, text and utt2spk")
    problems: list[str] = []
    scp = Table(path / "wav.scp", problems, "write one line 'utterance audio-file' each")
    text = Table(
        path / "text",
        problems,
        "write one line 'utterance transcript' each",
        optional=transcripts is not True,
    )
    spk = Table(
        path / "utt2spk",
        problems,
        "write one line 'utterance speaker' each (or the id twice)",
        optional=True,
    )
    recordings = _recordings(path, scp, allow_pipes)
    seg, spans = scp, None
    if os.path.lexists(path / "segments"):
        seg = Table(path / "segments", problems, "write 'utterance recording start end' or remove")
        spans = _spans(seg, scp)
    check_sides(seg, (text, spk), problems)
    for key, rest in text.rows.items():
        text.rows[key] = " ".join(rest.split())
    needed = any(text.rows.values()) if transcripts is None else transcripts
    check_transcripts(text, allowed, needed)
    for (key, speaker), number in zip(spk.rows.items(), spk.numbers, strict=True):
        if not speaker or len(speaker.split()) != 1:
            spk.say(number, f"{key}: expected 'utterance speaker', got {speaker!r} as speaker")
    if problems:
        raise ProblemList(str(path), problems)
    speakers: dict[str, str] = {}

    def utterance(key: str) -> Utterance:
        # rows are taken out: memory never holds both all tables and all utterances
        if spans is None:
            recording, start, end = recordings.pop(key), 0.0, None
            where = recording.where
        else:
            name, start, end, where = spans.pop(key)
            recording = recordings[name]
        speaker = spk.rows.pop(key, key)
        return Utterance(
            key,
            recording,
            text.rows.pop(key, ""),
            speakers.setdefault(speaker, speaker),
            start,
            end,
            where,
        )

    utterances = tuple(map(utterance, sorted(seg.rows)))
    return DataDir(path, utterances)


def allowed_characters(tokens: str | Path) -> dict[str, str]:
    """Characters that a token list covers, each with the name of the list for messages.

    Every token but those in ``<angle brackets>`` counts; ``▁`` stands for the space.
    """
    try:
        lines = Path(tokens).read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as err:
        raise DataError(f"{tokens}: missing; make the token list first (stage 3)") from err
    except UnicodeDecodeError as err:
        raise DataError(f"{tokens}: not UTF-8; make the token list again (stage 3)") from err
    kept = [t for t in lines if t and not (t.startswith("<") and t.endswith(">"))]
    return {char: str(tokens) for token in kept for char in token.replace("▁", " ")} | {
        " ": str(tokens)
    }


def _recordings(path: Path, scp: Table, allow_pipes: bool) -> dict[str, Recording]:
    made: dict[str, Recording] = {}
    bases, here = wav_scp.bases(path), str(path)
    for (key, entry), number in zip(scp.rows.items(), scp.numbers, strict=True):
        if not entry:
            scp.say(number, f"{key}: no audio file on the line")
            continue
        if entry.startswith("|") or entry == "-":
            scp.say(number, f"{key}: {entry!r} is not something to read audio from")
            continue
        if entry.endswith("|"):
            if not allow_pipes:
                scp.say(
                    number,
                    f"{key}: is a shell command ({_short(entry)}); if you trust this file, "
                    "give --allow_pipes true to run it",
                )
                continue
            command = entry[:-1].strip()
            cwd = str(wav_scp.place(command, bases))
            made[key] = Recording(key, "pipe", command, cwd, f"{scp.path}:{number}")
            continue
        found = wav_scp.find(bases, entry)
        if found is None:
            scp.say(number, f"{key}: {wav_scp.missing(path, bases, entry)}")
            continue
        kind, source = found
        source = entry if source == entry else source  # one string of it
        made[key] = Recording(key, kind, source, here, f"{scp.path}:{number}")
    return made


def _spans(seg: Table, scp: Table) -> dict[str, tuple[str, float, float | None, str]]:
    made: dict[str, tuple[str, float, float | None, str]] = {}
    for (key, rest), number in zip(seg.rows.items(), seg.numbers, strict=True):
        try:
            recording, start_text, end_text = rest.split()
            start, end = number_of(start_text), number_of(end_text)
        except ValueError:
            seg.say(number, f"{key}: expected 'utterance recording start end', got {rest!r}")
            continue
        if recording not in scp.rows:
            seg.say(number, f"{key}: recording {recording} is not in {scp.path}")
        elif end == -1 and start >= 0:
            made[key] = (recording, start, None, f"{seg.path}:{number}")
        elif not 0 <= start < end < math.inf:
            seg.say(
                number, f"{key}: start {start:g} s and end {end:g} s: expected 0 <= start < end"
            )
        else:
            made[key] = (recording, start, end, f"{seg.path}:{number}")
    return made


def _short(entry: str, width: int = 60) -> str:
    return entry if len(entry) <= width else entry[: width - 1] + "…"
