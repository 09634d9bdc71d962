"""SentencePiece models: the fixed one of 31 tokens, and those learnt from a text."""

import io
import re
from collections.abc import Iterable
from typing import Any

from espnet_dice.io.errors import ConfigError, DataError

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
MODES = ("unigram", "bpe")
LONGEST = 1 << 30
"""Bytes of a sentence; SentencePiece leaves out those of more than 4192 without a word."""
META = 3
"""<unk>, <s> and </s> are a model's first pieces."""


def char_model() -> bytes:
    """The serialised SentencePiece character model over the space mark and ``ALPHABET``.

    Its pieces are <unk>, <s>, </s>, ▁ and the 27 characters; ESPnet uses ``TOKENS`` for the ids.
    """
    size = META + 1 + len(ALPHABET)
    return _train([" ".join(ALPHABET)], model_type="char", vocab_size=size)


def learn(
    sentences: Iterable[str], nbpe: int = 0, mode: str = "unigram", characters: str = ""
) -> bytes:
    """A serialised SentencePiece model, the same for the same sentences in the same order.

    Nothing is normalised: what is decoded is written as the transcripts are.

    Args:
        sentences: transcripts, none of them empty.
        nbpe: pieces, <unk>, <s> and </s> included, which makes a token list of as many; 0: one
            for every character.
        mode: ``unigram`` or ``bpe``.
        characters: those of the text. SentencePiece leaves out the rarest of a text of 33 million
            characters or more, if it is not told.

    Raises:
        ConfigError: the text has more characters than ``nbpe``, or cannot give so many pieces.
        DataError: SentencePiece found nothing to learn from.
    """
    needed = characters.replace(" ", "")
    how = {"model_type": mode, "vocab_size": nbpe, "required_chars": needed}
    if not nbpe:
        how = {"model_type": "char", "use_all_vocab": True}
    try:
        return _train(sentences, max_sentence_length=LONGEST, **how)
    except RuntimeError as err:
        characters = re.search(r"required_chars\. \d+ vs (\d+)", str(err))
        most = re.search(r"value <= (\d+)", str(err))
        if not (characters or most):
            raise DataError(f"SentencePiece learnt nothing from the text: {err}") from err
        bound = f"at least {characters[1]}, one a character" if characters else f"{most[1]} at most"
        more = ", or --bpemode bpe, which makes more" if most and mode == "unigram" else ""
        said = f"--nbpe {nbpe}: this text makes {bound}; give such a number{more}"
        raise ConfigError(said) from err


def processor(model: bytes) -> Any:
    """SentencePiece's processor.

    Raises:
        RuntimeError: the bytes are no model.
    """
    import sentencepiece as spm

    return spm.SentencePieceProcessor(model_proto=model)


def pieces_of(model: Any) -> list[str]:
    """A processor's pieces, <unk>, <s> and </s> first."""
    return [model.id_to_piece(i) for i in range(model.get_piece_size())]


def _train(sentences: Iterable[str], **options: Any) -> bytes:
    import sentencepiece as spm

    out = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=out,
        character_coverage=1.0,
        normalization_rule_name="identity",
        minloglevel=2,
        **options,
    )
    return out.getvalue()
