"""The runtime of what is shipped, without a model."""

import ast
import io
import itertools
import math
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import sentencepiece as spm
import soundfile
import torch

from espnet_dice import features
from espnet_dice.decoding.decoder import BEAM
from espnet_dice.records import tokens
from espnet_dice.ship import hearing, infer, ngram, pitch_file, search, with_espnet
from tests.features.signals import speechlike

ARPA = """\\data\\
ngram 1=5
ngram 2=4

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.5
-0.9\t</s>
-0.6\tA\t-0.25
-0.4\tBA\t-0.125

\\2-grams:
-0.2\t<s> A
-0.3\tA BA
-0.7\tBA </s>
-0.1\tBA BA

\\end\\
"""
LETTERS = ["<blank>", "A", "B", "▁"]


def posteriors(seed, frames=5, size=3):
    logits = np.random.default_rng(seed).normal(scale=1.5, size=(frames, size))
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def best_of_all(log_probs, lm=lambda labels: 0.0):
    """The best labelling from the sum over all alignments, one by one."""
    total = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        labels = tuple(k for k, _ in itertools.groupby(path) if k)
        p = math.exp(sum(row[k] for row, k in zip(log_probs, path, strict=True)))
        total[labels] = total.get(labels, 0.0) + p
    return list(max(total, key=lambda labels: math.log(total[labels]) + lm(labels)))


@pytest.fixture
def arpa(tmp_path):
    path = tmp_path / "words.arpa"
    path.write_text(ARPA)
    return path


def imported(*sources):
    """Packages that these files import, but Python's own."""
    found = set()
    for text in sources:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names)


def test_they_import_numpy_and_onnxruntime():
    files = [Path(part.__file__).read_text() for part in (infer, hearing, search, ngram)]
    assert imported(*files, pitch_file.text()) == {"numpy", "onnxruntime"}
    assert imported(*files[1:], pitch_file.text()) == {"numpy"}
    assert imported(Path(with_espnet.__file__).read_text()) == {"espnet2", "yaml"}


def test_espnet_searches_as_the_recipes_do():
    assert {**BEAM, **with_espnet.OPTIONS} == BEAM


@pytest.mark.parametrize("seed", range(12))
def test_prefix_beam_finds_the_best_of_all_labellings(seed):
    log_probs = posteriors(seed)
    assert search.prefix_beam(log_probs, 1000) == best_of_all(log_probs)


def test_a_beam_differs_from_the_best_path():
    log_probs = np.log([[0.6, 0.4], [0.6, 0.4]])  # blank alone 0.36, "A" in three ways 0.64
    assert search.best_path(log_probs) == []
    assert search.prefix_beam(log_probs, 2) == [1]
    assert search.prefix_beam(np.zeros((0, 4)), 8) == []


@pytest.mark.parametrize("seed", range(8))
def test_prefix_beam_with_words(arpa, seed):
    """P(words) by hand: bigrams that are there, else the back-off weight and the unigram."""
    bigrams = {("<s>", "A"): -0.2, ("A", "BA"): -0.3, ("BA", "</s>"): -0.7, ("BA", "BA"): -0.1}
    unigrams = {"<unk>": -1.0, "</s>": -0.9, "A": -0.6, "BA": -0.4}
    back = {"<s>": -0.5, "A": -0.25, "BA": -0.125}

    def score(labels):
        words = "".join(LETTERS[k] for k in labels).replace("▁", " ").split()
        known = ["<s>", *(w if w in unigrams else "<unk>" for w in words), "</s>"]
        total = sum(
            bigrams.get(pair, back.get(pair[0], 0.0) + unigrams[pair[1]])
            for pair in itertools.pairwise(known)
        )
        return 0.8 * math.log(10) * total + 0.3 * len(words)

    log_probs = posteriors(seed, size=4)
    lm = ngram.Fusion(arpa, weight=0.8, bonus=0.3)
    found = search.prefix_beam(log_probs, 5000, lm=lm.of(LETTERS))
    assert found == best_of_all(log_probs, score)


def test_an_ngram_of_tokens(tmp_path):
    (tmp_path / "c.arpa").write_text(ARPA.replace("BA", "▁"))
    ask = ngram.Fusion(tmp_path / "c.arpa", weight=1.0).of(LETTERS)
    assert ask((1, 3), False) == pytest.approx(math.log(10) * (-0.2 - 0.3))
    assert ask((1, 3), True) == pytest.approx(math.log(10) * (-0.2 - 0.3 - 0.7))
    (tmp_path / "c.arpa").write_text("no n-grams\n")
    with pytest.raises(ValueError, match="no ARPA file"):
        ngram.Fusion(tmp_path / "c.arpa")


@pytest.mark.parametrize("rate", [8000, 16000])
def test_filter_bank_beside_kaldi_native_fbank(rate, monkeypatch):
    monkeypatch.setattr(hearing, "BLOCK", 7)
    for wave in (speechlike(rate), np.zeros(rate, np.int16)):
        found, wanted = hearing.fbank(wave / np.float32(32768), rate), features.fbank(wave, rate)
        assert found.dtype == np.float32 and found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-3
        assert np.abs(found - wanted).mean() < 5e-5
    assert hearing.fbank(np.zeros(199, np.float32), rate).shape == (0, 80)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_the_carried_pitch_is_that_of_the_features_stage(rate, tmp_path):
    path = tmp_path / "pitch.py"
    path.write_text(pitch_file.text())
    carried = infer._load(path)
    for seconds in (0.01, 0.6, 3.0):
        wave = speechlike(rate, seconds) / np.float32(32768)
        found = carried.process_pitch(carried.kaldi_pitch(wave, rate), seed="u1")
        wanted = features.process_pitch(features.kaldi_pitch(wave, rate), seed="u1")
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
def test_wav_files(tmp_path, subtype, form):
    wave = np.random.default_rng(0).uniform(-1, 1, 777)
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype, format=form)
    found, rate = hearing.read_wave(tmp_path / "a.wav")
    assert rate == 16000 and found.dtype == np.float32
    wanted = soundfile.read(tmp_path / "a.wav", dtype="float32")[0]
    np.testing.assert_array_equal(found, wanted)


def test_files_that_cannot_be_read(tmp_path):
    soundfile.write(tmp_path / "two.wav", np.zeros((99, 2)), 16000)
    with pytest.raises(ValueError, match=r"two\.wav: 2 channels: give one"):
        hearing.read_wave(tmp_path / "two.wav")
    (tmp_path / "text.wav").write_text("not sound, but long enough to be read as a header")
    with pytest.raises(ValueError, match=r"text\.wav: not a WAV file of integers"):
        hearing.read_wave(tmp_path / "text.wav")
    (tmp_path / "empty.wav").touch()
    with pytest.raises(ValueError, match=r"empty\.wav: not a WAV file of integers \(it ends in"):
        hearing.read_wave(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "a.wav", np.zeros(99), 16000)
    data = (tmp_path / "a.wav").read_bytes()
    wide = bytearray(data)
    wide[32:36] = b"\x08\0\x40\0"
    (tmp_path / "wide.wav").write_bytes(wide)
    with pytest.raises(ValueError, match=r"wide\.wav: 64 bits a sample: give 16, 24 or 32"):
        hearing.read_wave(tmp_path / "wide.wav")
    (tmp_path / "cut.wav").write_bytes(data[:-9])
    with pytest.raises(ValueError, match=r"cut\.wav: cut, joined, or longer"):
        hearing.read_wave(tmp_path / "cut.wav")
    (tmp_path / "joined.wav").write_bytes(data + data)
    with pytest.raises(ValueError, match=r"joined\.wav: cut, joined"):
        hearing.read_wave(tmp_path / "joined.wav")


def test_a_file_written_to_a_pipe_is_read_to_its_end(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(99, 0.5), 16000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4  # as ffmpeg writes them
    (tmp_path / "a.wav").write_bytes(data)
    assert len(hearing.read_wave(tmp_path / "a.wav")[0]) == 99
    (tmp_path / "a.wav").write_bytes(data + b"LIST\x07\0\0\0INFO..." + b"\0")
    assert len(hearing.read_wave(tmp_path / "a.wav")[0]) == 99


HEARS = hearing.Hearing("raw", 16000)
WAVE = np.random.default_rng(0).uniform(-1, 1, 777).astype(np.float32)


@pytest.mark.parametrize(
    "audio",
    [
        WAVE[None],
        WAVE[:, None],
        WAVE.tolist(),
        torch.from_numpy(WAVE),
        torch.from_numpy(WAVE)[None].requires_grad_(),
        np.ma.masked_array(WAVE),
        [WAVE[:99], WAVE[99:].tolist()],
        torch.from_numpy(WAVE).split(99),
        iter([torch.from_numpy(WAVE)]),
    ],
)
def test_samples_of_any_library(audio):
    np.testing.assert_array_equal(HEARS.samples(audio), WAVE)


def test_integers_of_either_byte_order():
    integers = (WAVE * 32767).astype(">i2")
    for audio in (integers, torch.from_numpy(integers.astype("<i2"))):
        np.testing.assert_array_equal(HEARS.samples(audio), (integers / 32768).astype(np.float32))
    assert not len(HEARS.samples([]))


@pytest.mark.parametrize(
    ("audio", "got"),
    [
        (np.zeros((2, 9)), r": got float64, shape \(2, 9\)"),
        (torch.zeros(2, 9), r": got float32, shape \(2, 9\)"),
        (torch.zeros(9, 2), r": got float32, shape \(9, 2\)"),
        (np.full(9, np.nan), r": got float64, shape \(9,\), up to nan"),
        (np.full(9, 1000.0), r", up to 1000"),
        (np.zeros(9, np.int32), ": got int32"),
        ([1, 2], ": got int64"),
        (["a.wav", "b.wav"], ": got <U5"),
        (b"RIFF", ": got int64"),
        ((WAVE, 16000), ": got int64"),
        (None, ": got object"),
        (torch.zeros(9).to_sparse(), "not a Tensor"),
        (np.ma.masked_array(WAVE, WAVE > 0), r"not a MaskedArray \(some are masked\)"),
    ],
)
def test_samples_that_are_none(audio, got):
    with pytest.raises(ValueError, match=f"give samples of one channel, .*{got}"):
        HEARS.samples(audio)


@pytest.mark.parametrize("runtime", [infer, with_espnet])
def test_what_is_beside_a_link_of_a_hubs_cache(tmp_path, runtime):
    (tmp_path / "blobs").mkdir()
    for name, module in (("infer.py", runtime), ("hearing.py", hearing), ("search.py", search)):
        blob = shutil.copy(module.__file__, tmp_path / f"blobs/{name}.sha256")
        (tmp_path / name).symlink_to(blob)
    assert runpy.run_path(str(tmp_path / "infer.py"))["HERE"] == tmp_path


def test_raw_samples_from_a_pipe(tmp_path):
    raw = (WAVE * 32767).astype("<i2")
    found = np.concatenate(list(infer._chunks(io.BytesIO(raw.tobytes() + b"x"))))
    np.testing.assert_array_equal(found, raw)
    for kind in ("WAV", "FLAC", "OGG"):
        soundfile.write(tmp_path / "a", np.zeros((900, 2)), 8000, format=kind)
        with pytest.raises(ValueError, match="not raw samples; of a WAV file, give /dev/stdin"):
            HEARS.samples(infer._chunks((tmp_path / "a").open("rb")))


def test_the_text_is_that_of_sentencepiece(tmp_path):
    listed = tokens.fixed()
    pieces = spm.SentencePieceProcessor(model_proto=listed.model)
    rng = np.random.default_rng(0)
    for _ in range(50):
        chosen = [listed.entries[i] for i in rng.integers(1, len(listed.entries), 20)]
        assert infer.written(chosen) == " ".join(pieces.decode(chosen).split())
    assert infer.written([]) == ""
