"""Sentences for the language model: a text of any size, written as --text_rules say.

    python local/lm_text.py --text_rules wsj --out data/lm_text/other.txt ESPNET/…/other_text/text
    python local/lm_text.py --out data/lm_text/libri.txt librispeech-lm-norm.txt.gz

A file called ``text`` or ``text.gz`` is Kaldi's, with an id first; of others every line is a
sentence. What is packed by gzip is unpacked. Sentences that a rule cannot write (digits, other
scripts), and those with ``<unk>``, are left out and counted; the rule ``none`` keeps all as they
are, for learnt token lists.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from espnet_dice.io.atomic import atomic_file
from espnet_dice.io.errors import DataError, cli
from espnet_dice.io.texts import lines, split_id, unpacked_name
from local.text_rules import RULES, transcript


def sentences(path: Path) -> Iterator[str]:
    """The sentences of a file, as they are.

    Raises:
        DataError: it is not UTF-8, or not what its name says.
    """
    kaldi = unpacked_name(path) == "text"
    for line in lines(path):
        yield split_id(line)[1] if kaldi else line


def write_sentences(out: Path, paths: list[Path], rule: str) -> tuple[int, int]:
    """Write the sentences of all files to ``out``, in one step.

    Returns:
        Sentences written, sentences left out.

    Raises:
        DataError: a file cannot be read, or none of its sentences is left.
    """
    written = left = 0
    with atomic_file(out) as f:
        for path in paths:
            before = written
            for said in sentences(path):
                try:
                    text = transcript(said, rule, "train")
                except ValueError:
                    text = None
                text = " ".join((text or "").split())
                if text:
                    f.write(f"{text}\n")
                    written += 1
                else:
                    left += 1
            if written == before:
                raise DataError(f"{path}: no sentence is left by --text_rules {rule}")
    return written, left


def main() -> None:
    """The command."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--out", required=True, type=Path, help="file of sentences, ….txt")
    p.add_argument(
        "--text_rules",
        choices=sorted(RULES),
        default="letters",
        help="(letters)",
    )
    p.add_argument("texts", nargs="+", type=Path, help="Kaldi's text, or sentences, perhaps .gz")
    a = p.parse_args()
    if a.out.suffix != ".txt":
        raise DataError(f"--out {a.out}: must end in .txt, which is how bare sentences are known")
    written, left = write_sentences(a.out, a.texts, a.text_rules)
    print(f"{a.out}: {written} sentences, {left} left out")


if __name__ == "__main__":
    cli(main)
