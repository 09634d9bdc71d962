"""Stage 3: one SentencePiece character model and one list of 31 tokens for all corpora and models.

The list is fixed, and so is the model: a character model knows no more than its alphabet, so
nothing depends on the letters that a corpus happens to contain, and adding a corpus leaves the
teachers valid.
"""

import io
from collections.abc import Iterable
from pathlib import Path

from espnet_dice.io import options
from espnet_dice.io.atomic import atomic_dir, atomic_file
from espnet_dice.io.errors import DataError, ProblemList, cli
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.io.progress import setup_logging

SPACE = "▁"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
TOKENS = ("<blank>", "<unk>", SPACE, *ALPHABET, "<sos/eos>")
MODEL, LIST = "bpe.model", "tokens.txt"


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
    """Read a text and check that it holds characters of the token list only.

    Args:
        path: Kaldi's ``text`` ("utterance words …"), or a ``….txt`` with bare sentences, whose
            utterances are then called ``<stem>-<line>``.

    Returns:
        utterance → transcript, in file order, words separated by single spaces.

    Raises:
        ProblemList: naming file, line and utterance of each problem.
    """
    path = Path(path)
    allowed = frozenset(ALPHABET + " ")
    texts: dict[str, str] = {}
    problems = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} is missing: prepare the set first (stages 1 and 2)") from None
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: not UTF-8 ({err})") from None
    for n, line in enumerate(lines, 1):
        utt, *words = line.split() or [""]
        if path.suffix == ".txt":
            utt, words = f"{path.stem}-{n:07d}", line.split()
        if not words:
            problems.append(f"{path}:{n}: utterance {utt or '(no id)'}: empty transcript")
            continue
        if utt in texts:
            problems.append(f"{path}:{n}: utterance {utt}: listed twice")
        texts[utt] = transcript = " ".join(words)
        foreign = sorted(set(transcript) - allowed)
        if foreign:
            shown = " ".join(map(repr, foreign))
            hint = "; transcripts are upper-case" if transcript != transcript.upper() else ""
            problems.append(f"{path}:{n}: utterance {utt}: {shown} not in the token list{hint}")
    if not lines:
        problems.append(f"{path}: empty file")
    if problems:
        raise ProblemList(f"{path} cannot be written with the {len(TOKENS)} tokens", problems)
    return texts


def make_tokens(out: str | Path, texts: Iterable[str | Path] = ()) -> bool:
    """Write ``bpe.model`` and ``tokens.txt`` to ``out`` and check texts against them.

    Args:
        out: the token list's directory, e.g. ``data/token_list/char31``.
        texts: Kaldi ``text`` files of every corpus that is used.

    Returns:
        True if the list was made, False if it was there.
    """
    for text in texts:
        check_text(text)
    out = Path(out)
    fingerprint = Fingerprint("tokens", {"tokens": TOKENS, "model": "char"}, {})
    if fingerprint.is_done(out):
        return False
    with atomic_dir(out) as tmp:
        (tmp / MODEL).write_bytes(char_model())
        (tmp / LIST).write_text("".join(f"{t}\n" for t in TOKENS), encoding="utf-8")
        fingerprint.finish(tmp)
    return True


def write_text_shape(path: str | Path, texts: dict[str, str]) -> None:
    """Write ESPnet's ``text_shape``: "utterance tokens,vocabulary" a line."""
    with atomic_file(path) as f:
        for utt, transcript in texts.items():
            f.write(f"{utt} {token_count(transcript)},{len(TOKENS)}\n")


def main(argv: list[str] | None = None) -> None:
    """Make the token list and check texts: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("--out", required=True, help="directory of the token list")
    parser.add_argument("texts", nargs="*", help="Kaldi text files to check")
    args = parser.parse_args(argv)
    setup_logging()
    made = make_tokens(args.out, args.texts)
    state = "made" if made else "unchanged"
    print(f"{args.out}: {len(TOKENS)} tokens, {state}; {len(args.texts)} texts checked")


if __name__ == "__main__":
    cli(main)
