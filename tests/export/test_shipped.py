"""Shipped models, in a Python that has numpy and onnxruntime alone."""

import math
import shutil
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
import torch

from espnet_dice.compat import moved_module
from espnet_dice.export import greedy_wer, shipped
from espnet_dice.export.onnx import missing_for_onnx
from espnet_dice.probes.probe_scores import greedy
from espnet_dice.records import feature_dir, tokens
from espnet_dice.records.feature_shards import ALGORITHM
from espnet_dice.records.frontend import Frontend
from espnet_dice.records.spoken import Spoken
from espnet_dice.stages.features import make_features
from tests.corpus import make_corpus
from tests.export.test_asr_encoder import build
from tests.features.signals import speechlike

pytestmark = pytest.mark.skipif(bool(missing_for_onnx()), reason="the extra onnx is not installed")
HEARD = Frontend("fbank_pitch", 16000)
ALONE = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
for name in ("torch", "espnet2", "espnet_dice", "soundfile", "kaldi_native_fbank", "numba"):
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(name + " is there")
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """ESPnet's recogniser with fresh parameters, and the export that holds ``ship/``."""
    from espnet_dice.export import plain_espnet
    from espnet_dice.export.onnx import asr_encoder, search_step

    directory = tmp_path_factory.mktemp("export")
    model = build(directory, dim=83, listed=tokens.TOKENS)
    with torch.no_grad():
        model.ctc.ctc_lo.weight *= 30  # without, one token is the best everywhere
    asr_encoder.write(model, directory, "asr_x")
    search_step.write_decoder(model, directory, "asr_x")
    (directory / "data").mkdir()
    (directory / "stats.npz").rename(directory / plain_espnet.STATS)
    (directory / tokens.LIST).write_text("".join(f"{token}\n" for token in tokens.TOKENS))
    (directory / tokens.MODEL).write_bytes(tokens.fixed().model)
    shipped.recogniser(directory, HEARD, tokens.TOKENS)
    return model, directory


@pytest.fixture(scope="module")
def only(tmp_path_factory):
    """A path with two packages."""
    import onnxruntime

    directory = tmp_path_factory.mktemp("only")
    for package in (np, onnxruntime):
        folder = Path(package.__file__).parent
        (directory / folder.name).symlink_to(folder)
        if (libs := folder.with_name(f"{folder.name}.libs")).exists():
            (directory / libs.name).symlink_to(libs)
    return directory


def alone(only, *command):
    """Run a file as a program where nothing else can be imported."""
    run = [sys.executable, "-I", "-S", "-c", ALONE, *map(str, (only, *command))]
    return subprocess.run(run, capture_output=True, text=True)


def said_by_espnet(model, matrix):
    """Greedy CTC of ESPnet's own recogniser."""
    with torch.no_grad():
        memory, _ = model.encode(torch.tensor(matrix)[None], torch.tensor([len(matrix)]))
        ids = model.ctc.argmax(memory)[0].tolist()
    letters = ["", " ⁇ ", " ", *tokens.TOKENS[3:]]
    return " ".join("".join(letters[i] for i, _ in groupby(ids)).split())


def searched_by_espnet(model, matrix):
    """The beam search of CTC and decoder, of 4."""
    eos = len(tokens.TOKENS) - 1
    ctc = moved_module("nets.scorers.ctc").CTCPrefixScorer(model.ctc, eos)
    search = moved_module("nets.batch_beam_search").BatchBeamSearch(
        {"decoder": model.decoder, "ctc": ctc},
        {"decoder": 0.7, "ctc": 0.3},
        beam_size=4,
        vocab_size=eos + 1,
        sos=eos,
        eos=eos,
        pre_beam_score_key="full",
    )
    with torch.no_grad():
        memory, _ = model.encode(torch.tensor(matrix)[None], torch.tensor([len(matrix)]))
        best = search(memory[0], 0.0, 0.0)[0].yseq
    letters = ["", " ⁇ ", " ", *tokens.TOKENS[3:]]
    return " ".join("".join(letters[i] for i in best if i not in (0, eos)).split())


def test_the_text_is_that_of_the_full_recogniser(made, only, tmp_path):
    model, directory = made
    wave = speechlike(seconds=2.0)
    soundfile.write(tmp_path / "u1.wav", wave, 16000)
    samples = wave / np.float32(32768)
    matrix = HEARD.features(samples, "u1")
    wanted = said_by_espnet(model, matrix.copy())
    assert len(wanted) > 3
    done = alone(only, directory / "ship/infer.py", tmp_path / "u1.wav", "--full", "--ctc")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{wanted}\n", "")

    runtime = shipped.runtime(directory)
    full, int8 = (runtime.Model(directory / "ship", int8=eight) for eight in (False, True))
    assert full.text(wave, name="u1", ctc=True) == full.text(samples, name="u1", ctc=True) == wanted
    chunks = [samples[n : n + 1600] for n in range(0, len(samples), 1600)]
    assert full.text(iter(chunks), name="u1", ctc=True) == wanted
    np.testing.assert_allclose(full.hearing.features(samples, "u1"), matrix, rtol=0, atol=1e-3)
    from espnet_dice.export.onnx import graphs

    heard = full.hearing.features(samples, "u1")
    _, log_probs = graphs.session(directory / "encoder.int8.onnx")(heard[None])
    ids = greedy(log_probs[0])
    assert int8.text(samples, name="u1", ctc=True) == runtime.written(tokens.TOKENS[i] for i in ids)
    _, log_probs = full.heard(samples, "u1")
    assert log_probs.shape == (math.ceil((len(heard) - 6) / 4), 31)
    assert full.text(samples, beam=31, name="u1", ctc=True) == runtime.written(
        tokens.TOKENS[i] for i in runtime.search.prefix_beam(log_probs, 31)
    )
    wanted = searched_by_espnet(model, matrix.copy())
    assert full.text(samples, name="u1") == wanted
    done = alone(only, directory / "ship/infer.py", tmp_path / "u1.wav", "--full")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{wanted}\n", "")
    (tmp_path / "ship").mkdir()
    for path in (directory / "ship").iterdir():
        if not path.name.startswith("decoder"):
            shutil.copy(path, tmp_path / "ship")
    with pytest.raises(
        ValueError, match=r"decoder\.onnx: missing: copy it .* out of parts in conf"
    ):
        runtime.Model(tmp_path / "ship", int8=False)
    config = tmp_path / "ship/config.json"
    config.write_text(config.read_text().replace('"parts"', '"older"'))
    without = runtime.Model(tmp_path / "ship", int8=False)
    assert without.text(samples, name="u1") == full.text(samples, name="u1", ctc=True)
    (tmp_path / "ship/model.onnx").unlink()
    with pytest.raises(ValueError, match=r"model\.onnx: missing: copy it here, too$"):
        runtime.Model(tmp_path / "ship", int8=False)
    (tmp_path / "ship/model.onnx").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"model\.onnx: damaged: copy it again"):
        runtime.Model(tmp_path / "ship", int8=False)


def test_in_a_hubs_cache(made, only, tmp_path):
    """There each file is a link to one of another name; a link to the command alone works, too."""
    _, directory = made
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    for at, path in enumerate(sorted((directory / "ship").iterdir())):
        (tmp_path / "blobs").mkdir(exist_ok=True)
        (tmp_path / "snapshot").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / f"blobs/{at}")
        (tmp_path / "snapshot" / path.name).symlink_to(f"../blobs/{at}")
    (tmp_path / "transcribe").symlink_to(directory / "ship/infer.py")
    for command in ("snapshot/infer.py", "transcribe"):
        done = alone(only, tmp_path / command, tmp_path / "a.wav")
        assert (done.returncode, done.stderr) == (0, "")


def test_features_without_pitch(made, tmp_path):
    _, directory = made
    shutil.copytree(directory / "ship", tmp_path / "ship")
    (tmp_path / "ship/pitch.py").unlink()
    config = tmp_path / "ship/config.json"
    config.write_text(config.read_text().replace("fbank_pitch", "fbank"))
    model = shipped.runtime(tmp_path).Model(tmp_path / "ship")
    samples = speechlike(seconds=1.0) / np.float32(32768)
    wanted = Frontend("fbank", 16000).features(samples, "")
    np.testing.assert_allclose(model.hearing.features(samples), wanted, rtol=0, atol=1e-3)


def test_its_wer(made, tmp_path):
    """From the audio behind the features of a test set."""
    _, directory = made
    make_corpus(tmp_path / "data/s")
    make_features(tmp_path / "data/s", tmp_path / "dump/s", "fbank_pitch")
    test = feature_dir.load(tmp_path / "dump/s")
    spoken = Spoken(test, tmp_path / "data")
    found = greedy_wer.measure(directory, test, directory, 5, spoken)
    model = shipped.runtime(directory).Model(directory / "ship")
    lines = (tmp_path / "data/s/text").read_text().splitlines()
    references = {utt: " ".join(words) for utt, *words in map(str.split, lines)}
    chosen = greedy_wer.choose(test.lengths, 5, 19000)
    texts = [model.text(spoken(utt), name=utt) for utt in chosen]
    wanted = 100 * jiwer.wer([references[utt] for utt in chosen], texts)
    assert found["ship"] == pytest.approx(wanted, abs=1e-3)
    assert 0 < found["ship_cpu_s_per_audio_s"] < 10
    assert {path.suffix for path in (directory / "ship").iterdir()} <= {
        ".py",
        ".json",
        ".txt",
        ".onnx",
    }


def test_what_is_in_the_directory(made):
    _, directory = made
    files = {path.name for path in (directory / "ship").iterdir()}
    wanted = {"infer.py", "hearing.py", "search.py", "ngram.py", "pitch.py"}
    wanted |= {"config.json", "tokens.txt"}
    wanted |= {f"{part}{kind}.onnx" for part in ("model", "decoder") for kind in ("", ".int8")}
    assert files == wanted
    config = shipped.runtime(directory).Model(directory / "ship").config
    assert (config["subsampling"], config["rate"], config["blank"]) == (4, 16000, 0)
    assert config["parts"] == ["decoder", "model"]


def test_speech_that_does_not_fit(made, only, tmp_path):
    _, directory = made
    model = shipped.runtime(directory).Model(directory / "ship")
    assert model.text(np.zeros(0, np.int16)) == model.text(np.zeros(900, np.int16)) == ""
    with pytest.raises(ValueError, match="200 s are too long for the model"):
        model.text(np.zeros(200 * 16000, np.float32))
    for option in (
        {"beam": -1},
        {"beam": 0},
        {"beam": 1.5},
        {"beam": "4"},
        {"lm_weight": math.nan},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(option))} .*: give a "):
            model.text(np.zeros(0, np.int16), **option)
    assert model.text(np.zeros(0, np.int16), beam=np.int64(1)) == ""
    with pytest.raises(ValueError, match="ctc_weight 1.2: give a share from 0 to 1"):
        model.text(np.zeros(0, np.int16), ctc_weight=1.2)
    with pytest.raises(ValueError, match="use text"):
        model.hidden(np.zeros(16000, np.float32))
    soundfile.write(tmp_path / "low.wav", np.zeros(900), 8000)
    done = alone(only, directory / "ship/infer.py", tmp_path / "low.wav")
    assert done.returncode == 1 and not done.stdout
    wants = "8000 Hz, the model wants 16000 Hz: convert it (sox, ffmpeg)"
    assert done.stderr == f"infer.py: {tmp_path / 'low.wav'}: {wants}\n"
    soundfile.write(tmp_path / "long.wav", np.zeros(200 * 16000), 16000)
    with pytest.raises(ValueError, match=r"long\.wav: 200 s are too long"):
        model.text(tmp_path / "long.wav")


def test_what_cannot_be_shipped():
    assert shipped.why_not(None) == "it is not known how its features were made"
    assert "of version 1" in shipped.why_not(Frontend("fbank", 16000, 1))
    assert shipped.why_not(Frontend("fbank", 16000, ALGORITHM)) is None
