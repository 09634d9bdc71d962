"""Samples as soundfile reads them, from every kind of entry, and a clear word about bad audio."""

import gzip
import io
import lzma
import pickle

import kaldiio
import numpy as np
import pytest
import soundfile

from espnet_dice.io.audio import AudioOptions, AudioReader, change_speed
from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import DataError
from tests.corpus import RATE, make_corpus, noise, write_audio, write_tables


def one(d, entry, segment=None, pipes=True):
    """The utterance of a directory with one entry."""
    tables = {"segments": [f"utt rec {segment}"]} if segment else {}
    key = "rec" if segment else "utt"
    write_tables(d, wav_scp=[f"{key} {entry}"], text=["utt A"], utt2spk=["utt s"], **tables)
    return read_data_dir(d, allow_pipes=pipes).utterances[0]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.wav", {}),
        ("a.flac", {}),
        ("a.ogg", {"format": "OGG", "subtype": "OPUS"}),
        ("a.ogg", {"format": "OGG", "subtype": "VORBIS"}),
        ("a.wav", {"subtype": "FLOAT"}),
        ("a b.wav", {}),
    ],
)
def test_samples_are_those_of_soundfile(tmp_path, name, how):
    write_audio(tmp_path / name, noise(0.5), **how)
    utt = one(tmp_path, name)
    samples, rate = AudioReader().read(utt)
    want, _ = soundfile.read(tmp_path / name, dtype="float32")
    assert rate == RATE and samples.dtype == np.float32
    np.testing.assert_array_equal(samples, want)
    assert AudioReader().probe(utt) == pytest.approx(0.5)


def test_segment_is_cut_to_the_sample(tmp_path):
    write_audio(tmp_path / "a.wav", noise(1.0))
    whole, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    utt = one(tmp_path, "a.wav", "0.25 0.5")
    np.testing.assert_array_equal(AudioReader().read(utt)[0], whole[4000:8000])
    assert AudioReader().probe(utt) == 0.25
    np.testing.assert_array_equal(
        AudioReader().read(one(tmp_path, "a.wav", "0.9 -1"))[0], whole[14400:]
    )
    # as Kaldi has it, an end less than half a second beyond the recording is its end
    for end in ("1.02", "1.4999"):
        read, _ = AudioReader().read(one(tmp_path, "a.wav", f"0.9 {end}"))
        np.testing.assert_array_equal(read, whole[14400:])


def test_ark_entries(tmp_path):
    waves = {f"r{i}": (noise(0.3, i) * 32767).astype(np.int16) for i in range(2)}
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/w.ark,{tmp_path}/w.scp") as f:
        for key, wave in waves.items():
            f[key] = RATE, wave
    offset = (tmp_path / "w.scp").read_text().splitlines()[1].rsplit(":", 1)[1]
    got, rate = AudioReader().read(one(tmp_path, f"w.ark:{offset}", "0.1 0.2"))
    assert rate == RATE
    np.testing.assert_array_equal(got, waves["r1"][1600:3200] / np.float32(32768))


def test_pipes_run_only_when_allowed_and_once_for_a_recording(tmp_path):
    write_audio(tmp_path / "a.flac", noise(0.5))
    want, _ = soundfile.read(tmp_path / "a.flac", dtype="float32")
    utt = one(tmp_path, "echo x >> ran; cat a.flac |", "0.1 0.2")
    with pytest.raises(DataError, match=r"segments:1: utt: .*--allow_pipes true"):
        AudioReader().read(utt)
    assert not (tmp_path / "ran").exists()
    reader = AudioReader(AudioOptions(allow_pipes=True))
    for _ in range(2):
        np.testing.assert_array_equal(reader.read(utt)[0], want[1600:3200])
    assert (tmp_path / "ran").read_text() == "x\n"


def test_pipe_relative_to_a_recipe_with_a_streamed_header(tmp_path):
    d = tmp_path / "data" / "x"
    made = io.BytesIO()
    soundfile.write(made, noise(0.5), RATE, format="WAV", subtype="PCM_16")
    raw = bytearray(made.getvalue())
    raw[4:8] = raw[40:44] = b"\xff\xff\xff\xff"  # as ffmpeg writes to a pipe
    (tmp_path / "streamed.wav").write_bytes(raw)
    utt = one(d, "cat streamed.wav |")
    assert len(AudioReader(AudioOptions(allow_pipes=True)).read(utt)[0]) == 8000


def test_channel_and_rate_by_option(tmp_path):
    stereo = np.stack([noise(0.5), noise(0.5, 1)], axis=1)
    write_audio(tmp_path / "a.wav", stereo)
    utt = one(tmp_path, "a.wav")
    with pytest.raises(DataError, match=r"wav.scp:1: utt: .*a.wav: 2 channels.*--channel 0"):
        AudioReader().read(utt)
    got, _ = AudioReader(AudioOptions(channel=1)).read(utt)
    np.testing.assert_allclose(got, stereo[:, 1], atol=1 / 32768)
    with pytest.raises(DataError, match="has no channel 2"):
        AudioReader(AudioOptions(channel=2)).read(utt)

    t = np.arange(24000) / 48000
    write_audio(tmp_path / "b.wav", 0.5 * np.sin(2 * np.pi * 440 * t), 48000)
    utt = one(tmp_path, "b.wav")
    with pytest.raises(DataError, match="48000 Hz, expected 16000 Hz; .*--resample true"):
        AudioReader().read(utt)
    got, rate = AudioReader(AudioOptions(resample=True)).read(utt)
    want = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)
    assert rate == 16000 and len(got) == 8000
    np.testing.assert_allclose(got[100:-100], want[100:-100], atol=2e-3)


def test_speed_moves_length_and_pitch(tmp_path):
    wave = np.sin(2 * np.pi * 400 * np.arange(16000) / 16000).astype(np.float32)
    for speed in (0.9, 1.1):
        got = change_speed(wave, speed)
        assert len(got) == -(-160000 // round(10 * speed))
        peak = np.argmax(np.abs(np.fft.rfft(got))) * 16000 / len(got)
        assert peak == pytest.approx(400 * speed, abs=2)
    assert change_speed(wave, 1.0) is wave


def cut(path, keep):
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def bad_audio(d):
    """name → (entry, segment, fragments of the message)."""
    write_audio(d / "ok.wav", noise(1.0))
    (d / "junk.wav").write_bytes(b"this is not audio" * 100)
    (d / "nothing.wav").write_bytes(b"")
    write_audio(d / "zero.wav", np.zeros(0))
    write_audio(d / "slow.wav", noise(0.2), 8000)
    write_audio(d / "nan.wav", np.where(np.arange(4000) == 7, np.nan, 0.1), subtype="FLOAT")
    write_audio(d / "int24.wav", 2**23 * noise(0.5) / np.abs(noise(0.5)).max(), subtype="FLOAT")
    write_audio(d / "huge.wav", np.full(4000, 1e20), subtype="FLOAT")
    write_audio(d / "inf.wav", np.full(4000, np.inf), subtype="FLOAT")
    write_audio(d / "cut.wav", noise(0.5))
    write_audio(d / "cut.flac", noise(0.5))
    write_audio(d / "cut.ogg", noise(2.0), format="OGG", subtype="OPUS")
    write_audio(d / "cut.aiff", noise(0.5))
    for name in ("cut.wav", "cut.flac", "cut.ogg", "cut.aiff"):
        cut(d / name, 0.9)
    kaldiio.save_ark(str(d / "matrix.ark"), {"x": np.zeros((3, 2), np.float32)})
    (d / "cut.ark").write_bytes(b"x " + (d / "cut.wav").read_bytes()[:20])
    (d / "pickle.ark").write_bytes(b"x PKL" + pickle.dumps((RATE, np.zeros(9))))
    (d / "junk.ark").write_bytes(b"x fLaC" + bytes(100))
    (d / "packed.wav").write_bytes(gzip.compress((d / "ok.wav").read_bytes()))
    (d / "packed.xz").write_bytes(lzma.compress((d / "ok.wav").read_bytes()))
    (d / "packed.ark").write_bytes(gzip.compress(b"x " + (d / "ok.wav").read_bytes()))
    (d / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(99))
    (d / "lfs.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    return {
        "gzip": ("packed.wav", None, ["not recognised, it is packed by gzip: unpack it)"]),
        "xz": ("packed.xz", None, ["not recognised, it is packed by xz: unpack it)"]),
        "gzip of an ark": ("packed.ark:2", None, ["packed by gzip, which has no offsets; unpack"]),
        "no offset": ("junk.ark", None, ["; of an archive the offset is wanted, too: FILE.ark"]),
        "a pointer": ("lfs.wav", None, ["it is a pointer: get the file with git lfs pull"]),
        "ended pipe": ("kill -9 $$ |", None, ["`kill -9 $$`: the command was ended by SIGKILL"]),
        "unreadable": (
            "junk.wav",
            None,
            ["it begins with 'this is not audio", "; replace the file"],
        ),
        "no bytes": ("nothing.wav", None, ["nothing.wav: unreadable audio", "it is empty"]),
        "zero length": ("zero.wav", None, ["zero.wav: zero samples", "remove the utterance"]),
        "wrong rate": ("slow.wav", None, ["8000 Hz, expected 16000 Hz", "--resample true"]),
        "nan": ("nan.wav", None, ["NaN or infinite"]),
        "inf": ("inf.wav", None, ["NaN or infinite"]),
        "24 bits": (
            "int24.wav",
            None,
            ["8.38861e+06; divide them by 8388608, the full scale of 24"],
        ),
        "no scale": ("huge.wav", None, ["these reach 1e+20; no integers are so large"]),
        "truncated wav": ("cut.wav", None, ["truncated: the header promises 16000 bytes"]),
        "truncated flac": ("cut.flac", None, ["cut.flac: damaged or truncated"]),
        "truncated ogg": ("cut.ogg", None, ["truncated: the last Ogg page"]),
        "truncated aiff": ("cut.aiff", None, ["truncated: the header promises"]),
        "beyond the end": ("ok.wav", "0.5 1.5", ["0.5 s to 1.5 s goes beyond", "(1.00 s)"]),
        "starts beyond": ("ok.wav", "1.5 -1", ["1.5 s to its end goes beyond"]),
        "no sample": ("ok.wav", "0.5 0.50001", ["the segment holds no sample"]),
        "matrix": ("matrix.ark:2", None, ["matrix.ark:2: no audio at this offset"]),
        "cut ark": ("cut.ark:2", None, ["cut.ark:2: truncated", "; make the archive again or"]),
        "pickle in an ark": ("pickle.ark:2", None, ["no audio at this offset"]),
        "junk in an ark": ("junk.ark:2", None, ["junk.ark:2: unreadable archive"]),
        "failing pipe": ("echo oh >&2; exit 3 |", None, ["exit code 3: oh"]),
        "pipeline": ("cat gone.wav | cat |", None, ["wrote no audio to its output: cat: gone"]),
        "m4a": ("a.m4a", None, ["it is MP4 or M4A: convert it (ffmpeg -i IN OUT.wav)"]),
        "silent pipe": ("true |", None, ["`true`: the command wrote no audio"]),
        "junk from a pipe": ("echo hello |", None, ["unreadable audio", "; let the command write"]),
        "half a pipe": (f"head -c 9000 {d}/ok.wav |", None, ["promises 32000 bytes", "; let the"]),
    }


def test_bad_audio_names_entry_utterance_and_way_out(tmp_path):
    reader = AudioReader(AudioOptions(allow_pipes=True))
    for name, (entry, segment, fragments) in bad_audio(tmp_path).items():
        (tmp_path / "segments").unlink(missing_ok=True)
        utt = one(tmp_path, entry, segment)
        with pytest.raises(DataError) as err:
            reader.read(utt)
        table = "segments" if segment else "wav.scp"
        for fragment in [f"{table}:1: utt: ", *fragments]:
            assert fragment in str(err.value), name


def test_probe_finds_what_a_header_shows(tmp_path):
    decoded_only = {"nan", "inf", "24 bits", "no scale", "truncated flac"}
    reader = AudioReader(AudioOptions(allow_pipes=True))
    for name, (entry, segment, _) in bad_audio(tmp_path).items():
        (tmp_path / "segments").unlink(missing_ok=True)
        utt = one(tmp_path, entry, segment)
        if name not in decoded_only:
            with pytest.raises(DataError):
                reader.probe(utt)


@pytest.mark.parametrize("rate", [1, 999, 2_000_000])
def test_rates_that_no_speech_has_are_not_converted(tmp_path, rate):
    write_audio(tmp_path / "a.wav", noise(0.1), rate)
    utt = one(tmp_path, "a.wav")
    reader = AudioReader(AudioOptions(resample=True))
    for ask in (reader.read, reader.probe):
        with pytest.raises(DataError, match=f"a.wav: {rate} Hz is no rate of speech"):
            ask(utt)


def test_a_good_corpus_is_read(tmp_path):
    for utt in read_data_dir(make_corpus(tmp_path / "d")):
        assert len(AudioReader().read(utt)[0]) > 4000
