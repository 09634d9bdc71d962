"""Texts of any kind become sentences that the token list can write."""

import bz2
import gzip
import lzma
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_dice.io.errors import DataError
from espnet_dice.records import tokens
from espnet_dice.records.transcripts import check_text
from local.lm_text import write_sentences

ROOT = Path(__file__).resolve().parents[2]


def test_kaldis_text_and_packed_sentences(tmp_path):
    (tmp_path / "text").write_text("wsj1_1 THE CAT ,COMMA\nwsj1_2 IN 1987\nwsj1_3 <NOISE>\n")
    with gzip.open(tmp_path / "more.txt.gz", "wt") as f:
        f.write("the dog\n\na <unk> cat\nit's café\n")
    out = tmp_path / "lm/all.txt"
    paths = [tmp_path / "text", tmp_path / "more.txt.gz"]
    assert write_sentences(out, paths, "wsj") == (3, 4)
    said = check_text(out, tokens.fixed())
    assert list(said.values()) == ["THE CAT COMMA", "THE DOG", "IT'S CAFE"]


def test_what_cannot_be_read(tmp_path):
    for name, data, message in (
        ("a.txt", b"fine\n\xff\xfe\n", r"a\.txt: not UTF-8 \(.*; convert it"),
        ("b.txt.gz", gzip.compress(b"A\n" * 9)[:-9], r"b\.txt\.gz: line \d+ cannot be read"),
        ("b.txt", bz2.compress(b"A\n"), r"b\.txt: packed by bzip2; unpack it"),
        ("x.txt", lzma.compress(b"A\n"), r"x\.txt: packed by xz; unpack it"),
        ("l.txt", "A\n".encode("utf-16-le"), r"l\.txt: line 1: a control character \(U\+0000\)"),
        ("w.txt", "A\nit\x92s\n".encode(), r"w\.txt: line 2: a control character \(U\+0092\)"),
        ("c.txt", b"7\n8\n", r"c\.txt: no sentence is left by --text_rules letters"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=message):
            write_sentences(tmp_path / "out.txt", [tmp_path / name], "letters")
    assert not (tmp_path / "out.txt").exists()
    command = [sys.executable, ROOT / "local/lm_text.py", "--out", tmp_path / "out", tmp_path / "c"]
    failed = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert failed.returncode == 2 and "must end in .txt" in failed.stderr


SENTENCES = ["ALPHA BRAVO", "CHARLIE", "DELTA ECHO FOXTROT"]


@pytest.mark.parametrize(
    "name", ["text", "text.gz", "lm.txt", "lm.txt.gz", "lm", "packed.txt", "plain.txt.gz"]
)
@pytest.mark.parametrize("space", [" ", "\t", " \t "])
def test_no_word_is_lost_and_no_id_is_said(tmp_path, name, space):
    """However the text is written: tabs, Windows's line ends, marks, packed."""
    kaldi = name.startswith("text")
    rows = [f"spk-utt{'abc'[i]}{space}" * kaldi + said for i, said in enumerate(SENTENCES)]
    data = "".join(f"\ufeff{row.replace(' ', space)}\r\n" for row in rows).encode()
    packed = (name.endswith(".gz") or name.startswith("packed")) and "plain" not in name
    (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
    assert write_sentences(tmp_path / "out.txt", [tmp_path / name], "letters") == (3, 0)
    assert (tmp_path / "out.txt").read_text().splitlines() == SENTENCES
    if kaldi or ".txt" in name:  # stages 3 and 4 read it themselves
        assert list(check_text(tmp_path / name, tokens.fixed()).values()) == SENTENCES


@pytest.mark.parametrize("bits", [16, 32])
def test_utf16_is_named(tmp_path, bits):
    (tmp_path / "a.txt").write_text("ALPHA\n", encoding=f"utf-{bits}")
    readers = (
        lambda path: check_text(path, tokens.fixed()),
        lambda path: write_sentences(tmp_path / "o.txt", [path], "letters"),
    )
    for read in readers:
        with pytest.raises(
            DataError, match=rf"a\.txt: UTF-{bits}; convert it: iconv -f UTF-{bits}"
        ):
            read(tmp_path / "a.txt")


def test_other_scripts_are_kept_as_they_are(tmp_path):
    (tmp_path / "text").write_text("u1 γάτα  και\tσκύλος\nu2\nu3 don’t 7\n", encoding="utf-8")
    assert write_sentences(tmp_path / "out.txt", [tmp_path / "text"], "none") == (2, 1)
    said = (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines()
    assert said == ["γάτα και σκύλος", "don’t 7"]
