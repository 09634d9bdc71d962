"""Text of waveforms: what the recipe's own stages make of the same utterances."""

import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
import yaml
from scipy.signal import resample_poly

import espnet_dice
from espnet_dice import transcribe
from espnet_dice.io.audio import AudioOptions
from espnet_dice.io.errors import ConfigError, DataError, StaleError
from espnet_dice.io.fingerprint import key_of
from espnet_dice.records import feature_dir
from espnet_dice.records.frontend import rate_of
from espnet_dice.stages import decode, export, features, tokens
from espnet_dice.training import asr
from espnet_dice.training.jobs import run_jobs
from tests.corpus import RATE, noise, write_audio, write_tables
from tests.stages import tiny

ALONE = """
import runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("espnet_dice", "kaldi_native_fbank"):
            raise ImportError("not here: " + name)
sys.meta_path.insert(0, Blocked())
try:
    import nltk
    nltk.download = lambda *a, **k: False
except ImportError:
    pass
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
DECODE = {"beam_size": 3, "ctc_weight": 0.4, "maxlenratio": 0.3}


def tones(text):
    """Every character has its own tone, 80 ms long."""
    t = np.arange(round(0.08 * RATE)) / RATE
    return np.concatenate([0.3 * np.sin(2 * np.pi * (40 * ord(c) - 1000) * t) for c in text])


def make_speech(directory, utterances, seed):
    """A data directory of words in tones."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(tiny.WORDS, size=rng.integers(2, 4))) for _ in range(utterances)]
    ids = [f"u{i:03}" for i in range(utterances)]
    for utt, text in zip(ids, texts, strict=True):
        write_audio(directory / "audio" / f"{utt}.wav", tones(text))
    return write_tables(
        directory,
        wav_scp=[f"{utt} audio/{utt}.wav" for utt in ids],
        text=[f"{utt} {text}" for utt, text in zip(ids, texts, strict=True)],
        utt2spk=[f"{utt} s" for utt in ids],
    )


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Speech, features, a recogniser of 83-d features, its text of the dev set, its export."""
    root = tmp_path_factory.mktemp("recipe")
    with tiny.inside(root):
        for seed, (name, n) in enumerate((("train", 40), ("dev", 4))):
            make_speech(tiny.Path("data") / name, n, seed)
            features.make_features(tiny.Path("data") / name, tiny.DUMP / name)
        texts = [tiny.DUMP / name / "text" for name in ("train", "dev")]
        tokens.make_tokens(tiny.TOKENS, texts)
        config = tiny.write_config("conf/train_asr_x.yaml", tiny.asr_config("uncertainty_kd", 4))
        sets = [feature_dir.load(tiny.DUMP / name) for name in ("train", "dev")]
        key = key_of(tiny.TOKENS, "stage 3")
        run_jobs([asr.make_job("x", config, *sets, tiny.TOKENS, key, tiny.EXP, 0)])
        beam = tiny.write_config("conf/decode.yaml", DECODE)
        (d,) = decode.plan([tiny.EXP / "asr_x"], [tiny.DUMP / "dev"], None, [False], beam)
        decode.run([d], nj=1)
        assert export.export([tiny.EXP / "asr_x"], tiny.TOKENS, onnx=False) == 1
    lines = (root / d.out / "text").read_text().splitlines()
    return root, {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}


@pytest.fixture(scope="module")
def model(recipe):
    """Loaded from the experiment, from another directory than the recipe's."""
    return espnet_dice.load(recipe[0] / "exp/asr_x", **DECODE)


def wavs(root):
    return {f.stem: f for f in sorted((root / "data/dev/audio").iterdir())}


def test_features_are_the_recipes_to_the_last_bit(recipe, model):
    with tiny.inside(recipe[0]):
        stored = {
            u: np.array(m) for u, m in kaldiio.load_scp("dump/fbank_pitch/dev/feats.scp").items()
        }
    for utt, wav in wavs(recipe[0]).items():
        np.testing.assert_array_equal(model.features(wav), stored[utt])
        samples, rate = soundfile.read(wav, dtype="int16")
        np.testing.assert_array_equal(model.features(samples, rate, utt), stored[utt])
        tensor = torch.from_numpy(samples / 32768)
        np.testing.assert_array_equal(model.features(tensor, rate, utt), stored[utt])
    # Kaldi's noise on the pitch: another name, another draw, and nothing else differs
    other = model.features(wav, name="another")
    assert (other != stored[utt]).any(0).nonzero()[0].tolist() == [82]


def test_text_is_the_recipes(recipe, model, tmp_path):
    root, texts = recipe
    assert len(texts) == 4 and len(set(texts.values())) > 1
    archive = shutil.copy(root / "exp/asr_x/export/asr_x.zip", tmp_path)
    moved = shutil.copytree(root / "exp/asr_x/export", tmp_path / "moved")
    config = yaml.safe_load((moved / "config.yaml").read_text())
    config["bpemodel"] = "/no/such/asr_x/export/data/bpe.model"  # as if the old place were gone
    (moved / "config.yaml").write_text(yaml.safe_dump(config))
    for source in (root / "exp/asr_x/export/config.yaml", archive, moved, moved / "hf/meta.yaml"):
        other = espnet_dice.load(source, **DECODE)
        assert type(other.model.asr_model).__module__ == "espnet2.asr.espnet_model"
        assert {u: other.transcribe(wav) for u, wav in wavs(root).items()} == texts
    # a copy takes its own files, though the place that its config names is there, made anew
    config["bpemodel"] = str(tmp_path / "anew/export/data/bpe.model")
    (tmp_path / "anew/export/data").mkdir(parents=True)
    (tmp_path / "anew/export/data/bpe.model").write_bytes(b"another")
    (moved / "config.yaml").write_text(yaml.safe_dump(config))
    other = espnet_dice.load(moved, **DECODE)
    assert {u: other.transcribe(wav) for u, wav in wavs(root).items()} == texts
    assert type(model.model.asr_model).__module__ == "espnet_dice.kd.model"
    assert {u: model.transcribe(str(wav)) for u, wav in wavs(root).items()} == texts


def runtime(directory):
    """The module ``infer.py`` of an export."""
    spec = importlib.util.spec_from_file_location("infer", directory / "infer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_exports_own_file_takes_espnet_from_sound_to_text(recipe, tmp_path):
    root, texts = recipe
    exported = shutil.copytree(root / "exp/asr_x/export", tmp_path / "moved")
    for place in (exported, exported / "hf"):
        infer = runtime(place)
        own = infer.Model(**DECODE)
        assert type(own.recogniser.asr_model).__module__ == "espnet2.asr.espnet_model"
        assert {u: own.text(wav) for u, wav in wavs(root).items()} == texts
    utt, wav = next(iter(wavs(root).items()))
    samples = soundfile.read(wav, dtype="int16")[0]
    assert own.text(samples, utt) == texts[utt]
    with pytest.raises(ValueError, match="20 samples are too few for one frame"):
        own.text(samples[:20])
    assert own.text(samples[:700], utt) == ""  # ESPnet makes no frame of so few


def test_in_an_environment_without_this_package(recipe, tmp_path):
    root, texts = recipe
    (tmp_path / "decode.yaml").write_text(yaml.safe_dump(DECODE))
    command = [str(root / "exp/asr_x/export/infer.py"), *map(str, wavs(root).values())]
    (tmp_path / "alone.py").write_text(ALONE)
    done = subprocess.run(
        [sys.executable, "-I", "alone.py", *command, "--config", "decode.yaml"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    said = dict(line.partition(" ")[::2] for line in done.stdout.splitlines()[-len(texts) :])
    assert said == {str(wav): texts[utt] for utt, wav in wavs(root).items()}


def test_other_sampling_rates_are_refused_or_converted(recipe, model, tmp_path):
    wav = write_audio(tmp_path / "u.wav", noise(0.6), rate=8000)
    with pytest.raises(DataError, match=r"u\.wav: 8000 Hz, expected 16000 Hz"):
        model.transcribe(wav)
    samples = soundfile.read(wav)[0].astype(np.float32)
    with pytest.raises(DataError, match="8000 Hz, the model wants 16000 Hz: convert it, or load"):
        model.transcribe(samples, 8000)
    willing = espnet_dice.load(recipe[0] / "exp/asr_x", resample=True)
    want = willing.frontend.features(resample_poly(samples, 2, 1), "u")
    for made in (willing.features(wav), willing.features(samples, 8000, "u")):
        np.testing.assert_allclose(made, want, atol=1e-4)


def test_bad_audio(model, tmp_path):
    with pytest.raises(DataError, match="no_such.wav: no such file"):
        model.transcribe(tmp_path / "no_such.wav")
    with pytest.raises(DataError, match="has no sampling rate: give rate=16000"):
        model.transcribe(np.zeros(9000))
    for bad, message in [
        (np.zeros((9000, 2)), r"mono, of shape \(samples,\): got \(9000, 2\)"),
        (np.zeros(9000, int), "int64, which does not say its scale"),
        (np.full(9000, np.nan), "NaN"),
        (np.full(9000, 1000.0), "divide them by 32768"),
        (np.zeros(300), "too short for one frame"),
    ]:
        with pytest.raises(DataError, match=message):
            model.transcribe(bad, RATE)
    stereo = write_audio(tmp_path / "s.wav", np.zeros((9000, 2)))
    with pytest.raises(DataError, match="2 channels, expected one"):
        model.transcribe(stereo)


def test_bad_options_and_files(recipe, tmp_path):
    exp = recipe[0] / "exp/asr_x"
    with pytest.raises(ConfigError, match="unknown key 'beam'; did you mean 'beam_size'"):
        espnet_dice.load(exp, beam=3)
    with pytest.raises(ConfigError, match="lm_weight: give lm="):
        espnet_dice.load(exp, lm_weight=0.3)
    with pytest.raises(StaleError, match="lm_no is missing"):
        espnet_dice.load(exp, lm=tmp_path / "lm_no")
    for lm in (exp, exp / "export", exp / "config.yaml"):
        with pytest.raises(ConfigError, match="no language model; give exp/lm_<tag>"):
            espnet_dice.load(exp, lm=lm)
    hf = shutil.copytree(exp / "export/hf", tmp_path / "hf")
    (hf / "data/feats_stats.npz").unlink()
    with pytest.raises(ConfigError, match=r"feats_stats\.npz: not found from .*hf or above it"):
        espnet_dice.load(hf)
    (hf / "model.pth").unlink()
    (hf / "model.pth").symlink_to("../blobs/0")
    with pytest.raises(ConfigError, match=r"model\.pth: a link to nothing: copy the model with cp"):
        espnet_dice.load(hf)
    (hf / "model.pth").unlink()
    with pytest.raises(ConfigError, match=r"hf: meta\.yaml lists 'model\.pth', which is not in it"):
        espnet_dice.load(hf)


class Evil:
    def __reduce__(self):
        return (print, ("RUN",))


def test_a_pickle_is_not_run(recipe, tmp_path, capsys):
    hf = shutil.copytree(recipe[0] / "exp/asr_x/export/hf", tmp_path / "hf")
    (hf / "model.pth").unlink()  # a link to the export's own
    torch.save({"a": torch.zeros(1), "b": Evil()}, hf / "model.pth")
    with pytest.raises(ConfigError, match=r"model\.pth: damaged, or a pickle that holds more than"):
        espnet_dice.load(hf)
    assert "RUN" not in capsys.readouterr().out


def test_features_of_elsewhere(recipe, tmp_path):
    hf = shutil.copytree(recipe[0] / "exp/asr_x/export/hf", tmp_path / "hf")
    (hf / "features.json").unlink()
    model = espnet_dice.load(hf, **DECODE)
    with pytest.raises(ConfigError, match=r"not made by the features stage.*decode\(features\)"):
        model.transcribe(np.zeros(16000), 16000)
    with tiny.inside(recipe[0]):
        stored = kaldiio.load_scp("dump/fbank_pitch/dev/feats.scp")
        assert {u: model.decode(np.array(stored[u])) for u in stored} == recipe[1]
    (hf / "features.json").write_text('{"feats": 1}')
    with pytest.raises(ConfigError, match=r"features\.json: does not say what the features are"):
        espnet_dice.load(hf)


@pytest.mark.parametrize(
    ("fs", "rate"), [(8000, 8000), ("16k", 16000), ("8K", 8000), ("22.05k", 22050), (None, 16000)]
)
def test_sampling_rate_of_espnets_frontends(fs, rate):
    assert rate_of({} if fs is None else {"fs": fs}, tiny.Path("c.yaml")) == rate


@pytest.mark.parametrize("fs", ["fast", "", -1, 0, "0k"])
def test_what_is_no_sampling_rate(fs):
    with pytest.raises(ConfigError, match=r"c\.yaml: frontend_conf: fs: .* is no sampling rate"):
        rate_of({"fs": fs}, tiny.Path("c.yaml"))


def test_features_that_do_not_fit(recipe, model):
    for bad, message in [
        (np.zeros((50, 80)), r"shape \(frames, 83\): got float64 \(50, 80\)"),
        (np.zeros(50), r"got float64 \(50,\)"),
        (np.zeros((50, 83), complex), "got complex128"),
        (np.full((50, 83), np.nan), "NaN or infinite values"),
        (None, "got object"),
    ]:
        with pytest.raises(DataError, match=message):
            model.decode(bad)
    (wav,) = [*wavs(recipe[0]).values()][:1]
    feats = torch.from_numpy(model.features(wav)).requires_grad_()
    assert model.decode(feats) == recipe[1][wav.stem]


def test_arguments_of_loading(recipe):
    exp = recipe[0] / "exp/asr_x"
    for options, message in [
        ({"device": "gpu"}, "device='gpu': give cpu or cuda:N"),
        ({"device": "cuda:97"}, "device='cuda:97': give cpu or cuda:N"),
        ({"device": None}, "device=None: give cpu or cuda:N"),
        ({"resample": "yes"}, "resample must be True or False, not 'yes'"),
        ({"channel": "0"}, "channel must be a whole number from 0, or None, not '0'"),
        ({"channel": -1}, "channels count from 0"),
        ({"channel": np.True_}, "channel must be a whole number from 0, or None"),
        ({"beam_size": np.float64(2)}, "beam_size must be a whole number"),
    ]:
        with pytest.raises(ConfigError, match=message):
            espnet_dice.load(exp, **options)


def test_numbers_of_numpy(recipe):
    options = {
        "beam_size": np.int64(2),
        "ctc_weight": np.float32(0.25),
        "normalize_length": np.True_,
    }
    model = espnet_dice.load(
        recipe[0] / "exp/asr_x", resample=np.True_, channel=np.int64(0), **options
    )
    assert model.audio == AudioOptions(RATE, True, 0)
    assert {k: (type(v), v) for k, v in model.options.items() if k in options} == {
        "beam_size": (int, 2),
        "ctc_weight": (float, 0.25),
        "normalize_length": (bool, True),
    }


def test_parameters_that_are_missing(recipe, tmp_path):
    hf = shutil.copytree(recipe[0] / "exp/asr_x/export/hf", tmp_path / "hf")
    state = torch.load(hf / "model.pth", weights_only=True)
    del state["ctc.ctc_lo.bias"]
    (hf / "model.pth").unlink()  # a link to the export's own
    torch.save(state, hf / "model.pth")
    with pytest.raises(ConfigError, match=r"1 parameters .* missing, such as ctc\.ctc_lo\.bias"):
        espnet_dice.load(hf)


def test_the_archive_holds_what_a_hub_needs(recipe):
    export_dir = recipe[0] / "exp/asr_x/export"
    with zipfile.ZipFile(export_dir / "asr_x.zip") as z:
        packed = {name: z.read(name) for name in z.namelist()}
    hub = export_dir / "hf"
    hub = {str(f.relative_to(hub)): f.read_bytes() for f in hub.rglob("*") if f.is_file()}
    card = hub.pop("README.md").decode()
    assert hub == packed and "`fbank_pitch`, (frames, 83), of speech at 16000 Hz" in card
    files = {"config.yaml", "model.pth", "features.json", "meta.yaml"}
    files |= {"infer.py", "hearing.py", "pitch.py"}
    assert set(packed) == {*files, "data/bpe.model", "data/feats_stats.npz"}
    config = yaml.safe_load(packed["config.yaml"])
    assert config["bpemodel"] == "data/bpe.model"
    here = str(recipe[0]).encode()
    assert not [name for name, data in packed.items() if here in data] and here not in card.encode()


def test_the_model_zoo_loads_the_archive(recipe, tmp_path, monkeypatch):
    downloader = pytest.importorskip(
        "espnet_model_zoo.downloader", reason="espnet_model_zoo is a dependency of 202611 only"
    )
    from espnet2.bin.asr_inference import Speech2Text

    root, texts = recipe
    zoo = downloader.ModelDownloader(tmp_path / "cache")
    hub = shutil.copytree(root / "exp/asr_x/export/hf", tmp_path / "hub")
    monkeypatch.setattr(downloader, "snapshot_download", lambda *a, **k: str(hub))
    monkeypatch.setattr(downloader, "ModelDownloader", lambda: zoo)
    with tiny.inside(root):
        feats = {
            u: np.array(m) for u, m in kaldiio.load_scp("dump/fbank_pitch/dev/feats.scp").items()
        }
    for name in (str(root / "exp/asr_x/export/asr_x.zip"), "owner/name"):
        for model in (
            Speech2Text(**zoo.download_and_unpack(name), **DECODE),
            Speech2Text.from_pretrained(name, **DECODE),
        ):
            assert {u: model(feats[u])[0][0].strip() for u in feats} == texts


def test_the_command(recipe, tmp_path, capsys):
    root, texts = recipe
    (tmp_path / "beam.yaml").write_text(yaml.safe_dump({**DECODE, "lm_weight": 0.5}))
    files = [str(wav) for wav in wavs(root).values()]
    model = str(root / "exp/asr_x/export/asr_x.zip")
    transcribe.main([model, *files, "--config", str(tmp_path / "beam.yaml")])
    said = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert said == dict(zip(files, texts.values(), strict=True))
    transcribe.main([model, *files, "--config", str(tmp_path / "beam.yaml"), "--detail"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {one["file"]: one["text"] for one in found} == said
    assert {"tokens", "probabilities", "confidence", "speech", "level_db"} <= found[0].keys()


def test_detail(recipe, model):
    """Probabilities are those of ESPnet's decoder, asked token by token."""
    network = model.model.asr_model
    for utt, wav in wavs(recipe[0]).items():
        found = model.transcribe(wav, detail=True)
        assert found.text == recipe[1][utt] == "".join(found.tokens).replace("\u2581", " ").strip()
        ids = [network.sos, *model.model.converter.tokens2ids(found.tokens), network.eos]
        speech = torch.from_numpy(model.features(wav))[None]
        wanted = []
        with torch.no_grad():
            memory, _ = network.encode(speech, torch.tensor([speech.size(1)]))
            for n in range(1, len(ids)):
                log_p, _ = network.decoder.score(torch.tensor(ids[:n]), None, memory[0])
                wanted.append(float(log_p[ids[n]].exp()))
        np.testing.assert_allclose(found.probabilities, wanted[:-1], rtol=1e-4)
        assert found.confidence == pytest.approx(np.prod(wanted) ** (1 / len(wanted)), rel=1e-4)
    silent = model.transcribe(np.zeros(RATE), RATE, detail=True)
    assert not silent.speech and silent.level_db < -100
    pauses = np.concatenate([np.zeros(RATE // 2), tones("A"), np.zeros(RATE // 2), tones("B")])
    assert model.transcribe(pauses, RATE, detail=True).speech
