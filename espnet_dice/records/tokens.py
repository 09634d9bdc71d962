"""The token list that all corpora and models of a recipe share, and texts written with it."""

import io
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from espnet_dice.io import texts
from espnet_dice.io.atomic import atomic_file
from espnet_dice.io.errors import DataError, ProblemList, StaleError
from espnet_dice.io.fingerprint import key_of as fingerprint_key
from espnet_dice.io.fingerprint import read

SPACE = "▁"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
TOKENS = ("<blank>", "<unk>", SPACE, *ALPHABET, "<sos/eos>")
MODEL, LIST = "bpe.model", "tokens.txt"
STAGE = "stage 3 (tokens)"
MOST_PROBLEMS = 1000
"""After these a text is not read on: a list of millions helps nobody."""


def char_model() -> bytes:
    """The serialised SentencePiece character model over the space mark and ``ALPHABET``.

    Its pieces are <unk>, <s>, </s>, ▁ and the 27 characters; ESPnet uses ``TOKENS`` for the ids.
    """
    import sentencepiece as spm

    out = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(ALPHABET)]),
        model_writer=out,
        model_type="char",
        vocab_size=3 + 1 + len(ALPHABET),
        character_coverage=1.0,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    return out.getvalue()


def token_count(transcript: str) -> int:
    """Tokens of a transcript, without <sos/eos>: one a character, one a word boundary."""
    words = transcript.split()
    return sum(map(len, words)) + len(words)


def check_text(path: str | Path) -> dict[str, str]:
    """All of :func:`read_text`: utterance → transcript, in file order."""
    return dict(read_text(path))


def read_text(path: str | Path) -> Iterator[tuple[str, str]]:
    """Read a text line by line and check that it holds characters of the token list only.

    A language model's text may be larger than memory: lines are not kept.

    Args:
        path: Kaldi's ``text`` ("utterance words …"), or a ``….txt`` with bare sentences, whose
            utterances are then called ``<stem>-<line>``; both may end in ``.gz``, too.

    Yields:
        utterance, transcript; words are separated by single spaces.

    Raises:
        ProblemList: at the end, naming file, line and utterance of each problem.
    """
    path = Path(path)
    allowed = frozenset(ALPHABET + " ")
    name = texts.unpacked_name(path)
    bare, stem = name.endswith(".txt"), name.removesuffix(".txt")
    problems: list[str] = []
    last, ascending, n = "", True, 0
    for n, line in enumerate(_lines(path), 1):
        utt, *words = line.split() or [""]
        if bare:
            utt, words = f"{stem}-{n:07d}", line.split()
        if not words:
            problems.append(
                f"{path}:{n}: utterance {utt or '(no id)'}: empty transcript; remove it"
            )
            continue
        ascending = ascending and utt > last
        last, transcript = utt, " ".join(words)
        foreign = sorted(set(transcript) - allowed)
        if foreign:
            shown = " ".join(map(repr, foreign))
            lower = transcript != transcript.upper()
            hint = "transcripts are upper-case" if lower else "write it in letters"
            problems.append(f"{path}:{n}: utterance {utt}: {shown} not in the token list; {hint}")
        if len(problems) > MOST_PROBLEMS:
            problems.append(f"{path}:{n}: too many problems; the rest was not read")
            break
        yield utt, transcript
    if not n:
        problems.append(f"{path}: empty file; make it again")
    if not bare and not ascending:  # else no id can be there twice
        problems += _twice(path)
    if problems:
        raise ProblemList(f"{path} cannot be written with the {len(TOKENS)} tokens", problems)


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from texts.lines(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: prepare the set first (stages 1 and 2)") from None


def _twice(path: Path) -> Iterator[str]:
    seen: set[str] = set()
    for n, line in enumerate(_lines(path), 1):
        utt, _ = texts.split_id(line)
        if utt in seen:
            yield f"{path}:{n}: utterance {utt}: listed twice; keep one"
        seen.add(utt)


def key_of(directory: Path) -> str:
    """The key of a token list, once its files are seen to be what the list is.

    A list whose entries were swapped, or a model of other pieces, trains without a complaint and
    decodes to nonsense.

    Raises:
        StaleError: it is missing, unfinished, of another stage, or its files are not the list's.
    """
    key = fingerprint_key(directory, STAGE)
    again = f"remove {directory} and run {STAGE} again"
    if (read(directory) or {}).get("stage") != "tokens":
        raise StaleError(f"{directory}: no token list; name that of {STAGE}")
    path = directory / LIST
    try:
        lines = path.read_bytes().decode("utf-8", "backslashreplace").removesuffix("\n").split("\n")
        model = (directory / MODEL).read_bytes()
    except FileNotFoundError as err:
        raise StaleError(f"{err.filename}: missing; {again}") from None
    for n, (found, wanted) in enumerate(zip_longest(lines, TOKENS), 1):
        if found != wanted:
            said = ["nothing" if token is None else repr(token) for token in (found, wanted)]
            raise StaleError(
                f"{path}:{n}: {said[0]}, must be {said[1]}: the list of another run; {again}"
            )
    differing = _pieces(model, directory / MODEL, again) ^ {*TOKENS[1:-1], "<s>", "</s>"}
    if differing:
        raise StaleError(
            f"{directory / MODEL}: a model of another vocabulary ({LIST} or it has no "
            f"{max(differing)!r}); {again}"
        )
    return key


def entries(directory: Path) -> list[str]:
    """The tokens of a list, in order of their ids."""
    return (directory / LIST).read_text(encoding="utf-8").splitlines()


def _pieces(model: bytes, path: Path, again: str) -> set[str]:
    import sentencepiece as spm

    try:
        found = spm.SentencePieceProcessor(model_proto=model)
    except RuntimeError:
        raise StaleError(f"{path}: damaged; {again}") from None
    return {found.id_to_piece(i) for i in range(found.get_piece_size())}


def shape_line(utt: str, transcript: str) -> str:
    """A line of ESPnet's ``text_shape``: "utterance tokens,vocabulary"."""
    return f"{utt} {token_count(transcript)},{len(TOKENS)}\n"


def write_text_shape(path: str | Path, transcripts: dict[str, str]) -> None:
    """Write ESPnet's ``text_shape`` of utterance → transcript."""
    with atomic_file(path) as f:
        f.writelines(shape_line(utt, transcript) for utt, transcript in transcripts.items())
