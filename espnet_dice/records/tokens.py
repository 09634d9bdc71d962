"""The token list that all corpora and models of a recipe share.

``char31`` is fixed: its key depends on no corpus. ``char`` and ``bpe`` are learnt from the training
transcripts; their key is that of the text, and of the model that was learnt.
"""

import hashlib
from functools import cached_property
from itertools import zip_longest
from pathlib import Path

from espnet_dice.io.atomic import atomic_file
from espnet_dice.io.errors import StaleError
from espnet_dice.io.fingerprint import key_of as fingerprint_key
from espnet_dice.io.fingerprint import read
from espnet_dice.records.token_models import ALPHABET, META, char_model, pieces_of, processor

BLANK, UNKNOWN, SPACE, EOS = "<blank>", "<unk>", "▁", "<sos/eos>"
TOKENS = (BLANK, UNKNOWN, SPACE, *ALPHABET, EOS)
FIXED, CHAR, BPE = "char31", "char", "bpe"
TYPES = (FIXED, CHAR, BPE)
MODEL, LIST = "bpe.model", "tokens.txt"
STAGE = "stage 3 (tokens)"


class TokenList:
    """Tokens in order of their ids, and the model that cuts transcripts into them.

    Args:
        model: a serialised SentencePiece model.
        learnt: it was learnt from a text, and its pieces are the tokens; else ``TOKENS`` are.
        key: of the directory.

    Raises:
        RuntimeError: the bytes are no model.
    """

    def __init__(self, model: bytes, learnt: bool, key: str = ""):
        self.model, self.learnt, self.key = model, learnt, key
        self.pieces = processor(model)
        self.entries = (BLANK, UNKNOWN, *pieces_of(self.pieces)[META:], EOS) if learnt else TOKENS

    @cached_property
    def characters(self) -> frozenset[str]:
        """Those that it can write, the space among them: every one has a token of its own."""
        single = {token for token in self.entries if len(token) == 1}
        return frozenset(single - {SPACE} | {" "})

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.entries)

    def written(self, transcript: str) -> list[str]:
        """The tokens of a transcript, without <sos/eos>; <unk> for what was never seen."""
        pieces = self.pieces.encode(transcript, out_type=str)
        return [piece if piece in self._known else UNKNOWN for piece in pieces]

    def shape_line(self, utt: str, transcript: str) -> str:
        """A line of ESPnet's ``text_shape``: "utterance tokens,vocabulary"."""
        return f"{utt} {len(self.pieces.encode(transcript))},{len(self.entries)}\n"

    def write_text_shape(self, path: str | Path, texts: dict[str, str]) -> None:
        """Write ESPnet's ``text_shape`` of utterance → transcript."""
        with atomic_file(path) as f:
            f.writelines(self.shape_line(utt, transcript) for utt, transcript in texts.items())


def fixed() -> TokenList:
    """The 31 tokens."""
    return TokenList(char_model(), learnt=False)


def load(directory: Path) -> TokenList:
    """Read a token list, and see that its files are what the list is.

    A list whose entries were swapped, or a model of other pieces, trains without a complaint and
    decodes to nonsense.

    Raises:
        StaleError: it is missing, unfinished, of another stage, or its files are not the list's.
    """
    directory = Path(directory)
    key = fingerprint_key(directory, STAGE)
    again = f"remove {directory} and run {STAGE} again"
    record = read(directory) or {}
    if record.get("stage") != "tokens":
        raise StaleError(f"{directory}: no token list; name that of {STAGE}")
    learnt = "type" in record["settings"]
    path = directory / LIST
    try:
        lines = path.read_bytes().decode("utf-8", "backslashreplace").removesuffix("\n").split("\n")
        model = (directory / MODEL).read_bytes()
    except FileNotFoundError as err:
        raise StaleError(f"{err.filename}: missing; {again}") from None
    try:
        found = TokenList(model, learnt, key)
    except RuntimeError:
        raise StaleError(f"{directory / MODEL}: damaged; {again}") from None
    if learnt and digest_model(model) != record["inputs"].get("model"):
        raise StaleError(f"{directory / MODEL}: not the model that was learnt; {again}")
    for n, (listed, wanted) in enumerate(zip_longest(lines, found.entries), 1):
        if listed != wanted:
            said = ["nothing" if token is None else repr(token) for token in (listed, wanted)]
            raise StaleError(
                f"{path}:{n}: {said[0]}, must be {said[1]}: the list of another run; {again}"
            )
    differing = {*pieces_of(found.pieces)} ^ {*found.entries[1:-1], "<s>", "</s>"}
    if differing:
        raise StaleError(
            f"{directory / MODEL}: a model of another vocabulary ({LIST} or it has no "
            f"{max(differing)!r}); {again}"
        )
    return found


def digest_model(model: bytes) -> str:
    """SHA-256 (hex) of a serialised model."""
    return hashlib.sha256(model).hexdigest()


def key_of(directory: Path) -> str:
    """The key of a token list, once it was checked, see :func:`load`."""
    return load(directory).key


def entries(directory: Path) -> list[str]:
    """The tokens of a list, in order of their ids."""
    return (directory / LIST).read_text(encoding="utf-8").removesuffix("\n").split("\n")
