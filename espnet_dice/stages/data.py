"""Stage 1: check data directories, and say how much speech they hold.

The length of a recording is not what its header says, but what the header, the file's size or
frames and (in stage 2) the decoder agree on. Every problem is reported with file, line and
utterance. A directory that was checked and has not changed since is not checked again.
"""

import errno
import logging
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from espnet_dice.io import options
from espnet_dice.io.audio import AudioOptions, AudioReader, add_audio_options, audio_options
from espnet_dice.io.datadir import Utterance, allowed_characters, read_data_dir
from espnet_dice.io.errors import DataError, ProblemList, cli
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.io.progress import setup_logging, track

MARK = ".checked"
"""Apart from the directory's own fingerprint, which belongs to the command that made it."""
JOINERS = "\u200c\u200d"
THREADS = 4
"""Headers are waited for more than they are computed with, on a network disk above all."""
WAITING = 1000
"""Utterances that are given to the threads at a time: what waits there costs a kilobyte each."""


@dataclass(frozen=True)
class Summary:
    """What a data directory holds; lengths are means over utterances."""

    utterances: int
    speakers: int
    hours: float
    seconds: float
    tokens: float

    def __str__(self) -> str:
        return (
            f"{self.utterances} utterances, {self.speakers} speakers, {self.hours:.2f} h, "
            f"{self.seconds:.2f} s and {self.tokens:.1f} characters an utterance"
        )


def check_data(
    data_dir: str | Path,
    tokens: str | Path | None = None,
    audio: AudioOptions | None = None,
    transcripts: bool | None = None,
) -> Summary | None:
    """Check one data directory and the lengths of its audio.

    Args:
        data_dir: Kaldi-style directory; a mark, ``.checked/``, is left in it.
        tokens: token list whose characters the transcripts may use; None allows all.
        audio: what audio to accept.
        transcripts: whether each utterance needs one, see :func:`read_data_dir`.

    Returns:
        None if the directory is as it was when it was last checked with these settings.

    Raises:
        ProblemList: everything that is wrong.
    """
    data_dir, audio = Path(data_dir), audio or AudioOptions()
    allowed = allowed_characters(tokens) if tokens else None
    data = read_data_dir(data_dir, audio.allow_pipes, allowed, transcripts)
    settings = asdict(audio) | {"characters": "".join(sorted(allowed)) if allowed else None}
    fingerprint = Fingerprint("data", settings, {"data": data.key()})
    if fingerprint.is_done(data_dir / MARK):
        return None
    _tell_spelling(data_dir / "text", data.utterances)
    seconds = _probe(data_dir, data.utterances, audio)
    summary = Summary(
        utterances=len(data),
        speakers=len(data.speakers),
        hours=seconds / 3600,
        seconds=seconds / len(data),
        tokens=sum(len(u.text) for u in data) / len(data),
    )
    try:
        fingerprint.finish(data_dir / MARK)
    except OSError as err:
        if err.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        logging.info("%s is not ours to write to: it is checked every time", data_dir)
    return summary


def _tell_spelling(text: Path, utterances: tuple[Utterance, ...]) -> None:
    """Warn of words that look alike and are not: by signs without width, or accents apart."""
    written = [utt for utt in utterances if not utt.text.isascii()]
    apart = [utt for utt in written if not unicodedata.is_normalized("NFC", utt.text)]
    if apart and not all(unicodedata.is_normalized("NFD", utt.text) for utt in written):
        logging.warning(
            "%s: %d transcripts write accents as signs of their own, %s for one, and others do "
            "not: the same word is two; write all of them in NFC",
            text,
            len(apart),
            apart[0].id,
        )
    found = {
        utt.id: signs
        for utt in written
        if not utt.text.isprintable()
        and (signs := [c for c in utt.text if unicodedata.category(c) == "Cf" and c not in JOINERS])
    }
    if found:
        first, signs = next(iter(found.items()))
        logging.warning(
            "%s: %d transcripts have signs that do not show, %s (U+%04X) for one: words with them "
            "count as others; take them out",
            text,
            len(found),
            first,
            ord(signs[0]),
        )


def _probe(data_dir: Path, utterances: tuple[Utterance, ...], audio: AudioOptions) -> float:
    """Seconds of audio, by what :class:`~espnet_dice.io.sound.sound.Sound` says of a file's length.

    That is the length which the features stage reads, or refuses: no file is decoded here but an
    Ogg that has no last page. WAV and the like are compared with the size of the file, FLAC with
    its last frame; MPEG audio and Ogg are read (not decoded) to count their frames and pages, and
    the output of commands, to count what is there.
    """
    problems: list[str] = []
    local = threading.local()  # a reader keeps the recording it decoded last

    def probe(utt: Utterance) -> float | str:
        if not hasattr(local, "reader"):
            local.reader = AudioReader(audio)
        try:
            return local.reader.probe(utt)
        except DataError as err:
            return str(err)

    total = 0.0
    with ThreadPoolExecutor(THREADS) as threads:
        parts = (utterances[i : i + WAITING] for i in range(0, len(utterances), WAITING))
        each = chain.from_iterable(threads.map(probe, part) for part in parts)
        for found in track(each, len(utterances), f"check {data_dir}"):
            if isinstance(found, str):
                problems.append(found)
            else:
                total += found
    if problems:
        raise ProblemList(str(data_dir), problems)
    return total


def main(argv: list[str] | None = None) -> None:
    """The command; see ``--help``."""
    p = options.parser(__doc__)
    p.add_argument("--data_dir", nargs="+", required=True, help="Kaldi-style directories")
    p.add_argument("--tokens", help="token list that must cover the transcripts")
    p.add_argument(
        "--transcripts",
        type=options.true_false,
        metavar="BOOL",
        help="true: each utterance needs one; false: none does; left out: all or none have one",
    )
    add_audio_options(p)
    args = p.parse_args(argv)
    setup_logging()
    for data_dir in args.data_dir:
        summary = check_data(data_dir, args.tokens, audio_options(args), args.transcripts)
        logging.info("%s: %s", data_dir, summary or "checked before, unchanged")


if __name__ == "__main__":
    cli(main)
