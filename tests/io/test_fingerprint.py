"""A key changes with everything that the result depends on, and with nothing else."""

import hashlib
import os

import pytest

from espnet_dice.io.errors import StaleError
from espnet_dice.io.fingerprint import (
    NAME,
    Fingerprint,
    digest,
    digest_files,
    digest_stat,
    key_of,
    read,
)


def test_digests(tmp_path):
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2}) and digest(1) != digest("1")
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"xy")
    b.write_bytes(b"z")
    parts = hashlib.sha256(b"xy").digest() + hashlib.sha256(b"z").digest()
    assert digest_files([a, b]) == hashlib.sha256(parts).hexdigest()
    assert digest_files([b, a]) != digest_files([a, b])
    before = digest_stat([a, b])
    assert digest_stat([a, b]) == before
    os.utime(a, ns=(0, 0))
    assert digest_stat([a, b]) != before


def test_life_of_a_directory(tmp_path):
    one = Fingerprint("lm", {"units": 64, "lr": 0.1}, {"data": "k1"})
    same = Fingerprint("lm", {"lr": 0.1, "units": 64}, {"data": "k1"})
    assert one.key == same.key and one.why(tmp_path) == "not made yet"
    with pytest.raises(StaleError, match="is missing: run stage 4 first"):
        key_of(tmp_path, "stage 4")
    one.begin(tmp_path)
    assert same.is_same(tmp_path) and not same.is_done(tmp_path)
    assert one.why(tmp_path) == "begun, not finished"
    with pytest.raises(StaleError, match="never finished: run stage 4 again"):
        key_of(tmp_path, "stage 4")
    one.finish(tmp_path)
    assert same.is_done(tmp_path) and key_of(tmp_path, "stage 4") == one.key
    assert read(tmp_path)["settings"] == {"units": 64, "lr": 0.1}


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (Fingerprint("lm", {"units": 65, "path": "x"}, {"data": "k1"}), "changed: path, units"),
        (Fingerprint("lm", {"units": 64}, {"data": "k2", "tokens": "k"}), "changed: data, tokens"),
        (Fingerprint("asr", {"units": 64}, {"data": "k1"}), "changed: stage"),
    ],
)
def test_any_change_is_seen_and_named(tmp_path, other, why):
    Fingerprint("lm", {"units": 64}, {"data": "k1"}).finish(tmp_path)
    assert not other.is_done(tmp_path) and not other.is_same(tmp_path)
    assert other.why(tmp_path) == why


def test_settings_that_json_turns_into_something_else(tmp_path):
    made = Fingerprint("lm", {"speeds": (1, 2), "dir": tmp_path}, {})
    made.finish(tmp_path)
    assert made.is_done(tmp_path) and made.why(tmp_path) == "whole"
    other = Fingerprint("lm", {"speeds": (1, 2), "dir": tmp_path, "new": None}, {})
    assert other.why(tmp_path) == "changed: new"


def test_damaged_record(tmp_path):
    (tmp_path / NAME).write_text("{")
    with pytest.raises(StaleError, match="not JSON .*remove the directory and run again"):
        key_of(tmp_path, "stage 4")
