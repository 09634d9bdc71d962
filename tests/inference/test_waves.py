"""Samples as other libraries hand them over, beside what soundfile reads of the same file."""

import io
import re
from decimal import Decimal

import numpy as np
import pytest
import soundfile
import torch

from espnet_dice.features import fbank
from espnet_dice.inference.waves import name_of, samples_of
from espnet_dice.io.audio import AudioOptions
from espnet_dice.io.errors import DataError
from tests.corpus import RATE, noise, write_audio

OPTIONS, WILLING = AudioOptions(RATE), AudioOptions(RATE, resample=True)


@pytest.fixture(scope="module")
def wav(tmp_path_factory):
    return write_audio(tmp_path_factory.mktemp("wav") / "u.wav", noise(0.4))


@pytest.fixture(scope="module")
def x(wav):
    """The samples, float32."""
    return soundfile.read(wav, dtype="float32")[0]


def same(audio, rate, wanted, tolerance=0.0):
    found = samples_of(audio, rate, OPTIONS)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


def test_arrays_of_floats(x):
    tensor = torch.from_numpy(x)
    for audio in (
        x,
        x.tolist(),
        x.astype(np.float64),
        x.astype(">f4"),
        tensor,
        tensor.clone().requires_grad_(),
        tensor.double().requires_grad_() * 1,
        tensor[None],
        x[:, None],
        np.stack([x, x], 1)[:, 0],
        x[::-1][::-1],
        np.ma.masked_array(x),
    ):
        same(audio, RATE, x)
    for audio in (x.astype(np.float16), tensor.half(), tensor.bfloat16().requires_grad_()):
        same(audio, RATE, x, 4e-3)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
def test_integers_are_scaled_as_files_are(tmp_path, subtype):
    path = write_audio(tmp_path / "u.wav", noise(0.1), subtype=subtype)
    wanted = soundfile.read(path, dtype="float32")[0]
    if subtype == "PCM_U8":  # soundfile gives no bytes; its int16 are (byte - 128) · 256
        integers = (soundfile.read(path, dtype="int16")[0] // 256 + 128).astype(np.uint8)
    else:
        dtype = "int16" if subtype == "PCM_16" else "int32"
        integers = soundfile.read(path, dtype=dtype)[0]
    same(integers, RATE, wanted)
    same(torch.from_numpy(integers), RATE, wanted)
    same(integers.astype(integers.dtype.newbyteorder(">")), RATE, wanted)


@pytest.mark.parametrize(
    "rate", [16000.0, np.int64(16000), np.float32(16000), torch.tensor(16000), Decimal(16000)]
)
def test_rates(x, rate):
    same(x, rate, x)


@pytest.mark.parametrize(
    "rate",
    ["16000", b"16000", "16k", 0, -1, True, np.True_, 16000.5, np.nan, np.inf, 1j, [16000], {}],
)
def test_rates_that_are_none(x, rate):
    for options in (OPTIONS, WILLING):
        with pytest.raises(DataError, match="must be a positive whole number of Hz: got"):
            samples_of(x, rate, options)


@pytest.mark.parametrize("rate", [1, 7, 999, 2_000_000, 10**15])
def test_rates_of_no_speech(x, rate):
    with pytest.raises(DataError, match=f"{rate} Hz is no rate of speech"):
        samples_of(x, rate, WILLING)
    with pytest.raises(DataError, match=f"{rate} Hz, the model wants 16000 Hz"):
        samples_of(x, rate, OPTIONS)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (
            "https://example.com/a.wav",
            "^https://example.com/a.wav: no such file; addresses are not",
        ),
        ("~/a.wav", "^~/a.wav: no such file; ~ and variables are not replaced"),
        ("no/a.wav", "^no/a.wav: no such file$"),
    ],
)
def test_names_of_no_file(audio, message):
    with pytest.raises(DataError, match=message):
        samples_of(audio, None, OPTIONS)


def test_raw_samples_and_channels(wav, x):
    same(memoryview(wav.read_bytes()), RATE, x)
    same(memoryview((x * 32768).astype(np.int16)), RATE, x)
    with pytest.raises(
        DataError, match=r"unreadable .*; of raw samples give np\.frombuffer\(audio"
    ):
        samples_of((x * 32768).astype(np.int16).tobytes(), RATE, OPTIONS)
    with pytest.raises(DataError, match="channel: channel= is for files, give samples"):
        samples_of(np.stack([x, x]), RATE, AudioOptions(RATE, channel=0))
    with soundfile.SoundFile(wav) as f, pytest.raises(DataError, match="give its samples and rate"):
        samples_of(f, None, OPTIONS)


def test_files_bytes_and_pairs(wav, x):
    content = wav.read_bytes()
    pair = soundfile.read(wav, dtype="float32")
    for audio in (
        wav,
        str(wav),
        content,
        bytearray(content),
        io.BytesIO(content),
        open(wav, "rb"),
        pair,
        (pair[0].tolist(), pair[1]),
        (torch.from_numpy(x)[None], np.int64(RATE)),
        {"array": x, "sampling_rate": RATE, "path": "u.wav"},
    ):
        same(audio, None, x)
    with open(wav, "rb") as f:
        assert name_of(f) == name_of(wav) == name_of(str(wav)) == "u"
    assert name_of(x) == name_of(content) == name_of(io.BytesIO(content)) == ""


def test_bytes_are_read_as_a_file_is(tmp_path, wav):
    low = write_audio(tmp_path / "low.flac", noise(0.4), rate=8000)
    wanted = samples_of(low, None, WILLING)
    np.testing.assert_array_equal(samples_of(low.read_bytes(), None, WILLING), wanted)
    with pytest.raises(DataError, match=r"^BytesIO of an audio file: 8000 Hz, expected 16000 Hz"):
        samples_of(io.BytesIO(low.read_bytes()), None, OPTIONS)
    with pytest.raises(DataError, match=f"^{re.escape(str(low))}: 8000 Hz, expected 16000 Hz"):
        samples_of(low.open("rb"), None, OPTIONS)


def closed(path):
    with open(path, "rb") as f:
        return f


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, wav: x, "an array has no sampling rate: give rate=16000"),
        (lambda x, wav: None, "NoneType is no audio: give a file's name; .*sampling_rate"),
        (lambda x, wav: 5, "int is no audio"),
        (lambda x, wav: [wav, wav], "list is no audio: give a file's name"),
        (lambda x, wav: (x, RATE, 1), "tuple is no audio: give a file's name"),
        (lambda x, wav: open(wav, encoding="utf-8"), "opened as text: .* binary mode, 'rb'"),
        (lambda x, wav: {"array": x}, "must have 'array' and 'sampling_rate', .* has 'array'"),
        (lambda x, wav: {}, "this one has none"),
        (
            lambda x, wav: {"array": None, "sampling_rate": RATE},
            "^'array' must be an array, not NoneType",
        ),
        (lambda x, wav: {"array": x, "sampling_rate": "16k"}, "whole number of Hz: got '16k'"),
        (lambda x, wav: (RATE, x), r"\(samples, rate\): the samples must be an array, not int"),
        (lambda x, wav: (x, None), "an array has no sampling rate"),
        (lambda x, wav: b"", "bytes of an audio file: no bytes"),
        (lambda x, wav: x.tobytes(), "bytes of an audio file: unreadable audio"),
        (lambda x, wav: open(wav, encoding="latin-1"), "gave str, not bytes: open it in binary"),
        (lambda x, wav: closed(wav), "cannot be read .*closed file"),
        (lambda x, wav: wav.parent, "a directory"),
        (lambda x, wav: "a" * 5000, "File name too long"),
        (lambda x, wav: "", "a directory|no such file"),
    ],
)
def test_what_is_no_audio(wav, x, make, message):
    with pytest.raises(DataError, match=message):
        samples_of(make(x, wav), None, OPTIONS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: x.astype(complex), "must be int16, int32, uint8 or float samples: got complex"),
        (lambda x: torch.from_numpy(x).cfloat(), "got complex64"),
        (lambda x: x > 0, "got bool"),
        (lambda x: ["a.wav", "b.wav"], "got a list of str"),
        (lambda x: None, "got NoneType"),
        (lambda x: np.array([None, 1]), "got a ndarray of NoneType"),
        (lambda x: [[1.0], [1.0, 2.0]], "a list, is no array of samples"),
        (lambda x: torch.from_numpy(x).to("meta"), "a Tensor, is no array of samples"),
        (lambda x: torch.from_numpy(x).to_sparse(), "a Tensor, is no array of samples"),
        (lambda x: np.ma.masked_array(x, x > 0.1), "some samples are masked"),
        (lambda x: np.stack([x, x]), r"mono, of shape \(samples,\): got \(2, 6400\)"),
        (lambda x: np.stack([x, x], 1), r"got \(6400, 2\); choose a channel"),
        (lambda x: x[None, None], r"got \(1, 1, 6400\)"),
        (lambda x: np.float32(0.5), r"got \(\)"),
        (lambda x: x[:0], "has no samples"),
        (lambda x: x[None, :0], "has no samples"),
        (lambda x: np.append(x, np.nan), "NaN or infinite at sample 6400"),
        (lambda x: torch.from_numpy(np.append(x, -np.inf)), "NaN or infinite"),
        (lambda x: x.astype(float) * 1e300, "no integers are so large"),
        (lambda x: x * 32768, "divide them by 32768"),
        (lambda x: (x * 32768).astype(int), "int64, which does not say its scale"),
        (lambda x: (x * 32768).astype(int).tolist(), "int64, which does not say its scale"),
        (lambda x: (x * 32767 + 32768).astype(np.uint16), "uint16, which does not say"),
        (lambda x: (x * 32768).astype(np.int32), "if these are int16 samples, give them as int16"),
    ],
)
def test_arrays_that_are_refused(x, make, message):
    with pytest.raises(DataError, match=message):
        samples_of(make(x), RATE, OPTIONS)


def test_a_rate_said_twice(x):
    with pytest.raises(DataError, match="come with their rate, 8000: leave rate=16000 out"):
        samples_of((x, 8000), RATE, OPTIONS)


def test_features_take_the_same(x):
    wanted = fbank(x, RATE)
    pcm = (x * 32768).astype(np.int16)
    for wave in (pcm, pcm.astype(np.int32) << 16, torch.from_numpy(x)[None].requires_grad_()):
        np.testing.assert_array_equal(fbank(wave, np.float64(RATE)), wanted)
    for rate in ("16000", True, None):
        with pytest.raises(ValueError, match="must be a positive whole number"):
            fbank(x, rate)
