"""Stage 2: the same files whatever the number of processes, after a kill, and never stale ones."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from espnet_dice.features import fbank, fbank_pitch
from espnet_dice.io import fingerprint
from espnet_dice.io.arks import ArkReader
from espnet_dice.io.audio import AudioOptions
from espnet_dice.io.errors import ConfigError, DataError, ProblemList
from espnet_dice.records import feature_dir
from espnet_dice.stages.features import make_features
from tests.corpus import RATE, make_corpus, noise, write_audio, write_tables

ROOT = Path(__file__).parents[2]
MANY = 120  # two shards


def start(cwd, *args):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-m", "espnet_dice.stages.features", *map(str, args)]
    pipe = subprocess.PIPE
    how = {"stdout": pipe, "stderr": pipe, "text": True, "start_new_session": True}
    return subprocess.Popen(run, cwd=cwd, env=env, **how)


def command(cwd, *args):
    process = start(cwd, *args)
    out, err = process.communicate()
    return process.returncode, out + err


def contents(directory):
    files = (p for p in directory.rglob("*") if p.is_file())
    return {str(p.relative_to(directory)): p.read_bytes() for p in files}


def times(directory):
    return {p.name: p.stat().st_mtime_ns for p in directory.iterdir() if p.is_file()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("many") / "data" / "x", MANY, seconds=0.06)


def test_files_and_values(tmp_path):
    data = make_corpus(tmp_path / "d", 4)
    out = tmp_path / "out"
    assert make_features(data, out, "fbank_pitch")
    theirs = kaldiio.load_scp(str(out / "feats.scp"))
    rows = []
    for i in range(4):
        wave, rate = soundfile.read(data / "audio" / f"u00{i}.wav", dtype="int16")
        want = fbank_pitch(wave, rate, seed=f"u00{i}")
        assert want.shape[1] == 83
        np.testing.assert_array_equal(theirs[f"u00{i}"], want)
        rows.append(want.astype(np.float64))
    lengths = [len(r) for r in rows]
    lines = {name: (out / name).read_text().splitlines() for name in ("text", "utt2spk")}
    assert lines["text"] == (data / "text").read_text().splitlines()
    assert lines["utt2spk"] == (data / "utt2spk").read_text().splitlines()
    assert (out / "feats_type").read_text() == "fbank_pitch\n"
    shapes = (out / "feats_shape").read_text().split()
    assert shapes == [x for i, n in enumerate(lengths) for x in (f"u00{i}", f"{n},83")]
    frames = (out / "utt2num_frames").read_text().split()
    assert frames[1::2] == [str(n) for n in lengths]
    stats = np.load(out / "feats_stats.npz")
    frames = np.concatenate(rows)
    assert stats["count"] == len(frames)
    np.testing.assert_allclose(stats["sum"], frames.sum(0), rtol=1e-12)
    np.testing.assert_allclose(stats["sum_square"], np.square(frames).sum(0), rtol=1e-12)


def test_files_do_not_depend_on_the_number_of_processes(tmp_path, corpus):
    made = []
    for nj in (1, 3):
        cwd = tmp_path / str(nj)
        cwd.mkdir()
        (cwd / "data").symlink_to(corpus.parent)
        code, log = command(cwd, "--sets", "x", "--feats_type", "fbank", "--nj", nj)
        assert code == 0, log
        made.append(contents(cwd / "dump" / "fbank" / "x"))
    assert made[0].keys() == made[1].keys() and "feats.2.ark" in made[0]
    for name in made[0]:
        assert made[0][name] == made[1][name], name


def test_killed_run_is_taken_up_and_ends_byte_identical(tmp_path, corpus):
    """One utterance of the second shard waits for a file, so the kill hits it half-way."""
    data = tmp_path / "data" / "x"
    shutil.copytree(corpus, data, copy_function=shutil.copy2)
    lines = (data / "wav.scp").read_text().splitlines()
    wait = f"u090 while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; cat audio/u090.wav |"
    write_tables(data, wav_scp=[wait if x.startswith("u090") else x for x in lines])
    args = ["--sets", "x", "--feats_type", "fbank", "--nj", 2, "--allow_pipes", "true"]
    out = tmp_path / "dump" / "fbank" / "x"
    process = start(tmp_path, *args)
    limit = time.monotonic() + 60
    while not (out / ".shards" / "1.json").exists() or not list(out.glob(".feats.2.ark.*")):
        assert process.poll() is None and time.monotonic() < limit, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not fingerprint.read(out)["done"] and not (out / "feats.scp").exists()
    assert not (out / "feats.2.ark").exists()
    with pytest.raises(fingerprint.StaleError, match="never finished"):
        fingerprint.key_of(out, "stage 2")
    first = (out / "feats.1.ark").stat().st_mtime_ns
    (tmp_path / "go").touch()
    code, log = command(tmp_path, *args)
    assert code == 0 and "1 of 2 shards kept" in log, log
    assert (out / "feats.1.ark").stat().st_mtime_ns == first
    resumed = contents(out)
    shutil.rmtree(out)
    assert command(tmp_path, *args)[0] == 0
    assert contents(out) == resumed
    assert not [name for name in resumed if name.endswith(".tmp")]


def test_interrupt_leaves_nothing_half_written(tmp_path, corpus):
    data = tmp_path / "data" / "x"
    shutil.copytree(corpus, data, copy_function=shutil.copy2)
    lines = (data / "wav.scp").read_text().splitlines()
    wait = "u090 touch here; sleep 30; cat audio/u090.wav |"
    write_tables(data, wav_scp=[wait if x.startswith("u090") else x for x in lines])
    args = ["--sets", "x", "--feats_type", "fbank", "--nj", 2, "--allow_pipes", "true"]
    process = start(tmp_path, *args)
    limit = time.monotonic() + 60
    while not (data / "here").exists():
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.02)
    with pytest.raises(DataError, match="another process is writing it"):
        make_features(
            data, tmp_path / "dump/fbank/x", "fbank", audio=AudioOptions(allow_pipes=True)
        )
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    err = process.communicate()[1]
    assert process.returncode == 130 and "run the same command again" in err, err
    assert "Traceback" not in err
    left = {p.name for p in (tmp_path / "dump/fbank/x").iterdir()}
    assert left <= {".fingerprint.json", ".shards", "feats.1.ark"}


def test_nothing_is_redone_unless_something_changed(tmp_path, corpus, caplog):
    data, out = tmp_path / "d", tmp_path / "out"
    shutil.copytree(corpus, data, copy_function=shutil.copy2)
    assert make_features(data, out, "fbank")
    before = times(out)
    assert not make_features(data, out, "fbank")
    assert times(out) == before

    # another transcript: tables are written again, audio is not read again
    text = (data / "text").read_text().replace("u000 ONE ONE", "u000 ELEVEN")
    (data / "text").write_text(text)
    assert make_features(data, out, "fbank")
    after = times(out)
    assert (out / "text").read_text().startswith("u000 ELEVEN\n")
    for name in ("feats.1.ark", "feats.2.ark"):
        assert after[name] == before[name]

    # other audio: its shard is made again
    write_audio(data / "audio" / "u119.wav", noise(0.2))
    assert make_features(data, out, "fbank")
    last = times(out)
    assert last["feats.1.ark"] == before["feats.1.ark"]
    assert last["feats.2.ark"] != before["feats.2.ark"]
    assert ArkReader(out / "feats.scp").shape("u119") == (18, 80)

    # a damaged archive is noticed
    whole = (out / "feats.1.ark").read_bytes()
    (out / "feats.1.ark").write_bytes(whole[:-1])
    assert make_features(data, out, "fbank")
    assert (out / "feats.1.ark").read_bytes() == whole
    assert not make_features(data, out, "fbank")

    # fewer utterances: nothing of the second shard stays
    for name in ("wav.scp", "text", "utt2spk"):
        lines = (data / name).read_text().splitlines()[:20]
        (data / name).write_text("".join(f"{line}\n" for line in lines))
    assert make_features(data, out, "fbank")
    assert not (out / "feats.2.ark").exists() and len(ArkReader(out / "feats.scp")) == 20


def test_another_setting_is_another_result(tmp_path):
    data, out = make_corpus(tmp_path / "d"), tmp_path / "out"
    make_features(data, out, "fbank")
    key = fingerprint.key_of(out, "stage 2")
    make_features(data, out, "fbank_pitch")
    assert fingerprint.key_of(out, "stage 2") != key
    assert ArkReader(out / "feats.scp").shape("u000")[1] == 83
    make_features(data, out, "raw")
    assert not (out / "feats.scp").exists() and not list(out.glob("*.ark"))


def test_bad_utterances_are_all_named_and_nothing_is_whole(tmp_path):
    data, out = make_corpus(tmp_path / "d", 5), tmp_path / "dump" / "x"
    write_audio(data / "audio" / "u001.wav", noise(0.02))
    write_audio(data / "audio" / "u002.wav", np.full(4000, np.nan), subtype="FLOAT")
    write_audio(data / "audio" / "u004.wav", noise(0.5) * 30000, subtype="FLOAT")
    with pytest.raises(ProblemList) as err:
        make_features(data, out, "fbank")
    short, nan, scale = err.value.problems
    assert "wav.scp:2: u001: " in short and "20.0 ms are too short for one frame" in short
    assert "wav.scp:3: u002: " in nan and "NaN" in nan
    assert "wav.scp:5: u004: " in scale and "must lie in [-1, 1]" in scale
    assert not fingerprint.read(out)["done"]
    assert {p.name for p in out.iterdir()} == {".fingerprint.json"}
    code, log = command(tmp_path, "--data_dir", "d", "--out_dir", "o", "--feats_type", "fbank")
    assert code == 2 and "error: d: 3 problems" in log and "Traceback" not in log


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    data = make_corpus(tmp_path / "d")
    for out in (data, tmp_path):
        with pytest.raises(DataError, match="not empty, and not made by this stage"):
            make_features(data, out, "fbank")
    assert len(list((data / "audio").iterdir())) == 3
    with pytest.raises(ConfigError, match="feats_type 'mfcc': choose one of"):
        make_features(data, tmp_path / "o", "mfcc")


def test_raw_is_what_espnet_reads(tmp_path):
    sound_scp = pytest.importorskip("espnet2.fileio.sound_scp")
    a, b = noise(0.5), noise(0.5, 1)
    write_audio(tmp_path / "d" / "a.wav", a)
    write_audio(tmp_path / "d" / "b.wav", b)
    data = write_tables(
        tmp_path / "d",
        wav_scp=["ra a.wav", "rb b.wav"],
        segments=["one ra 0 -1", "two rb 0.1 0.3", "a/b rb 0.3 0.5"],
        text=["one A", "two B", "a/b C"],
        utt2spk=["one s", "two s", "a/b s"],
    )
    out = tmp_path / "out"
    make_features(data, out, "raw")
    reader = sound_scp.SoundScpReader(str(out / "wav.scp"))
    want = {"a/b": b[4800:8000], "one": a, "two": b[1600:4800]}
    assert list(reader.keys()) == list(want)
    for utt, samples in want.items():
        rate, got = reader[utt]
        assert rate == RATE
        np.testing.assert_allclose(got, samples, atol=1 / 32768)
    lines = (out / "utt2num_samples").read_text().splitlines()
    assert lines == ["a/b 3200", "one 8000", "two 3200"]
    # whole files of the right kind are pointed to, not copied
    assert f"one {data}/a.wav" in (out / "wav.scp").read_text()
    assert not make_features(data, out, "raw")


def test_espnet_reads_the_arks(tmp_path):
    """ESPnet's type ``kaldi_ark`` is omniio from 202611 on, and kaldiio before."""
    data, out = make_corpus(tmp_path / "d"), tmp_path / "o u t"
    make_features(data, out, "fbank")
    try:
        from omniio import kaldi
    except ImportError:
        kaldi = kaldiio
    loader = kaldi.load_scp(str(out / "feats.scp"), max_cache_fd=32)
    ours = ArkReader(out / "feats.scp")
    for utt in ours:
        np.testing.assert_array_equal(loader[utt], ours[utt])


def test_speed_perturbation(tmp_path):
    data, out = make_corpus(tmp_path / "d", 2), tmp_path / "out"
    make_features(data, out, "fbank", speeds=(0.9, 1.0, 1.1))
    feats = ArkReader(out / "feats.scp")
    ids = [f"sp{s}-u00{i}" for s in ("0.9", "1.1") for i in range(2)] + ["u000", "u001"]
    assert list(feats) == ids
    wave, _ = soundfile.read(data / "audio" / "u000.wav", dtype="float32")
    np.testing.assert_array_equal(feats["u000"], fbank(wave, RATE))
    frames = {utt: feats.shape(utt)[0] for utt in feats}
    assert frames["sp0.9-u000"] > frames["u000"] > frames["sp1.1-u000"]
    assert (out / "text").read_text().splitlines()[0] == "sp0.9-u000 ONE ONE"
    assert (out / "utt2spk").read_text().splitlines()[1] == "sp0.9-u001 sp0.9-s1"
    with pytest.raises(ConfigError, match="speed factors"):
        make_features(data, out, "fbank", speeds=(1.0, 1.0))


def test_channel_and_rate(tmp_path):
    data = make_corpus(tmp_path / "d")
    write_audio(data / "audio" / "u001.wav", np.stack([noise(0.3)] * 2, 1), 16000)
    write_audio(data / "audio" / "u002.wav", noise(0.3), 8000)
    with pytest.raises(ProblemList, match=r"(?s)2 problems.*--channel 0.*--resample true"):
        make_features(data, tmp_path / "out", "raw")
    write_audio(data / "audio" / "u001.wav", noise(0.3))
    make_features(data, tmp_path / "out", "raw", audio=AudioOptions(resample=True))
    info = soundfile.info(tmp_path / "out" / "wavs.1" / "u002.flac")
    assert (info.samplerate, info.frames) == (16000, 9600)


def test_ids_of_any_script_and_length_have_a_file_of_their_own(tmp_path):
    same = "語" * 90
    ids = sorted(
        [f"запись-{'ж' * 44}-{i:03}" for i in range(2)] + [same + "a", same + "b", "a/../é"]
    )
    data = write_tables(
        tmp_path / "d",
        wav_scp=["r a.wav"],
        segments=[f"{u} r {0.1 * i:.1f} {0.1 * i + 0.1:.1f}" for i, u in enumerate(ids)],
        text=[f"{u} ONE" for u in ids],
        utt2spk=[f"{u} s" for u in ids],
    )
    write_audio(data / "a.wav", noise(1.0))
    whole = soundfile.read(data / "a.wav", dtype="float32")[0]
    assert make_features(data, tmp_path / "out", "raw")
    lines = (tmp_path / "out/wav.scp").read_text(encoding="utf-8").splitlines()
    found = dict(line.split(" ", 1) for line in lines)
    assert sorted(found) == ids and len(set(found.values())) == len(ids)
    for i, utt in enumerate(ids):
        assert len(Path(found[utt]).name.encode()) <= 143  # of an encrypted file system
        samples = soundfile.read(found[utt], dtype="float32")[0]
        np.testing.assert_array_equal(samples, whole[1600 * i : 1600 * (i + 1)])


def test_a_dump_that_espnet_cannot_be_told_of(tmp_path):
    data = make_corpus(tmp_path / "d")
    with pytest.raises(ConfigError, match=r"a,b/x: ESPnet's options cannot hold .*--dumpdir"):
        make_features(data, tmp_path / "a,b/x", "raw")
    assert not (tmp_path / "a,b").exists()
    assert make_features(data, tmp_path / "a b: [é] '#/x", "raw")
    assert len(feature_dir.Waves(feature_dir.load(tmp_path / "a b: [é] '#/x"))) == 3


def test_a_dump_elsewhere_names_audio_that_is_found_from_there(tmp_path, monkeypatch):
    make_corpus(tmp_path / "recipe/data/x")
    monkeypatch.chdir(tmp_path / "recipe")
    assert make_features("data/x", tmp_path / "disk/far/away/from/it/raw/x", "raw")
    monkeypatch.chdir("/")
    dump = feature_dir.load(tmp_path / "disk/far/away/from/it/raw/x")
    assert {u: len(wave) for u, wave in feature_dir.Waves(dump).items()} == dump.lengths


def test_speech_without_transcripts(tmp_path):
    data = make_corpus(tmp_path / "d")
    for name in ("text", "utt2spk"):
        (data / name).unlink()
    assert make_features(data, tmp_path / "out", "raw")
    assert (tmp_path / "out/text").read_text() == "u000\nu001\nu002\n"
    waves = feature_dir.Waves(feature_dir.load(tmp_path / "out"))
    assert {u: len(wave) for u, wave in waves.items()} == waves_of(data)


def waves_of(data):
    return {p.stem: soundfile.info(p).frames for p in (data / "audio").iterdir()}


def lengths(out):
    return dict(line.split() for line in (out / "utt2num_frames").read_text().splitlines())


def test_utterances_of_other_durations_are_left_out(tmp_path, caplog):
    """What is left is what there is without the others, statistics and all."""
    caplog.set_level("INFO")
    data = make_corpus(tmp_path / "d", 6, seconds=0.3)  # 0.30, 0.31 … 0.35 s
    assert make_features(data, tmp_path / "out", durations=(0.31, 0.335))
    assert "3 of 6 utterances left out: shorter than 0.31 s or longer than 0.335 s" in caplog.text
    few = tmp_path / "few"
    shutil.copytree(data, few)
    for name in ("wav.scp", "text", "utt2spk"):
        lines = (data / name).read_text().splitlines()[1:4]
        (few / name).write_text("".join(f"{line}\n" for line in lines))
    make_features(few, tmp_path / "same")
    for name in ("text", "utt2spk", "feats_shape", "feats.1.ark"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    ours, theirs = (np.load(tmp_path / n / "feats_stats.npz") for n in ("out", "same"))
    for key in theirs:
        np.testing.assert_array_equal(ours[key], theirs[key])
    assert not make_features(data, tmp_path / "out", durations=(0.31, 0.335))
    assert make_features(data, tmp_path / "out", durations=(0.31, 0.345))
    assert len(lengths(tmp_path / "out")) == 4


def test_durations_count_at_the_utterances_speed(tmp_path):
    data = make_corpus(tmp_path / "d", 1, seconds=0.3)
    make_features(data, tmp_path / "out", speeds=(0.9, 1.0, 1.1), durations=(0.28, 0.32))
    assert list(lengths(tmp_path / "out")) == ["u000"]  # 0.33 and 0.27 s else


def test_shards_without_an_utterance(tmp_path):
    data = make_corpus(tmp_path / "d", MANY, seconds=0.06)  # 0.06, 0.07 … 1.25 s
    make_features(data, tmp_path / "out", "fbank", durations=(0.0, 0.1))
    assert len(lengths(tmp_path / "out")) == 5
    assert len(list(ArkReader(tmp_path / "out/feats.scp").items())) == 5
    make_features(data, tmp_path / "raw", "raw", durations=(1.2, 9.0))
    assert len((tmp_path / "raw/wav.scp").read_text().splitlines()) == 6


def test_durations_that_leave_nothing(tmp_path):
    data = make_corpus(tmp_path / "d", 2)
    with pytest.raises(DataError, match="out: all utterances are shorter than 2 s or longer than"):
        make_features(data, tmp_path / "out", durations=(2.0, 20.0))
    for wrong in ((2.0, 1.0), (-1.0, 2.0), (0.0, float("nan"))):
        with pytest.raises(ConfigError, match="give a shortest and a longer one"):
            make_features(data, tmp_path / "x", durations=wrong)


def test_the_durations_of_the_command(tmp_path):
    make_corpus(tmp_path / "data/x", 3)
    more = ["--min_wav_duration", "0.305", "--max_wav_duration", "0.315"]
    code, said = command(tmp_path, "--sets", "x", "x", "--feats_type", "fbank", *more)
    assert code == 0, said
    assert said.count("2 of 3 utterances left out") == 1
    assert list(lengths(tmp_path / "dump/fbank/x")) == ["u001"]
