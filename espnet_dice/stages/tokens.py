"""Stage 3: one SentencePiece model and one token list for all corpora and models of a recipe.

``char31`` is fixed: the characters A-Z, apostrophe and space. Nothing depends on the letters that a
corpus happens to contain, and adding a corpus leaves the teachers valid. ``char`` (every character
that occurs) and ``bpe`` are learnt from the training transcripts, whatever their script; another
text makes teachers and students anew.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from espnet_dice.io import options
from espnet_dice.io.atomic import atomic_dir
from espnet_dice.io.errors import ConfigError, cli
from espnet_dice.io.fingerprint import Fingerprint, read
from espnet_dice.io.progress import setup_logging
from espnet_dice.records import token_models, tokens, transcripts
from espnet_dice.records.tokens import BPE, CHAR, FIXED, LIST, MODEL, TYPES, TokenList

NBPE = 30


def make_tokens(
    out: str | Path,
    others: Iterable[str | Path] = (),
    kind: str = FIXED,
    train: Iterable[str | Path] = (),
    learn_from: Iterable[str | Path] = (),
    nbpe: int = NBPE,
    mode: str = "unigram",
) -> bool:
    """Write ``bpe.model`` and ``tokens.txt`` to ``out`` and check texts against them.

    Args:
        out: the token list's directory, e.g. ``data/token_list/char31``.
        others: Kaldi ``text`` files of development and test sets, and of the language model.
        kind: ``char31``, ``char`` or ``bpe``.
        train: Kaldi ``text`` files of all training sets.
        learn_from: texts to learn from; none: ``train``.
        nbpe, mode: of ``bpe``, see :func:`token_models.learn`.

    Returns:
        True if the list was made, False if it was there.

    Raises:
        ProblemList: a text is wrong; with a learnt list, a character that none of the texts it was
            learnt from has is wrong in ``train`` only, and one warning counts those in ``others``.
        ConfigError: there is no text to learn from, or it does not make ``nbpe`` pieces.
    """
    out, train = Path(out), list(dict.fromkeys(train))
    if kind == FIXED:
        known = tokens.fixed()
        made_from = Fingerprint("tokens", {"tokens": tokens.TOKENS, "model": "char"}, {})
    else:
        sources = list(dict.fromkeys(learn_from)) or train
        if not sources:
            raise ConfigError(f"--type {kind}: name the training texts, --train TEXT …")
        how = {"type": kind} | ({"nbpe": nbpe, "mode": mode} if kind == BPE else {})
        known, made_from = _learnt(out, how, sources, nbpe if kind == BPE else 0, mode)
    for text in train:
        _read(text, known)
    unseen = transcripts.Unseen()
    for text in others:
        _read(text, known, unseen)
    if unseen.number:
        logging.warning(
            "%d characters of %d utterances are not in %s and are read as <unk>: %s; the first "
            "is in %s", unseen.number, unseen.utterances, out,
            " ".join(map(repr, sorted(unseen.characters))), unseen.first,
        )  # fmt: skip
    if made_from.is_done(out):
        tokens.load(out)
        return False
    if read(out):
        logging.info("%s: %s; made again", out, made_from.why(out))
    with atomic_dir(out) as tmp:
        (tmp / MODEL).write_bytes(known.model)
        (tmp / LIST).write_text("".join(f"{t}\n" for t in known.entries), encoding="utf-8")
        made_from.finish(tmp)
    return True


def _learnt(
    out: Path, how: dict, sources: list[str | Path], nbpe: int, mode: str
) -> tuple[TokenList, Fingerprint]:
    """The list that is there, if it was learnt from this, or a new one; and its fingerprint."""
    summed, characters = hashlib.sha256(), set()
    for sentence in _sentences(sources):
        summed.update(f"{sentence}\n".encode())
        characters.update(sentence)
    inputs = {"text": summed.hexdigest()}
    record = read(out) or {}
    before = record.get("inputs", {})
    if record.get("settings") == how and before.get("text") == inputs["text"]:
        made_from = Fingerprint("tokens", how, inputs | {"model": before.get("model")})
        if made_from.is_done(out):
            return tokens.load(out), made_from
    model = token_models.learn(_sentences(sources), nbpe, mode, "".join(sorted(characters)))
    known = TokenList(model, learnt=True)
    return known, Fingerprint("tokens", how, inputs | {"model": tokens.digest_model(known.model)})


def _sentences(paths: Iterable[str | Path]) -> Iterator[str]:
    for path in paths:
        for _, sentence in transcripts.read_text(path, None):
            yield sentence


def _read(path: str | Path, known: TokenList, unseen: transcripts.Unseen | None = None) -> None:
    for _ in transcripts.read_text(path, known, unseen):
        pass


def main(argv: list[str] | None = None) -> None:
    """Make the token list and check texts: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("--out", required=True, type=Path, help="directory of the token list")
    parser.add_argument("--type", default=FIXED, choices=TYPES, help="char31 is fixed")
    parser.add_argument("--nbpe", type=int, default=NBPE, help="tokens of bpe")
    parser.add_argument(
        "--bpemode", default="unigram", choices=token_models.MODES, help="kind of bpe's model"
    )
    parser.add_argument(
        "--train", nargs="*", default=[], metavar="TEXT", help="Kaldi text files of training sets"
    )
    parser.add_argument(
        "--learn", nargs="*", default=[], metavar="TEXT",
        help="texts that char and bpe are learnt from, if not from --train",
    )  # fmt: skip
    parser.add_argument("texts", nargs="*", help="other Kaldi text files to check")
    args = parser.parse_args(argv)
    setup_logging()
    if args.type != CHAR and args.nbpe < 1:
        raise ConfigError(f"--nbpe {args.nbpe}: give a number of tokens")
    made = make_tokens(
        args.out, args.texts, args.type, args.train, args.learn, args.nbpe, args.bpemode
    )
    state = "made" if made else "unchanged"
    number = len(tokens.entries(args.out))
    checked = len(args.texts) + len(args.train)
    print(f"{args.out}: {number} tokens, {state}; {checked} texts checked")


if __name__ == "__main__":
    cli(main)
