"""Several codebooks in one store: each as it would be alone, and one as it has always been."""

import json
import struct
import zlib

import numpy as np
import pytest
import torch

from espnet_dice.io.errors import DataError
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.labels import codebooks, codec, label_report, store
from espnet_dice.labels.codebook import Codebook
from espnet_dice.records.phones import Phone
from tests.labels.mixture import mixture

SPANS = [(0, 16), (0, 16), (16, 24)]


@pytest.fixture(scope="module")
def made():
    """Features of two layers, (300, 24); K = 20 and 7 of the first, 9 of the second."""
    first, twenty = mixture(300, 20, 16)
    second, nine = mixture(300, 9, 8)
    books = [codec.fit(twenty, first), codec.fit(twenty[:7], first), codec.fit(nine, second)]
    return np.concatenate([first, second], 1), codebooks.of(books, SPANS)


def test_records_are_those_of_each_codebook_alone(made):
    features, several = made
    records = several.encode(features)
    assert records.shape[1] == several.width == sum(book.width for book in several.books)
    assert several.clusters == [20, 7, 9]
    tables = [book.as_dict() for book in several.books]
    whole = torch.from_numpy(records.astype(np.int64))
    for n, (book, (begin, end)) in enumerate(zip(several.books, SPANS, strict=True)):
        alone = book.encode(features[:, begin:end])
        np.testing.assert_array_equal(records[:, n], alone[:, 0])
        own = codebooks.own_records(whole, tables, n)
        np.testing.assert_array_equal(own, alone)
        assert torch.equal(codec.distances(own, tables[n]), codec.distances(own, book))
    with pytest.raises(DataError, match="another label store"):
        codebooks.own_records(whole[:, 1:], tables, 0)


def test_what_is_stored_comes_back(tmp_path, made):
    features, several = made
    codebooks.save(several, tmp_path / "c")
    again = codebooks.load(tmp_path / "c")
    assert again.spans == several.spans and again.kl == several.kl
    assert [book.spread for book in again.books] == [book.spread for book in several.books]
    np.testing.assert_array_equal(again.encode(features), several.encode(features))
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:-3])
    with pytest.raises(DataError, match="damaged"):
        codebooks.load(tmp_path / "c")


@pytest.mark.parametrize("soft", [True, False])
def test_a_store_of_several(tmp_path, made, soft):
    features, several = made
    if not soft:
        hard = [Codebook.hard(book.centroids) for book in several.books]
        several = codebooks.of(hard, SPANS)
    records = {"a": several.encode(features[:9]), "b": several.encode(features[9:50])}
    store.write(tmp_path / "s", several, records)
    Fingerprint("labels", {}, {}).finish(tmp_path / "s")
    reader = store.Reader(tmp_path / "s")
    reader.check()
    for utt, rows in records.items():
        assert reader.ids(utt).shape == (len(rows), 3)
        np.testing.assert_array_equal(reader.ids(utt), rows[:, :3])
        np.testing.assert_array_equal(reader[utt], rows)
    assert reader.meta["clusters"] == [20, 7, 9]
    assert [one["clusters"] for one in store.each(reader.meta)] == [20, 7, 9]
    assert (tmp_path / "s/labels.1.bin").stat().st_size == 50 * several.bytes_per_frame


def test_a_store_of_one_is_the_bytes_that_its_format_says(tmp_path, made):
    features, several = made
    book, x = several.books[0], features[:9, :16]
    store.write(tmp_path, book, {"a": book.encode(x)})
    rows = book.encode(x).astype(int)
    ids = struct.pack("<9H", *rows[:, 0])
    code = struct.pack(f"<{9 * (book.width - 1)}H", *rows[:, 1:].ravel())
    assert (tmp_path / "labels.1.bin").read_bytes() == ids + code
    crcs = f"{zlib.crc32(ids):08x} {zlib.crc32(code):08x}"
    assert (tmp_path / "labels.scp").read_text() == f"a labels.1.bin:0 9 {crcs}\n"
    meta = json.loads((tmp_path / "store.json").read_text())
    assert meta["clusters"] == 20 and store.each(meta) == [meta]
    from safetensors import safe_open

    with safe_open(tmp_path / "codebook.safetensors", "np") as f:
        assert sorted(f.keys()) == ["basis", "bits", "centroids", "scores", "steps"]
        assert list(f.metadata()) == ["codebook"]


def test_agreement_is_that_of_each(tmp_path, made):
    features, several = made
    records = {"a": several.encode(features)}
    index = store.write_shard(tmp_path / "s/labels.1.bin", records.items(), 3)
    more = {"layer": [4, 4, 8], "clusters_used": [20, 7, 9], "perplexity": [9.0, 5.0, 6.0]}
    store.write_index(tmp_path / "s", several, index, more)
    Fingerprint("labels", {}, {}).finish(tmp_path / "s")
    phones = np.random.default_rng(0).integers(0, 4, 300)
    spoken = [
        Phone("a", 0.02 * t, 0.02 * (t + 1), f"p{name}", "", "", "", "")
        for t, name in enumerate(phones)
    ]
    from sklearn.metrics import homogeneity_score

    reader = store.Reader(tmp_path / "s")
    for n in range(3):
        found = label_report.compare(
            lambda utt, n=n: reader.ids(utt)[:, n], several.clusters[n], {"a": spoken}
        )
        assert found["pnmi"] == pytest.approx(homogeneity_score(phones, records["a"][:, n]))
        assert found["speakers"] is None  # there is one
    agreements = label_report.measure(tmp_path / "s", {"a": spoken})
    lines = label_report.describe(tmp_path / "s", agreements).splitlines()
    assert len(lines) == 4 and "codebook 2, layer 8: 9 of 9 clusters used" in lines[3]
