"""Transcripts as the token list ``char31`` writes them: A-Z, apostrophe, single spaces. One rule a
corpus; learnt lists (``--token_type char`` or ``bpe``) write what rule ``none`` leaves as it is.

==========  ==================================================================================
none        as it is, in any script; stage 3 refuses what the token list cannot write
letters     upper case; marks in <>, [] and {} left out; signs separate words, but for apostrophes;
            & is AND; other signs that are said, % for one, are an error
wsj         ``letters``, and the notation of WSJ's .dot files: verbalised punctuation, deletions
tedlium2    ``letters``, and that of TED-LIUM's .stm files: variants, ``it 's`` joined
==========  ==================================================================================

A word that the corpus does not spell is ``<unk>``, ``[UNK]`` or ``<oov>``: a training utterance
with one is left out, of others the word. Digits, signs that are said and other scripts are nobody's
to guess: they are an error, which names them.
"""

import html
import re
import unicodedata
from collections.abc import Callable

VERSION = 5
"""Raise it when a rule writes the same transcript in another way: sets are made again."""
ZERO_WIDTH_SPACE = "\u200b"
UNKNOWN = re.compile(r"[<\[](?:unk|oov)[>\]]", re.IGNORECASE)
MARK = re.compile(r"<(?!\s)[^<>]*>|\[[^\[\]]*\]|\{[^{}]*\}")
"""A ``<`` with a blank behind it stands for less than."""
LAUGHED = re.compile(r"\[laughter-([^\[\]\s]+)\]", re.IGNORECASE)
"""Switchboard's notation of a word that is said laughing."""
ENTITY = re.compile(r"&#?\w+;")
"""What HTML left: ``&apos;``, ``&#39;``."""
QUOTED = re.compile(r"(?<!\w)‘((?:[^‘’]|’(?=\w))*)’(?!\w)")
"""Between quotes of books. One that is not closed is an apostrophe: ``‘em``."""
INITIALS = re.compile(r"(?<![^\W_])(?:[^\W\d_]\.){2,}(?:[^\W\d_](?![^\W_]))?")
"""``U.S.``, ``U.S.A`` and ``a.m.`` stay one word; one letter and a dot may end a sentence."""
GENITIVE = re.compile(r"\.(?='s(?![^\W_]))", re.IGNORECASE)
QUOTES = re.compile(r"'{2,}")
SPLIT = re.compile(r"(?<=\S)\s+(?=')")
"""Before the second half of a word that TED-LIUM writes in two: ``it 's``."""
APOSTROPHES = str.maketrans(dict.fromkeys("’‘‛ʼ՚＇′ʹ᾽❜`´｀", "'"))
AND = re.compile("[&＆﹠]")
SAID = frozenset("+%‰@#=§°±×÷№")
"""With those of currencies (category Sc) and wide and compound forms, such as ℃: a word each."""
STRESS = re.compile(r"[:!*]")
"""WSJ's notation of how a word is said: ``hi:gh``, ``!not``, ``*mis*``."""
# WSJ's verbalised punctuation is a sign and its name: ,COMMA (LEFT-PAREN 'SINGLE-QUOTE
SIGN_AND_NAME = re.compile(r"[^A-Z0-9<\[]+(?=[A-Z])")


def as_is(text: str) -> str:
    """The transcript as it is."""
    return text


def is_said(sign: str) -> bool:
    """Whether a sign stands for a word that is nobody's to guess: ``%``, ``€``."""
    forms = {sign, *unicodedata.normalize("NFKD", sign)}
    return not SAID.isdisjoint(forms) or any(unicodedata.category(c) == "Sc" for c in forms)


def letters(text: str) -> str:
    """Upper case; marks and accents left out; ``&`` is AND, other signs separate words.

    An apostrophe, dots of ``U.S.`` and in front of ``'s``, and what has no width, separate none.

    Raises:
        ValueError: naming the first digit, sign that is said, or letter of another script.
    """
    text = ENTITY.sub(lambda found: html.unescape(found[0]), text)
    text = MARK.sub(" ", LAUGHED.sub(r"\1", text))
    text = QUOTES.sub(" ", QUOTED.sub(r" \1 ", text).translate(APOSTROPHES))
    text = AND.sub(" AND ", text)
    for char in filter(is_said, text):
        raise ValueError(f"{char!r} (U+{ord(char):04X}) is said as a word: write that")
    text = "".join(" " if unicodedata.category(c)[0] == "S" else c for c in text)  # no TM of a ™
    text = unicodedata.normalize("NFKD", text.upper())
    text = GENITIVE.sub("", INITIALS.sub(lambda found: found[0].replace(".", "") + ".", text))
    kept = []
    for char in text:
        kind = unicodedata.category(char)
        if "A" <= char <= "Z" or char == "'":
            kept.append(char)
        elif kind[0] in "LN":
            raise ValueError(f"{char!r} (U+{ord(char):04X}) is none of A-Z, apostrophe, space")
        elif kind[0] != "M" and (kind != "Cf" or char == ZERO_WIDTH_SPACE):
            kept.append(" ")
    words = QUOTES.sub(" ", "".join(kept)).split()
    return " ".join(word for word in words if word.strip("'"))


def wsj(text: str) -> str:
    """A transcript of WSJ: as in a .dot file, or as Kaldi's and ESPnet's recipes leave it.

    ``<word>`` was said though the prompt was edited, ``[noise]`` and ``<NOISE>`` are no words,
    ``~`` and ``.`` are pauses, ``wo(rd)-`` is said as far as the parenthesis.

    Raises:
        ValueError: see :func:`letters`.
    """
    words = []
    for raw in text.replace("\\", "").translate(APOSTROPHES).upper().split():
        word = raw
        if word in ("~", ".", "<NOISE>", "<SPOKEN_NOISE>", "<UNK>"):
            continue
        said = re.fullmatch(r"<([\w'.-]+)>", word)
        if said:
            word = said[1]
        word = re.sub(r"\([^()]*\)", "", word)
        sign = SIGN_AND_NAME.match(word)
        # 'EM and 'S are words, 'SINGLE-QUOTE is a sign with its name
        if sign and (sign[0] != "'" or word.endswith("QUOTE")):
            word = word[sign.end() :]
        words.append(STRESS.sub("", word))
    return letters(" ".join(words))


def tedlium2(text: str) -> str:
    """A transcript of TED-LIUM 2: as in an .stm file, or as Kaldi's and ESPnet's recipes leave it.

    ``word(2)`` is a variant of its pronunciation; a last ``(name)`` is the utterance's name.

    Raises:
        ValueError: see :func:`letters`.
    """
    text = re.sub(r"\(\d\)", "", text)
    text = re.sub(r"\(\S*\)\s*$", "", text)
    text = SPLIT.sub("", re.sub(r"<sil>", " ", text, flags=re.IGNORECASE))
    text = letters(re.sub(rf"(?:{MARK.pattern})'?\w*", " ", text))  # no 's of a mark is left
    return re.sub(r"'+", "'", SPLIT.sub("", text))


RULES: dict[str, Callable[[str], str]] = {
    "none": as_is,
    "letters": letters,
    "wsj": wsj,
    "tedlium2": tedlium2,
}


def transcript(text: str, rule: str, set_name: str) -> str | None:
    """A transcript by a rule; None where the utterance is to be left out.

    Args:
        text: as the corpus has it.
        rule: name in :data:`RULES`.
        set_name: ``train…`` leaves utterances with ``<unk>`` out.

    Raises:
        ValueError: see :func:`letters`.
    """
    if rule != "none" and set_name.startswith("train") and UNKNOWN.search(text):
        return None
    return RULES[rule](text) or None
