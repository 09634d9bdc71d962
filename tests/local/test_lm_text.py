"""Texts of any kind become sentences that the token list can write."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_dice.io.errors import DataError
from espnet_dice.records.tokens import check_text
from local.lm_text import write_sentences

ROOT = Path(__file__).resolve().parents[2]


def test_kaldis_text_and_packed_sentences(tmp_path):
    (tmp_path / "text").write_text("wsj1_1 THE CAT ,COMMA\nwsj1_2 IN 1987\nwsj1_3 <NOISE>\n")
    with gzip.open(tmp_path / "more.txt.gz", "wt") as f:
        f.write("the dog\n\na <unk> cat\nit's café\n")
    out = tmp_path / "lm/all.txt"
    paths = [tmp_path / "text", tmp_path / "more.txt.gz"]
    assert write_sentences(out, paths, "wsj") == (3, 4)
    assert list(check_text(out).values()) == ["THE CAT COMMA", "THE DOG", "IT'S CAFE"]


def test_what_cannot_be_read(tmp_path):
    for name, data, message in (
        ("a.txt", b"fine\n\xff\xfe\n", r"a\.txt: line \d cannot be read"),
        ("b.txt.gz", b"no gzip", r"b\.txt\.gz: line 1 cannot be read"),
        ("c.txt", b"7\n8\n", r"c\.txt: no sentence is left by --text_rules letters"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=message):
            write_sentences(tmp_path / "out.txt", [tmp_path / name], "letters")
    assert not (tmp_path / "out.txt").exists()
    command = [sys.executable, ROOT / "local/lm_text.py", "--out", tmp_path / "out", tmp_path / "c"]
    failed = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert failed.returncode == 2 and "must end in .txt" in failed.stderr
