"""How long a file is: by its header, by what follows it and by the decoder, which must agree."""

import io
import itertools
import struct

import kaldiio
import numpy as np
import pytest
import soundfile

from espnet_dice.inference.waves import samples_of
from espnet_dice.io.audio import AudioOptions, AudioReader
from espnet_dice.io.datadir import Recording, Utterance
from espnet_dice.io.errors import DataError
from espnet_dice.io.sound import flac
from espnet_dice.io.sound.containers import Disagreement
from espnet_dice.io.sound.sound import Sound
from espnet_dice.stages.data import check_data
from espnet_dice.stages.features import make_features
from tests.campaign.lengths import ID3, chunk, decoded, encoded, flac_total, ogg_page
from tests.corpus import RATE, noise, write_tables

PIPES = AudioOptions(allow_pipes=True)
TAG = b"TAG" + bytes(125)
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0xA0000000) + bytes(8)
APE += b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0x80000000) + bytes(8)
NOTE = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 6) + b"Lavf60")


def whole(data: bytes) -> np.ndarray:
    sound = Sound(data)
    sound.check_end()
    return sound.read(0, sound.frames)[:, 0]


def read(source, kind="file", start=0.0, end=None):
    recording = Recording("r", kind, str(source), "/", "wav.scp:1")
    utt = Utterance("u", recording, "A", "s", start, end, "wav.scp:1")
    return AudioReader(PIPES).read(utt)[0]


def ogg_pages(data):
    starts = [i for i in range(len(data)) if data[i : i + 5] == b"OggS\0"] + [len(data)]
    return [data[a:b] for a, b in itertools.pairwise(starts)]


def mpeg(seconds, seed=0, **how):
    out = io.BytesIO()
    soundfile.write(out, noise(seconds, seed), RATE, format="MP3", **how)
    return out.getvalue()


def untagged(data):
    """An MP3 without the frame that counts the others: the second begins like the first."""
    return data[data.index(data[:2], 4) :]


def test_flac_from_a_pipe(tmp_path):
    want = decoded(encoded(noise(1.2), ("FLAC", "PCM_16")))[0]
    data = flac_total(encoded(noise(1.2), ("FLAC", "PCM_16")), 0)
    (tmp_path / "a.flac").write_bytes(data)
    scp = ["a a.flac", "b cat a.flac |"]
    d = write_tables(tmp_path, wav_scp=scp, text=["a A", "b A"], utt2spk=["a s", "b s"])
    assert check_data(d, audio=PIPES).seconds == pytest.approx(1.2)
    np.testing.assert_array_equal(read(tmp_path / "a.flac"), want)
    np.testing.assert_array_equal(samples_of(tmp_path / "a.flac", None, AudioOptions()), want)
    make_features(d, tmp_path / "raw", "raw", audio=PIPES)  # soundfile cannot read it: copied
    for line in (tmp_path / "raw" / "wav.scp").read_text().splitlines():
        np.testing.assert_array_equal(soundfile.read(line.split()[1], dtype="float32")[0], want)
    with pytest.raises(Disagreement, match="truncated: .* last frame is incomplete"):
        Sound(data[:-100])


@pytest.mark.parametrize(("total", "says"), [(7999, "frames go on to 8000"), (8001, "are 8000")])
def test_flac_of_one_sample_more_or_less(total, says):
    with pytest.raises(Disagreement, match=f"promises {total} samples, .*{says}"):
        Sound(flac_total(encoded(noise(0.5), ("FLAC", "PCM_16")), total))


def test_bytes_of_a_flac_frame_that_look_like_a_header_are_none():
    """Behind the last frame lies what passes as the header of one far behind the end."""

    def count(data):
        return flac.count(io.BytesIO(data), len(data), flac.stream_info(io.BytesIO(data)))

    data, later = (encoded(noise(seconds), ("FLAC", "PCM_16")) for seconds in (1.0, 9.0))
    frames = [*flac._frames(later, flac.stream_info(io.BytesIO(later)))]
    (at, *_), (end, *_) = [f for f in frames if f[1] > 100_000][:2]
    assert count(data + b"TAG" + later[at : at + 16] + bytes(109)) == 16000
    with pytest.raises(Disagreement, match="the frames go on to"):
        count(data + later[at:end])  # a frame that is one


def test_flac_files_joined_are_seen_even_of_one_length():
    one = encoded(noise(1.0), ("FLAC", "PCM_16"))
    with pytest.raises(Disagreement, match="a second FLAC file follows the 16000 samples"):
        whole(one + encoded(noise(1.0, 1), ("FLAC", "PCM_16")))
    tagged = one + b"TAG" + bytes(125)  # some taggers append this to FLAC, too
    np.testing.assert_array_equal(whole(tagged), decoded(one)[0])
    np.testing.assert_array_equal(whole(b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + one), decoded(one)[0])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("seconds", [3.0, 2.3456, 1.0])
def test_ogg_without_its_end(subtype, seconds):
    data = encoded(noise(seconds), ("OGG", subtype))
    *pages, last = ogg_pages(data)
    want = decoded(data)[0]
    got = whole(b"".join(pages) + ogg_page(last, flags=0))
    np.testing.assert_array_equal(got, want)
    with pytest.raises(Disagreement, match="the last Ogg page is incomplete"):
        Sound(data[:-7])
    if len(pages) < 3:
        return
    with pytest.raises(Disagreement, match="the last Ogg page is missing"):
        Sound(b"".join(pages))
    with pytest.raises(Disagreement, match="Ogg pages 2 to 2 are missing"):
        Sound(b"".join(pages[:2] + pages[3:]) + last)
    damaged = bytearray(data)
    damaged[len(pages[0]) + len(pages[1]) + 200] ^= 1
    with pytest.raises(Disagreement, match="Ogg page 2 has a wrong checksum"):
        Sound(bytes(damaged))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_pages_count_upwards(subtype):
    """libsndfile believes the last page, however few samples it counts."""

    def counting(data, granule):
        *pages, last = ogg_pages(data)
        page = last[:6] + struct.pack("<q", granule) + last[14:]
        return b"".join(pages) + ogg_page(page, page[5])

    for seconds, granules in {
        2.0: (0, -1, 9000),
        0.5: (-1, 0) if subtype == "OPUS" else (-1,),
    }.items():
        for granule in granules:
            with pytest.raises(Disagreement, match=f"damaged: Ogg page . counts {granule} samples"):
                Sound(counting(encoded(noise(seconds), ("OGG", subtype)), granule))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_what_follows_ogg_pages(subtype):
    data = encoded(noise(2.0), ("OGG", subtype))
    for tail in (TAG, ID3 + TAG, APE, bytes(1024), b"\n"):
        np.testing.assert_array_equal(whole(data + tail), decoded(data)[0])
    assert len(whole(data + TAG + data)) == 64000
    *pages, before, last = ogg_pages(data)
    for hole in (b"x" * 99, bytes(len(before))):
        with pytest.raises(Disagreement, match=f"what follows Ogg page {len(pages) - 1} is none"):
            Sound(b"".join(pages) + hole + last)
    with pytest.raises(Disagreement, match="truncated|damaged"):
        Sound(b"".join([*pages, before]) + bytes(len(last)))


def test_mpeg_joined_is_read_to_the_end(tmp_path):
    parts = [mpeg(2.0), mpeg(3.0, 1)]
    (tmp_path / "a.mp3").write_bytes(b"".join(parts))
    want = np.concatenate([decoded(p)[0] for p in parts])
    got = read(tmp_path / "a.mp3")
    assert len(got) == 5 * RATE
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(read(tmp_path / "a.mp3", start=1.5, end=4.0), want[24000:64000])
    id3 = b"ID3\4\0\0\0\0\0\x0a" + bytes(10)
    np.testing.assert_array_equal(whole(id3 + parts[0] + id3 + parts[1]), want)
    np.testing.assert_array_equal(whole(parts[0] + b"TAG" + bytes(125) + parts[1]), want)
    with pytest.raises(Disagreement, match="joined of 16000 Hz"):
        Sound(parts[0] + encoded(noise(1.0), ("MP3", "MPEG_LAYER_III"), 24000))


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mpeg_without_a_count_of_frames(mode):
    """libmpg123 guesses from the first frame's bit rate, and may lose half of the file."""
    data = mpeg(4.0, bitrate_mode=mode, compression_level=0.4)
    want = decoded(data)[0]
    got = whole(untagged(data))
    assert len(want) <= len(got) < len(want) + 3 * 1152 and len(got) % 576 == 0
    # the delays of encoder and decoder, which the tag takes off; the first frames differ
    shift = int(np.argmax(np.correlate(got[4000:12000], want[4000:9000], "valid")))
    np.testing.assert_allclose(got[shift + 4000 : shift + 60000], want[4000:60000], atol=1e-4)
    vbri = data[:4] + bytes(32) + b"VBRI" + struct.pack(">HHHII", 1, 0, 0, 0, len(got) // 576)
    tagged = vbri.ljust(data.index(data[:2], 4), b"\0") + untagged(data)
    np.testing.assert_array_equal(whole(tagged), got)
    with pytest.raises(Disagreement, match="the last frame is incomplete"):
        Sound(untagged(data)[:-5])


def test_mpeg_with_a_hole():
    data = untagged(mpeg(4.0))
    want = whole(data)
    for tail in (TAG, ID3, APE + TAG, b"\n"):
        np.testing.assert_array_equal(whole(data + tail), want)
    middle = len(data) // 2
    for hole in (slice(middle, middle + 3000), slice(len(data) - 3000, None)):
        damaged = bytearray(data)
        damaged[hole] = bytes(3000)
        with pytest.raises(Disagreement, match="damaged: .* bytes behind MPEG frame .* no frames"):
            Sound(bytes(damaged))


def test_mpeg_tagged_without_a_count():
    data = mpeg(2.0)
    at = max(data.find(b"Xing"), data.find(b"Info"))
    want = whole(untagged(data))
    no_count = data[: at + 4] + bytes(4) + data[at + 8 :]
    zero = data[: at + 8] + bytes(4) + data[at + 12 :]
    for tagged in (no_count, zero):
        np.testing.assert_array_equal(whole(tagged), want)


def test_mpeg_of_two_kinds_joined():
    other = io.BytesIO()
    soundfile.write(other, np.stack([noise(1.0)] * 2, 1), RATE, format="MP3")
    faster = encoded(noise(1.0), ("MP3", "MPEG_LAYER_III"), 24000)
    for second in (faster, other.getvalue()):
        with pytest.raises(Disagreement, match="joined of 16000 Hz, 1 channels and"):
            Sound(untagged(mpeg(1.0)) + untagged(second))


def ark(path, *entries):
    """A Kaldi archive of files; offsets."""
    made, offsets = b"", []
    for number, data in enumerate(entries):
        made += f"utt{number} ".encode()
        offsets.append(len(made))
        made += data
    path.write_bytes(made)
    return [f"{path}:{offset}" for offset in offsets]


WAVS = [("WAV", s) for s in soundfile.available_subtypes("WAV") if not s.startswith("MPEG")]
WAVS += [("WAVEX", "PCM_16"), ("WAVEX", "FLOAT"), ("FLAC", "PCM_24")]


def test_an_ark_gives_the_samples_of_files(tmp_path):
    for kind in WAVS:
        files = [encoded(noise(0.3, i), kind) for i in range(3)]
        for source, data in zip(ark(tmp_path / "a.ark", *files), files, strict=True):
            np.testing.assert_array_equal(read(source, "ark"), decoded(data)[0], err_msg=str(kind))
    waves = {"a": (noise(0.2) * 32767).astype(np.int16), "b": np.arange(256, dtype=np.uint8)}
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/k.ark,{tmp_path}/k.scp") as f:
        for key, wave in waves.items():
            f[key] = RATE, wave
    scp = dict(line.split() for line in (tmp_path / "k.scp").read_text().splitlines())
    np.testing.assert_array_equal(read(scp["a"], "ark"), waves["a"] / np.float32(32768))
    np.testing.assert_array_equal(read(scp["b"], "ark"), waves["b"] / np.float32(128) - 1)
    for kind in ("flac", "wav"):
        kaldiio.save_ark(
            str(tmp_path / "s.ark"),
            dict.fromkeys("ab", (waves["a"], RATE)),
            scp=str(tmp_path / "s.scp"),
            write_function="soundfile",
            write_kwargs={"format": kind},
        )
        for line in (tmp_path / "s.scp").read_text().splitlines():
            np.testing.assert_array_equal(
                read(line.split()[1], "ark"), waves["a"] / np.float32(32768)
            )


def test_a_length_in_an_ark_is_checked(tmp_path):
    data, other = encoded(noise(0.5), ("WAV", "PCM_16")), encoded(noise(0.5, 1), ("WAV", "PCM_16"))
    at = data.index(b"data") + 4
    sizes = {
        0xFFFFFFFF: "does not say how long",
        0: "does not say how long",
        8000: "promises 8000 bytes",
    }
    sizes |= {17000: "less than is", 90000: "truncated: the header promises 90000 bytes"}
    for size, says in sizes.items():
        said = data[:at] + struct.pack("<I", size) + data[at + 4 :]
        with pytest.raises(DataError, match=says):
            read(ark(tmp_path / "a.ark", said, other)[0], "ark")
    flac = encoded(noise(0.5), ("FLAC", "PCM_16"))
    for total, says in {0: "does not say how long", 4000: "frames go on to 8000"}.items():
        with pytest.raises(DataError, match=says):
            read(ark(tmp_path / "a.ark", flac_total(flac, total), flac)[0], "ark")


def test_trailing_chunks_are_no_samples():
    data = encoded(noise(0.5), ("WAV", "PCM_16"))
    size = data.index(b"data") + 4
    short = data[:size] + struct.pack("<I", 15998) + data[size + 4 :]
    with pytest.raises(Disagreement, match="15998 bytes of samples, 2 more follow"):
        Sound(short)
    note = b"LIST" + struct.pack("<I", 12) + b"INFOINAM" + bytes(4)
    for tail in (note, note + b"id3 " + struct.pack("<I", 999) + bytes(20), b"\0"):
        assert len(whole(data + tail)) == 8000
    with pytest.raises(Disagreement, match="16000 bytes of samples, 160 zeros follow"):
        Sound(data + bytes(160))  # silence is sound, too
    with pytest.raises(Disagreement, match="two files were joined"):
        Sound(data + data)


KINDS = ["WAV", "AIFF", "AU", "CAF", "NIST", "W64", "RF64"]
KINDS = [(name, "PCM_16") for name in KINDS] + [("FLAC", "PCM_16"), ("OGG", "OPUS")]


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_a_tag_in_front(tmp_path, kind):
    data = encoded(noise(1.0), kind)
    for tagged in (ID3 + data, ID3 + ID3 + data):
        np.testing.assert_array_equal(whole(tagged), decoded(data)[0])
    (tmp_path / "a.bin").write_bytes(ID3 + data)
    np.testing.assert_array_equal(read(tmp_path / "a.bin"), decoded(data)[0])
    np.testing.assert_array_equal(read(f"cat {tmp_path}/a.bin", "pipe"), decoded(data)[0])
    for wrong in (data[: len(data) * 3 // 4], data + data):
        if wrong != data + data or kind[0] != "OGG":  # that is read to the end
            with pytest.raises(Disagreement):
                whole(ID3 + wrong)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "CAF", "RF64"])
def test_tags_behind_are_no_samples(kind):
    data = encoded(noise(0.5), (kind, "PCM_16"))
    for tail in (TAG, ID3, APE, ID3 + TAG, b"\n"):
        np.testing.assert_array_equal(whole(data + tail), decoded(data)[0])


def test_chunks_behind_an_odd_byte():
    data = encoded(noise(0.5)[:7999], ("WAV", "PCM_U8"))
    bare = data[: data.index(b"data") + 8 + 7999]
    for tail in (NOTE, TAG, b"\0" + NOTE, b"\0" + NOTE + TAG, b""):
        assert len(whole(bare + tail)) == 7999


def sized(data, size):
    at = data.index(b"data") + 4
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


def test_chunks_behind_uncounted_samples():
    data = encoded(noise(0.5), ("WAV", "PCM_16"))
    for size in (0, 0xFFFFFFFF, 0x7FFFFF00, 0x7FFFFFDB, 0x7FFF0000, 0x7FFFFFD4, 0xFFFF0000):
        for tail in (b"", NOTE, NOTE + TAG, ID3, chunk(b"cue ", bytes(28)) + NOTE):
            np.testing.assert_array_equal(whole(sized(data, size) + tail), decoded(data)[0])
    with pytest.raises(Disagreement, match="a second file begins within its samples"):
        Sound(sized(data, 0) + data)
    aiff = encoded(noise(0.5), ("AIFF", "PCM_16"))
    at = aiff.index(b"SSND") + 4
    streamed = aiff[:at] + bytes(4) + aiff[at + 4 :] + chunk(b"ANNO", b"nine byte", ">")
    np.testing.assert_array_equal(whole(streamed), decoded(aiff)[0])


def test_chunks_behind_no_samples():
    empty = {kind: encoded(np.zeros(0), (kind, "PCM_16")) for kind in ("WAV", "AIFF")}
    for tail in (b"", NOTE, chunk(b"LIST", bytes(3000)), chunk(b"cue ", bytes(28)) + NOTE):
        assert Sound(empty["WAV"] + tail).frames == 0
    assert Sound(empty["AIFF"] + chunk(b"ANNO", b"nine byte", ">")).frames == 0


@pytest.mark.parametrize("size", [0, 2**64 - 1])
def test_rf64_from_a_pipe(size):
    data = encoded(noise(0.5), ("RF64", "PCM_16"))
    at = data.index(b"ds64") + 8
    streamed = data[:at] + struct.pack("<QQQ", size, size, size) + data[at + 24 :]
    for tail in (b"", NOTE):
        np.testing.assert_array_equal(whole(streamed + tail), decoded(data)[0])


@pytest.mark.parametrize("ending", ["gsm", "vox", "au", "snd", "raw"])
def test_a_name_tells_nothing(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    path.write_text("<html>404</html>" * 300)
    for fs in (RATE, 8000):
        utt = Utterance("u", Recording("r", "file", str(path), "/", ""), "A", "s", 0, None, "")
        with pytest.raises(DataError, match="not recognised, it begins with '<html>"):
            AudioReader(AudioOptions(rate=fs)).probe(utt)
    data = encoded(noise(0.5), ("WAV", "PCM_16"))
    path.write_bytes(data)
    np.testing.assert_array_equal(read(path), decoded(data)[0])
    assert Sound(str(path)).plain == (ending != "raw")


def test_flac_without_frames_or_with_tags():
    data = flac_total(encoded(noise(0.5), ("FLAC", "PCM_16")), 0)
    for tail in (TAG, ID3, APE, APE + TAG):
        np.testing.assert_array_equal(whole(data + tail), whole(data))
    with pytest.raises(Disagreement, match="zero samples; remove the utterance"):
        Sound(b"fLaC\x80" + data[5:42])


def test_packed_sphere():
    data = encoded(noise(0.5), ("NIST", "PCM_16"))
    said = data[:1024].replace(b"-s3 pcm", b"-s26 pcm,embedded-shorten-v2.00")
    with pytest.raises(Disagreement, match="packed by shorten; .*sph2pipe -f wav FILE"):
        Sound(said[:1024] + b"ajkg" + bytes(5000))


def test_sphere_cut_short(tmp_path):
    data = encoded(noise(1.0), ("NIST", "PCM_16"))
    (tmp_path / "a.sph").write_bytes(data[:-2000])
    for start, end in ((0.0, None), (0.1, 0.2)):
        with pytest.raises(DataError, match="promises 32000 bytes, there are 30000"):
            read(tmp_path / "a.sph", start=start, end=end)


def test_segments_of_codecs_that_cannot_seek(tmp_path):
    data = encoded(noise(1.0), ("WAV", "GSM610"))
    (tmp_path / "a.wav").write_bytes(data)
    want = decoded(data)[0]
    np.testing.assert_array_equal(read(tmp_path / "a.wav", start=0.5, end=0.7), want[8000:11200])


@pytest.mark.parametrize("kind", [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_segments_of_lossy_codecs_are_those_of_the_whole(tmp_path, kind):
    """libsndfile seeks near the end of Vorbis, and at times in MPEG audio, to other samples."""
    rng = np.random.default_rng(0)
    data = encoded(rng.uniform(-0.5, 0.5, 48000), kind)
    (tmp_path / "a.bin").write_bytes(data)
    want = decoded(data)[0]
    reader = AudioReader()
    recording = Recording("r", "file", str(tmp_path / "a.bin"), "/", "wav.scp:1")
    for start in rng.integers(40000, 47000, 20) / RATE:
        utt = Utterance("u", recording, "A", "s", start, start + 0.05, "wav.scp:1")
        first = round(start * RATE)
        np.testing.assert_array_equal(reader.read(utt)[0], want[first : round(utt.end * RATE)])


def test_loud_floats_are_the_same_in_every_path(tmp_path):
    loud = (5 * noise(0.5)).astype(np.float32)
    assert np.abs(loud).max() > 1.1
    data = encoded(loud, ("WAV", "FLOAT"))
    (tmp_path / "a.wav").write_bytes(data)
    source = ark(tmp_path / "a.ark", data)[0]
    got = [read(tmp_path / "a.wav"), read(source, "ark"), read(f"cat {tmp_path}/a.wav", "pipe")]
    got += [samples_of(loud, RATE, AudioOptions())]
    got += [samples_of(tmp_path / "a.wav", None, AudioOptions())]
    for samples in got:
        np.testing.assert_array_equal(samples, loud)
    d = write_tables(
        tmp_path / "d",
        wav_scp=[f"r {tmp_path}/a.wav", f"p cat {tmp_path}/a.wav |", f"k {source}"],
        segments=["k k 0 -1", "p p 0 -1", "r r 0 -1", "s r 0.1 0.4"],
        text=[f"{u} A" for u in "kprs"],
        utt2spk=[f"{u} s" for u in "kprs"],
    )
    make_features(d, tmp_path / "raw", "raw", audio=PIPES)
    for line in (tmp_path / "raw" / "wav.scp").read_text().splitlines():
        utt, path = line.split()
        samples = soundfile.read(path, dtype="float32")[0]
        np.testing.assert_array_equal(samples, loud[1600:6400] if utt == "s" else loud)
    quiet = 40 * loud / np.abs(loud).max()
    (tmp_path / "b.wav").write_bytes(encoded(quiet, ("WAV", "FLOAT")))
    for refused in (lambda: read(tmp_path / "b.wav"), lambda: samples_of(quiet, RATE, PIPES)):
        with pytest.raises(DataError, match=r"must lie in \[-1, 1\]"):
            refused()
