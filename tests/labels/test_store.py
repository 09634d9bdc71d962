"""The label store: what goes in comes out, at random and in other processes; damage is seen."""

import pickle
import shutil

import numpy as np
import pytest

from espnet_dice.io.errors import DataError, StaleError
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.labels import codec, store
from espnet_dice.labels.codebook import Codebook
from tests.labels.mixture import mixture

LENGTHS = {"long": 50, "one-frame": 1, "ünï": 13, "zz": 7}
MADE_FROM = {"source": "s", "quantizer": "q", "data": "d"}


@pytest.fixture(scope="module")
def made():
    """A codebook, and the records of some utterances."""
    features, centroids = mixture(500, 20, 16)
    codebook = codec.fit(centroids, features)
    edges = np.cumsum([0, *LENGTHS.values()])
    spans = zip(LENGTHS, edges, edges[1:], strict=False)
    return codebook, {utt: codebook.encode(features[a:b]) for utt, a, b in spans}


@pytest.fixture
def directory(tmp_path, made):
    """A finished store of two shards."""
    codebook, records = made
    items, index = list(records.items()), {}
    for number, part in enumerate((items[:2], items[2:]), 1):
        index |= store.write_shard(tmp_path / "s" / store.shard_name(number), part)
    store.write_index(tmp_path / "s", codebook, index, {"source": "tiny"})
    Fingerprint("labels", {}, MADE_FROM).finish(tmp_path / "s")
    return tmp_path / "s"


def test_round_trip_in_any_order(directory, made):
    reader = store.Reader(directory)
    assert list(reader) == list(LENGTHS)
    assert len(reader) == 4
    assert "zz" in reader
    assert "none" not in reader
    for utt in reversed(LENGTHS):
        got = reader[utt]
        assert got.dtype == np.int32  # ESPnet takes signed integers only
        np.testing.assert_array_equal(got, made[1][utt])
        ids = reader.ids(utt)
        assert ids.dtype == np.int64
        np.testing.assert_array_equal(ids, got[:, 0])
        assert reader.frames(utt) == LENGTHS[utt]
    with pytest.raises(KeyError):
        reader["none"]
    with pytest.raises(KeyError):
        reader.ids("none")
    reader.check()


def test_words_above_int16_stay_positive(tmp_path):
    codebook = Codebook.hard(np.zeros((3, 2)))
    store.write(tmp_path, codebook, {"a": np.array([[65535], [32768]], "<u2")})
    Fingerprint("labels", {}, {}).finish(tmp_path)
    assert store.Reader(tmp_path)["a"].tolist() == [[65535], [32768]]
    assert store.Reader(tmp_path).ids("a").tolist() == [65535, 32768]


def test_what_it_says_of_itself(directory, made):
    reader = store.Reader(directory)
    meta = reader.meta
    assert meta["clusters"] == 20
    assert meta["frames"] == 71
    assert meta["utterances"] == 4
    assert meta["bytes_per_frame"] == made[0].bytes_per_frame
    assert meta["source"] == "tiny"
    size = sum(p.stat().st_size for p in directory.glob("*.bin"))
    assert size == 71 * made[0].bytes_per_frame
    np.testing.assert_array_equal(reader.codebook.centroids, made[0].centroids)


def test_the_same_records_give_the_same_bytes(directory, tmp_path, made):
    for copy in ("a", "b"):
        store.write(tmp_path / copy, *made)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_a_used_reader_goes_to_another_process(directory, made):
    reader = store.Reader(directory)
    reader["zz"]
    again = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(again["long"], made[1]["long"])
    # the shards themselves do not travel
    assert len(pickle.dumps(reader)) == len(pickle.dumps(store.Reader(directory)))


def test_hard_labels_do_not_need_the_code(directory, made):
    """Damage in the code of an utterance is seen by those who read it, and by nobody else."""
    shard = directory / store.shard_name(1)
    data = bytearray(shard.read_bytes())
    data[2 * LENGTHS["long"] + 5] ^= 1
    shard.write_bytes(data)
    reader = store.Reader(directory)
    np.testing.assert_array_equal(reader.ids("long"), made[1]["long"][:, 0])
    reader["one-frame"]
    with pytest.raises(DataError, match=r"labels\.1\.bin.*long"):
        reader["long"]
    with pytest.raises(DataError, match="long"):
        reader.check()


def test_every_flipped_byte_is_seen(directory):
    shard = directory / store.shard_name(2)
    whole = shard.read_bytes()
    for at in range(0, len(whole), 17):
        data = bytearray(whole)
        data[at] ^= 0x40
        shard.write_bytes(data)
        with pytest.raises(DataError, match="checksum"):
            store.Reader(directory).check()


@pytest.mark.parametrize(
    "name", ["labels.1.bin", "labels.2.bin", "labels.scp", "codebook.safetensors", "store.json"]
)
@pytest.mark.parametrize("damage", ["removed", "truncated", "longer", "other"])
def test_damaged_files(directory, tmp_path, name, damage):
    path = directory / name
    data = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        broken = {"truncated": data[:-1], "longer": data + b"\1\1", "other": bytes(len(data))}
        path.write_bytes(broken[damage])
        if name == "store.json" and damage == "truncated":
            path.write_bytes(data[:-5])
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        store.Reader(directory).check()


def test_unfinished_or_missing(directory, made):
    with pytest.raises(StaleError, match="missing"):
        store.Reader(directory / "none")
    Fingerprint("labels", {}, MADE_FROM).begin(directory)
    with pytest.raises(StaleError, match="never finished"):
        store.Reader(directory)


def test_labels_of_something_else_are_refused(directory):
    key = store.check(directory, source="s", quantizer="q", data="d")
    assert key == store.Reader(directory).key
    assert store.check(directory) == key
    with pytest.raises(StaleError, match="another teacher or layer .*label again"):
        store.check(directory, source="t", data="d")
    with pytest.raises(StaleError, match="another quantizer and another data"):
        store.check(directory, quantizer="x", data="y")
    shutil.rmtree(directory)
    with pytest.raises(StaleError, match="missing"):
        store.check(directory)


def test_records_of_another_codebook_are_refused(directory, made):
    import torch

    features, centroids = mixture(500, 20, 16)
    other = codec.fit(centroids, features, max_bytes=made[0].bytes_per_frame - 2)
    with pytest.raises(DataError, match="another label store"):
        codec.distances(torch.from_numpy(store.Reader(directory)["zz"]), other)


def test_writing_refuses(tmp_path):
    records = np.zeros((2, 3), "<u2")
    with pytest.raises(DataError, match="a: labelled twice"):
        store.write_shard(tmp_path / "x.bin", [("a", records), ("a", records)])
    with pytest.raises(DataError, match="a: no frames"):
        store.write_shard(tmp_path / "x.bin", [("a", records[:0])])
    assert not list(tmp_path.iterdir())
