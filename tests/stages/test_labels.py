"""Stage 4: exact labels, whatever the batches; the same bytes, whatever the processes and kills."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import homogeneity_score, mutual_info_score

from espnet_dice.features import mfcc
from espnet_dice.hubert import upstreams
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.io import fingerprint
from espnet_dice.io.errors import DataError, ProblemList, StaleError
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.labels import codec, kmeans, label_report, label_shards, quantizer, store
from espnet_dice.labels.codebook import Codebook
from espnet_dice.records import feature_dir
from espnet_dice.stages import labels
from espnet_dice.stages.features import make_features
from tests.corpus import make_corpus, noise, write_audio
from tests.hubert import tiny_models

ROOT = Path(__file__).parents[2]
MANY, K = 120, 16  # two shards


def start(cwd, *args):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, *map(str, args)]
    pipe = subprocess.PIPE
    return subprocess.Popen(run, cwd=cwd, env=env, stdout=pipe, stderr=pipe, text=True)


def contents(directory):
    files = (p for p in directory.rglob("*") if p.is_file())
    return {str(p.relative_to(directory)): p.read_bytes() for p in files}


def make_dump(
    root: Path, name: str, utterances: int, seconds: float = 0.06
) -> feature_dir.FeatureDir:
    make_corpus(root / "data" / name, utterances, seconds)
    make_features(root / "data" / name, root / "dump" / name, "raw")
    return feature_dir.load(root / "dump" / name)


def make_quantizer(directory: Path, centroids: np.ndarray, source="mfcc", layer=0) -> Path:
    directory.mkdir(parents=True)
    quantizer.save(directory, centroids)
    made_from = {"source": upstreams.layer_key_of(source, layer)}
    Fingerprint("kmeans", {"clusters": len(centroids)}, made_from).finish(directory)
    return directory


def speech_of(dump: feature_dir.FeatureDir) -> dict[str, np.ndarray]:
    lines = (dump.path / "wav.scp").read_text().splitlines()
    return {u: soundfile.read(p, dtype="float32")[0] for u, p in (x.split() for x in lines)}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Speech of two sets, their MFCC at 50 Hz, and a quantizer."""
    root = tmp_path_factory.mktemp("labels")
    train, dev = make_dump(root, "train", MANY), make_dump(root, "dev", 5, 0.3)
    features = {u: mfcc(w, 16000)[::2] for d in (train, dev) for u, w in speech_of(d).items()}
    centroids = kmeans.fit(np.concatenate(list(features.values())), K, 0)
    return root, train, dev, make_quantizer(root / "km", centroids)


def test_labels_are_those_of_the_features(world, tmp_path):
    _, train, dev, km = world
    assert labels.label_sets("mfcc", 0, km, [train, dev], tmp_path) == 2
    centroids = quantizer.load(km).centroids
    for dump in (train, dev):
        reader = store.Reader(tmp_path / dump.name)
        reader.check()
        assert list(reader) == sorted(dump.lengths)
        uses = np.zeros(K, int)
        for utt, wave in speech_of(dump).items():
            exact = cdist(mfcc(wave, 16000)[::2], centroids)
            assert reader.frames(utt) == n_frames(dump.lengths[utt]) == len(exact)
            np.testing.assert_array_equal(reader.ids(utt), exact.argmin(1))
            decoded = codec.distances(torch.from_numpy(reader[utt]), reader.codebook)
            np.testing.assert_allclose(decoded, exact, rtol=0.05)
            uses += np.bincount(exact.argmin(1), minlength=K)
        assert reader.meta["clusters_used"] == (uses > 0).sum()
    # one codebook for both, or a student could not be validated on what it is trained on
    books = [(tmp_path / d.name / store.CODEBOOK).read_bytes() for d in (train, dev)]
    assert books[0] == books[1]
    line = label_report.describe(tmp_path / "dev")
    assert "5 utterances" in line and f"of {K} clusters used" in line and "perplexity" in line
    assert "soft labels spread over" in line


def test_as_many_labels_as_frames_at_every_length():
    codebook = Codebook.hard(np.eye(3, 39))
    wave = noise(0.25).astype(np.float32)
    for samples in range(400, 4001):
        found = label_shards.label(upstreams.SPECTRAL["mfcc"], codebook, {"u": wave[:samples]})
        assert len(found["u"]) == n_frames(samples), samples


HANG = """
import sys, time, espnet_dice.stages.labels as labels
from espnet_dice.records import feature_dir
read = feature_dir.Waves.__getitem__
def hang(self, utt):
    while utt == "u090":
        time.sleep(1)
    return read(self, utt)
feature_dir.Waves.__getitem__ = hang
labels.main(sys.argv[1:])
"""


def test_killed_run_is_taken_up_and_ends_byte_identical(world, tmp_path):
    """The first run hangs at one utterance of the second shard, and is killed there."""
    root, train, _, km = world
    args = ["--source", "mfcc", "--layer", 0, "--quantizer", km, "--dump", root / "dump"]
    args += ["--sets", "train", "--out", tmp_path / "out", "--nj"]
    out = tmp_path / "out" / "train"
    hung = [*map(str, [*args, 1])]
    labels.make_codebook(  # fitted to the speech of which the run will not have all
        "mfcc", 0, quantizer.load(km), train, tmp_path / "out", labels.Coding()
    )
    process = start(tmp_path, "-c", HANG, *hung)
    limit = time.monotonic() + 90
    while not list(out.glob(".labels.2.bin.*")):
        assert process.poll() is None and time.monotonic() < limit, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (out / "labels.1.bin").exists() and not (out / "labels.2.bin").exists()
    with pytest.raises(StaleError, match="never finished"):
        store.Reader(out)
    first = (out / "labels.1.bin").stat().st_mtime_ns
    process = start(tmp_path, "-m", "espnet_dice.stages.labels", *args, 2)
    log = process.communicate()[1]
    assert process.returncode == 0 and "1 of 2 shards kept" in log, log
    assert (out / "labels.1.bin").stat().st_mtime_ns == first
    store.Reader(out).check()
    # in one go, by this process, with as many threads as there are
    labels.label_sets("mfcc", 0, km, [train], tmp_path / "again")
    assert contents(out) == contents(tmp_path / "again" / "train")


def test_nothing_is_redone_unless_something_changed(world, tmp_path):
    _, train, dev, km = world
    assert labels.label_sets("mfcc", 0, km, [train, dev], tmp_path) == 2
    before = contents(tmp_path)
    assert labels.label_sets("mfcc", 0, km, [train, dev], tmp_path) == 0
    shard = tmp_path / "train" / "labels.2.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"labels\.2\.bin"):
        store.Reader(tmp_path / "train")
    assert labels.label_sets("mfcc", 0, km, [train, dev], tmp_path) == 1
    assert contents(tmp_path) == before
    # another code: both sets again, and nothing of the old one stays
    coding = labels.Coding(soft=False)
    assert labels.label_sets("mfcc", 0, km, [train, dev], tmp_path, coding=coding) == 2
    assert store.Reader(tmp_path / "dev").width == 1
    assert set(contents(tmp_path)) == set(before)


def test_hard_labels_do_not_depend_on_the_code(world, tmp_path):
    _, _, dev, km = world
    labels.label_sets("mfcc", 0, km, [dev], tmp_path / "a", coding=labels.Coding(soft=False))
    labels.label_sets("mfcc", 0, km, [dev], tmp_path / "b", coding=labels.Coding(tau=5.0))
    one, other = (store.Reader(tmp_path / name / "dev") for name in "ab")
    for utt in one:
        np.testing.assert_array_equal(one.ids(utt), other.ids(utt))
    # two bytes a frame, nothing else
    assert (tmp_path / "a/dev/labels.1.bin").stat().st_size == 2 * one.meta["frames"]


class Sloppy:
    """A source whose batches are off by what float32 may be off, and whose frames are near ties."""

    key, dim, stride = "sloppy", 2, 320
    alone = 0

    def features(self, wave):
        self.alone += 1
        n = n_frames(len(wave))
        x = torch.zeros(n, 2)
        x[:, 0] = 10 + torch.arange(n) * 0.5 + float(wave[0]) * 1e-5
        return x

    def batch(self, waves):
        error = 4e-6 * torch.tensor([1.0, -1.0])
        return [self.features(w) * (1 + error[i % 2]) for i, w in enumerate(waves)]


def test_a_label_does_not_depend_on_its_batch():
    """Centroids stand so that every second frame lies between two, up to 1e-5."""
    codebook = Codebook.hard(np.stack([np.arange(0, 40) + 10.0, np.zeros(40)], 1))
    rng = np.random.default_rng(0)
    speech = {f"u{i}": rng.normal(size=400 + 320 * i).astype(np.float32) for i in range(20)}
    source = Sloppy()
    alone = {u: label_shards.label(source, codebook, {u: w})[u] for u, w in speech.items()}
    together = label_shards.label(source, codebook, speech)
    raw = [codebook.encode(x) for x in source.batch(list(speech.values()))]
    assert any((r != a).any() for r, a in zip(raw, alone.values(), strict=True))
    for utt in speech:
        np.testing.assert_array_equal(together[utt], alone[utt])


def test_only_utterances_with_near_ties_are_heard_twice():
    codebook = Codebook.hard(np.stack([np.arange(0, 40) + 10.2, np.zeros(40)], 1))
    speech = {f"u{i}": np.zeros(400 + 320 * i, np.float32) for i in range(5)}
    source = Sloppy()
    label_shards.label(source, codebook, speech)
    assert source.alone == 5  # once each, by batch()


def test_a_teachers_labels_in_batches(world, tmp_path):
    _, _, dev, _ = world
    tiny_models.save(tmp_path / "hubert")
    teacher = upstreams.load_layer(tmp_path / "hubert", 2)
    frames = torch.cat([teacher.features(w) for w in speech_of(dev).values()]).numpy()
    km = make_quantizer(tmp_path / "km", kmeans.fit(frames, K, 0), tmp_path / "hubert", 2)
    args = (str(tmp_path / "hubert"), 2, km, [dev])
    labels.label_sets(*args, tmp_path / "alone")
    labels.label_sets(*args, tmp_path / "together", batch_frames=100)
    from transformers import HubertModel

    model = HubertModel.from_pretrained(tmp_path / "hubert").eval()
    alone, together = (store.Reader(tmp_path / a / "dev") for a in ("alone", "together"))
    for utt, wave in speech_of(dev).items():
        np.testing.assert_array_equal(alone.ids(utt), together.ids(utt))
        wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        with torch.no_grad():
            state = model(torch.from_numpy(wave)[None], output_hidden_states=True)
        exact = cdist(state.hidden_states[2][0], quantizer.load(km).centroids)
        np.testing.assert_array_equal(alone.ids(utt), exact.argmin(1))


@pytest.mark.parametrize("frames", [0, 10, 10**6])
def test_batches_hold_everything_once(frames):
    entries = tuple((f"u{i}", 400 + 320 * (i * 7 % 30)) for i in range(50))
    made = label_shards.batches(entries, frames)
    assert sorted(e for batch in made for e in batch) == sorted(entries)
    for batch in made:
        longest = max(n_frames(n) for _, n in batch)
        assert len(batch) == 1 or len(batch) * longest <= frames
    assert len(made) == {0: 50, 10**6: 1}.get(frames, len(made))


def test_a_quantizer_of_another_layer_is_refused(world, tmp_path):
    _, train, _, _ = world
    other = tmp_path / "km"
    other.mkdir()
    quantizer.save(other, np.eye(3, 39))
    Fingerprint("kmeans", {}, {"source": "another"}).finish(other)
    with pytest.raises(StaleError, match=r"km was not made from .*mfcc.*stage 3"):
        labels.label_sets("mfcc", 0, other, [train], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_of_another_quantizer_are_made_again(world, tmp_path):
    _, _, dev, km = world
    labels.label_sets("mfcc", 0, km, [dev], tmp_path)
    key = fingerprint.key_of(tmp_path / "dev", "")
    more = make_quantizer(tmp_path / "more", quantizer.load(km).centroids[: K - 1])
    assert labels.label_sets("mfcc", 0, more, [dev], tmp_path) == 1
    assert fingerprint.key_of(tmp_path / "dev", "") != key
    assert store.Reader(tmp_path / "dev").meta["clusters"] == K - 1


def test_short_utterances_are_all_named(world, tmp_path):
    _, train, _, km = world
    make_corpus(tmp_path / "data", 4)
    for utt, samples in (("u001", 399), ("u003", 1)):
        write_audio(tmp_path / "data/audio" / f"{utt}.wav", noise(1)[:samples])
    make_features(tmp_path / "data", tmp_path / "dump", "raw")
    dump = feature_dir.load(tmp_path / "dump")
    with pytest.raises(ProblemList, match="2 problems") as caught:
        labels.label_sets("mfcc", 0, km, [train, dump], tmp_path / "out")
    assert "u001: shorter than one frame (400 samples" in str(caught.value)
    assert "u003" in str(caught.value)
    assert not (tmp_path / "out" / "dump").exists()


def test_unreadable_speech_is_all_named_and_nothing_is_whole(world, tmp_path):
    _, train, _, km = world
    make_corpus(tmp_path / "data", 5)
    make_features(tmp_path / "data", tmp_path / "dump", "raw")
    for utt in ("u001", "u004"):
        (tmp_path / "data/audio" / f"{utt}.wav").write_bytes(b"RIFF")
    with pytest.raises(ProblemList, match="2 problems") as caught:
        labels.label_sets(
            "mfcc", 0, km, [train, feature_dir.load(tmp_path / "dump")], tmp_path / "out"
        )
    assert "u001" in str(caught.value) and "u004" in str(caught.value)
    assert not list((tmp_path / "out" / "dump").glob("labels.*"))
    with pytest.raises(StaleError):
        store.Reader(tmp_path / "out" / "dump")


@pytest.mark.parametrize(
    "found, said",
    [(lambda x: x[:-1], "stride"), (lambda x: x * float("nan"), "NaN"), (lambda x: x[:, 1:], "D")],
)
def test_a_source_that_is_wrong(world, tmp_path, monkeypatch, found, said):
    _, train, _, km = world
    plain = upstreams.Spectral.features
    label_shards._source.cache_clear()
    labels.make_codebook("mfcc", 0, quantizer.load(km), train, tmp_path, labels.Coding())
    monkeypatch.setattr(upstreams.Spectral, "features", lambda self, wave: found(plain(self, wave)))
    with pytest.raises(ProblemList, match=f"u000: .*{said}"):
        labels.label_sets("mfcc", 0, km, [train], tmp_path)
    assert not list((tmp_path / "train").glob("labels.*"))


def test_silent_speech(world, tmp_path):
    _, _, _, km = world
    make_corpus(tmp_path / "data", 3)
    for path in (tmp_path / "data/audio").iterdir():
        write_audio(path, np.zeros(16000))
    make_features(tmp_path / "data", tmp_path / "dump", "raw")
    with pytest.raises(DataError, match="silent"):
        labels.label_sets("mfcc", 0, km, [feature_dir.load(tmp_path / "dump")], tmp_path / "out")
    with pytest.raises(StaleError):
        store.Reader(tmp_path / "out" / "dump")


def test_agreement_with_phones(world, tmp_path, capsys):
    """Against scikit-learn's mutual information, over the frames that are in a phone."""
    _, _, dev, km = world
    rng = np.random.default_rng(0)
    lines, flat = ["#file onset offset #phone prev-phone next-phone speaker"], {}
    who = {utt: f"s{i % 2}" for i, utt in enumerate(dev.lengths)}
    for utt, samples in dev.lengths.items():
        flat[utt] = rng.choice(["", "A", "B", "C"], n_frames(samples))
        lines += [
            f"{utt} {0.02 * t:.2f} {0.02 * t + 0.02:.2f} {phone} x y {who[utt]}"
            for t, phone in enumerate(flat[utt])
            if phone
        ]
    (tmp_path / "ali").write_text("\n".join(lines) + "\n")
    argv = f"--source mfcc --layer 0 --quantizer {km} --dump {dev.path.parent} --sets {dev.name}"
    argv = [*argv.split(), "--out", str(tmp_path / "l"), "--alignment", str(tmp_path / "ali")]
    labels.main([*argv, "--nj", "1"])
    reader = store.Reader(tmp_path / "l" / dev.name)
    (got,) = label_report.measured(reader.directory)
    phones = np.concatenate(list(flat.values()))
    speakers = np.concatenate([[who[utt]] * len(own) for utt, own in flat.items()])[phones != ""]
    ids = np.concatenate([reader.ids(utt).ravel() for utt in flat])[phones != ""]
    phones = phones[phones != ""]
    _, counts = np.unique(phones, return_counts=True)
    entropy = -(counts / len(phones) * np.log(counts / len(phones))).sum()
    assert got["pnmi"] == pytest.approx(mutual_info_score(phones, ids) / entropy)
    assert got["pnmi"] == pytest.approx(homogeneity_score(phones, ids))
    assert got["speakers"] == pytest.approx(homogeneity_score(speakers, ids))
    assert (got["frames"], got["utterances"], got["phones"]) == (len(ids), len(flat), 3)
    said = capsys.readouterr().out
    assert f"PNMI {got['pnmi']:.3f}, phone purity" in said
    assert f"of the speakers' entropy {got['speakers']:.3f}" in said
    again = tmp_path / "l" / f"agreement_{dev.name}.json"
    again.write_text(again.read_text().replace('"key": "', '"key": "x'))  # of other labels
    assert label_report.measured(reader.directory) == []


def test_an_alignment_that_does_not_fit_is_said_before_labels_are_made(world, tmp_path):
    _, _, dev, km = world
    (tmp_path / "ali").write_text("u000 1 0.1 9 AH\n")
    argv = f"--source mfcc --layer 0 --quantizer {km} --dump {dev.path.parent} --sets {dev.name}"
    with pytest.raises(DataError, match="ali:1: u000: AH from 0.1 to 9.1 s"):
        labels.main(
            [*argv.split(), "--out", str(tmp_path / "l"), "--alignment", str(tmp_path / "ali")]
        )
    assert not (tmp_path / "l").exists()


def test_too_few_bytes_are_said_and_stay_readable(world, tmp_path, caplog):
    _, _, dev, km = world
    with caplog.at_level(logging.WARNING):
        labels.label_sets("mfcc", 0, km, [dev], tmp_path, coding=labels.Coding(max_bytes=6))
    assert "--max_bytes" in caplog.text
    assert store.Reader(tmp_path / "dev").meta["bytes_per_frame"] == 6


def test_help_is_quick():
    code = (
        "import sys, espnet_dice.stages.labels; assert not {'torch', 'espnet2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
