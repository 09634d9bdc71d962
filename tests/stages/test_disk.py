"""A full or read-only disk, files that vanish or are damaged: told with the file, and run again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from espnet_dice import guards
from espnet_dice.io import checksums, fingerprint
from espnet_dice.io.errors import StaleError, describe
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.records import feature_dir
from espnet_dice.stages import decode, kmeans, labels
from espnet_dice.stages.features import make_features
from espnet_dice.training import jobs
from espnet_dice.training.jobs import run_jobs
from tests.campaign import same
from tests.corpus import make_corpus, write_tables
from tests.io.test_checksums import cut, flip
from tests.stages import tiny

ROOT = Path(__file__).parents[2]


def run(cwd, stage, *args):
    line = [sys.executable, "-m", f"espnet_dice.stages.{stage}", *map(str, args)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True)
    return done.returncode, done.stderr.splitlines()[-1]


@pytest.fixture
def mount(tmp_path):
    """``mount(options)`` puts a small disk on tmp_path/disk; again with "remount,…" changes it."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def do(options):
        line = ["mount", "-t", "tmpfs", "-o", options, "none", str(disk)]
        if subprocess.run(line, capture_output=True).returncode:
            pytest.skip("mounting a disk is not allowed here")
        return disk

    yield do
    subprocess.run(["umount", str(disk)], capture_output=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Utterances of a long recording, so that audio is cut and written, not only named."""
    data = make_corpus(tmp_path_factory.mktemp("corpus") / "data/x", 1, 30.0)
    ids = [f"u{i:02}" for i in range(12)]
    rows = {"segments": [], "text": [], "utt2spk": []}
    for i, utt in enumerate(ids):
        rows["segments"].append(f"{utt} u000 {2 * i} {2 * i + 2}")
        rows["text"].append(f"{utt} SIX TEN")
        rows["utt2spk"].append(f"{utt} s{i % 2}")
    return write_tables(data, **rows)


@pytest.mark.parametrize("feats_type", ["fbank", "raw"])
def test_a_full_disk(corpus, mount, tmp_path, feats_type):
    disk = mount("size=160k")
    args = ["--data_dir", corpus, "--out_dir", disk / "x", "--feats_type", feats_type, "--nj", "1"]
    code, said = run(tmp_path, "features", *args)
    assert code == 2
    assert said.startswith(f"error: no space left while writing {disk}/x/")
    assert said.endswith(": free some disk and run the same command again")
    assert not [p for p in disk.rglob("*") if p.is_file() and p.name != fingerprint.NAME]
    mount("remount,size=40m")
    assert run(tmp_path, "features", *args)[0] == 0
    made = same.describe(disk / "x")
    shutil.rmtree(disk / "x")
    make_features(corpus, disk / "x", feats_type)
    assert same.describe(disk / "x") == made


def test_a_checkpoint_on_a_full_disk(mount, monkeypatch):
    disk = mount("size=1m")
    monkeypatch.setattr(torch, "save", torch.save)
    guards.save_whole_files()
    torch.save(torch.zeros(1000), disk / "x.pth")
    before = (disk / "x.pth").read_bytes()
    with pytest.raises(OSError) as caught:
        torch.save(torch.zeros(1_000_000), disk / "x.pth")
    assert describe(caught.value).startswith(f"no space left while writing {disk}/x.pth: free some")
    assert {p.name: p.read_bytes() for p in disk.iterdir()} == {"x.pth": before}


def test_a_directory_that_is_read_only(corpus, mount, tmp_path):
    disk = mount("ro")
    code, said = run(
        tmp_path, "features", "--data_dir", corpus, "--out_dir", disk / "x", "--feats_type", "fbank"
    )
    assert code == 2
    assert said.startswith(f"error: {disk}/x: Read-only file system; choose a directory that you")
    script = ROOT / "egs2/TEMPLATE/dice1/dice.sh"
    sets = ["--train_set", "x", "--valid_set", "x", "--test_sets", "x", "--python", sys.executable]
    done = subprocess.run([str(script), *sets], cwd=disk, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {disk}/log cannot be written: choose a directory")


def quantizer(dump):
    """k-means on MFCC of the dump, and its labels: what reads waveforms first."""
    sets = [feature_dir.load(dump)]
    kmeans.make_quantizer("mfcc", 0, 4, sets, Path("q"), sample_frames=500)
    labels.label_sets("mfcc", 0, Path("q"), sets, Path("labels"), coding=labels.Coding(soft=False))


@pytest.mark.parametrize("damage", [flip, cut, os.unlink])
@pytest.mark.parametrize(
    ("of", "told"),
    [
        ("dump/x/wavs.1/u03.flac", "dump/x/wavs.1"),
        ("dump/x/text", "dump/x/text"),
        ("q/centroids.npy", "q/centroids.npy"),
    ],
)
def test_damage_is_told_by_what_reads_it_and_made_good(
    corpus, tmp_path, monkeypatch, of, told, damage
):
    monkeypatch.chdir(tmp_path)
    make_features(corpus, "dump/x", "raw")
    quantizer("dump/x")
    made = same.describe(tmp_path)
    shutil.rmtree("labels")
    damage(Path(of))
    checksums._seen.clear()
    with pytest.raises(StaleError, match=f"^{told}: .* again"):
        quantizer("dump/x")
    # the recipe again, from its first stage
    make_features(corpus, "dump/x", "raw")
    quantizer("dump/x")
    assert same.describe(tmp_path) == made


@pytest.mark.parametrize("damage", [flip, cut, os.unlink])
@pytest.mark.parametrize("name", ["valid.acc.ave_2best.pth", "checkpoint.pth", "2epoch.pth"])
def test_a_damaged_model_is_made_again(recipe, tmp_path, monkeypatch, name, damage):
    for part in ("data", "dump"):
        (tmp_path / part).symlink_to(recipe.root / part)
    shutil.copytree(recipe.root / recipe.plain, tmp_path / recipe.plain, symlinks=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "cores", lambda: 1)  # threads, as when it was trained beside another
    job = tiny.asr_job("plain_seed0", tiny.asr_config())
    made = same.describe(job.out)
    assert run_jobs([job]) == 0
    damage(job.out / name) if damage is not flip else flip(job.out / name, 5000)
    if name != "valid.acc.ave_2best.pth":  # these are read where a training goes on
        fingerprint.unfinish(job.out, fingerprint.read(job.out))
    assert run_jobs([job]) == 1
    found = same.describe(job.out)
    assert [k for k in {*made, *found} if made.get(k) != found.get(k)] == []


def test_damaged_features_are_neither_trained_on_nor_decoded(recipe, tmp_path, monkeypatch):
    for name in tiny.SIZES:
        made = shutil.copytree(recipe.root / tiny.DUMP / name, tmp_path / tiny.DUMP / name)
        features = Fingerprint("features", {"seed": name}, {})
        features.finish(made, checksums.of(made.glob("*.*")))
        flip(made / "feats.ark", 500)
    (tmp_path / "data").symlink_to(recipe.root / "data")
    (tmp_path / "conf").mkdir()
    shutil.copytree(recipe.root / recipe.plain, tmp_path / recipe.plain, symlinks=True)
    monkeypatch.chdir(tmp_path)
    damaged = r"feats\.ark: its bytes are not those that were written"
    job = tiny.asr_job("x_seed0", tiny.asr_config())
    with pytest.raises(StaleError, match=rf"{tiny.DUMP}/train/{damaged}"):
        run_jobs([job])
    assert not job.out.exists()
    config = tiny.write_config("conf/decode.yaml", tiny.DECODE)
    decodings = decode.plan([recipe.plain], [tiny.DUMP / "test"], None, [False], config)
    with pytest.raises(StaleError, match=rf"{tiny.DUMP}/test/{damaged}"):
        decode.run(decodings)
