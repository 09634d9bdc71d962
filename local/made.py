"""What the data commands share: knowing their own directories again, and writing tables."""

import argparse
import shlex
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from espnet_dice.io.atomic import atomic_dir
from espnet_dice.io.datadir import Utterance
from espnet_dice.io.errors import DataError, StaleError
from espnet_dice.io.fingerprint import Fingerprint, read


def is_made(directory: Path, mark: Fingerprint, overwrite: bool) -> bool:
    """True if ``directory`` is whole and made from this; False if it is to be made.

    Args:
        overwrite: a directory of the same kind that was made from something else may be replaced.

    Raises:
        StaleError: something else is there.
    """
    if mark.is_done(directory):
        return True
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return False
    found = read(directory)
    if found is None or found.get("stage") != mark.record["stage"]:
        raise StaleError(
            f"{directory} is there and was not made by this command: remove it, or choose another "
            "--out (of a recipe: --datadir)"
        )
    if not overwrite:
        raise StaleError(
            f"{directory} was made from something else ({mark.why(directory)}): "
            "choose another --out, or --overwrite to make it anew"
        )
    return False


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """One line each; an error names the file."""
    try:
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as err:
        raise OSError(err.errno, err.strerror, str(path)) from err


def write_lm_text(directory: Path, lines: dict[str, list[str]], mark: Fingerprint) -> None:
    """Write the LM's sentences, ``{split}.txt`` for each split."""
    with atomic_dir(directory) as tmp:
        for split, sentences in lines.items():
            write_lines(tmp / f"{split}.txt", sentences)
        mark.finish(tmp)


def scp_entry(u: Utterance) -> str:
    """What wav.scp says about the utterance's recording, good from any directory.

    Raises:
        DataError: a directory's name holds the end of a line.
    """
    r = u.recording
    entry = str(Path(r.source).absolute())  # abspath would take ".." behind a link for text
    if r.kind == "pipe":
        entry = f"cd {shlex.quote(str(Path(r.cwd).absolute()))} && {r.source} |"
    if "\n" in entry:
        raise DataError(f"{u.id}: the end of a line in {entry!r}: rename what is called so")
    return entry


def write_set(
    directory: Path, utterances: list[Utterance], mark: Fingerprint, also: Iterable[Path] = ()
) -> None:
    """Write wav.scp, text, utt2spk and, where recordings are cut, segments.

    Args:
        also: files to copy as they are.
    """
    rows = sorted(utterances, key=lambda u: u.id)
    scp = {u.recording.id: scp_entry(u) for u in rows}
    with atomic_dir(directory) as tmp:
        for path in also:
            shutil.copyfile(path, tmp / path.name)
        write_lines(tmp / "wav.scp", (f"{key} {entry}" for key, entry in sorted(scp.items())))
        write_lines(tmp / "text", (f"{u.id} {u.text}".rstrip() for u in rows))
        write_lines(tmp / "utt2spk", (f"{u.id} {u.speaker}" for u in rows))
        if any(not u.is_whole or u.id != u.recording.id for u in rows):
            ends = (-1 if u.end is None else u.end for u in rows)
            write_lines(
                tmp / "segments",
                (f"{u.id} {u.recording.id} {u.start} {e}" for u, e in zip(rows, ends, strict=True)),
            )
        mark.finish(tmp)


class Row(NamedTuple):
    """One utterance of a corpus, as the tables have it.

    Attributes:
        utt, text, speaker: as in Kaldi's tables.
        recording: its recording's id.
        source: what wav.scp says of the recording.
        span: start and end in seconds; None is the whole recording.
    """

    utt: str
    text: str
    speaker: str
    recording: str
    source: str
    span: tuple[float, float] | None = None


def write_rows(directory: Path, rows: Iterable[Row], mark: Fingerprint) -> int:
    """Write a data directory row by row; a corpus of any size takes no memory.

    Args:
        directory: made whole or not at all.
        rows: sorted by utterance, those of a recording together.
        mark: finished last.

    Returns:
        Number of utterances.

    Raises:
        DataError: there are none, or one is there twice.
    """
    n, last, recording = 0, "", None
    with atomic_dir(directory) as tmp:
        with ExitStack() as stack:

            def table(name: str):
                return stack.enter_context(open(tmp / name, "w", encoding="utf-8"))

            scp, text, utt2spk = map(table, ("wav.scp", "text", "utt2spk"))
            segments = None
            for row in rows:
                if row.utt <= last:
                    twice = row.utt == last
                    what = "is there twice" if twice else f"comes after {last}: not sorted"
                    raise DataError(f"{row.source}: utterance {row.utt} {what}")
                if row.recording != recording:
                    recording = row.recording
                    scp.write(f"{recording} {row.source}\n")
                text.write(f"{row.utt} {row.text}\n")
                utt2spk.write(f"{row.utt} {row.speaker}\n")
                if row.span:
                    segments = segments or table("segments")
                    segments.write(f"{row.utt} {recording} {row.span[0]:.3f} {row.span[1]:.3f}\n")
                n, last = n + 1, row.utt
        if not n:
            raise DataError(f"{directory}: no utterance for it")
        mark.finish(tmp)
    return n


def corpus_parser(doc: str, corpus: str, sets: str) -> argparse.ArgumentParser:
    """Options that the commands of corpora as they are distributed share.

    Args:
        doc: the command's description.
        corpus, sets: help of these arguments.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", required=True, help=corpus)
    parser.add_argument("--out", required=True, help="where the sets go")
    parser.add_argument("sets", nargs="+", help=sets)
    return parser


def make_sets(
    out: Path, sets: Iterable[str], plan: Callable[[str], tuple[Fingerprint, Iterable[Row]]]
) -> dict[str, int]:
    """Make the sets that are missing, or were made from something else.

    Args:
        out: where they go.
        plan: of a set, what it is made from and its rows, which are read where it is made.

    Returns:
        Set → utterances, of those that were made.
    """
    made = {}
    for name in sets:
        mark, rows = plan(name)
        if not is_made(out / name, mark, overwrite=True):
            made[name] = write_rows(out / name, rows, mark)
    return made


def say_made(out: str, made: dict[str, int]) -> None:
    """Print what was made, and of how many utterances."""
    for name, utterances in made.items():
        print(f"{out}/{name}: {utterances} utterances")
    if not made:
        print(f"{out}: made already, nothing to do")
