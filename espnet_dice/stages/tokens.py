"""Stage 3: one SentencePiece character model and one list of 31 tokens for all corpora and models.

The list is fixed, and so is the model: a character model knows no more than its alphabet, so
nothing depends on the letters that a corpus happens to contain, and adding a corpus leaves the
teachers valid.
"""

from collections.abc import Iterable
from pathlib import Path

from espnet_dice.io import options
from espnet_dice.io.atomic import atomic_dir
from espnet_dice.io.errors import cli
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.io.progress import setup_logging
from espnet_dice.records.tokens import LIST, MODEL, TOKENS, char_model, key_of, read_text


def make_tokens(out: str | Path, texts: Iterable[str | Path] = ()) -> bool:
    """Write ``bpe.model`` and ``tokens.txt`` to ``out`` and check texts against them.

    Args:
        out: the token list's directory, e.g. ``data/token_list/char31``.
        texts: Kaldi ``text`` files of every corpus that is used.

    Returns:
        True if the list was made, False if it was there.
    """
    for text in texts:
        for _ in read_text(text):
            pass
    out = Path(out)
    fingerprint = Fingerprint("tokens", {"tokens": TOKENS, "model": "char"}, {})
    if fingerprint.is_done(out):
        key_of(out)
        return False
    with atomic_dir(out) as tmp:
        (tmp / MODEL).write_bytes(char_model())
        (tmp / LIST).write_text("".join(f"{t}\n" for t in TOKENS), encoding="utf-8")
        fingerprint.finish(tmp)
    return True


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
