"""Packs of other recipes of ESPnet: the text is that of ESPnet's own Speech2Text."""

import zipfile
from argparse import Namespace

import numpy as np
import pytest
import soundfile
import torch
import yaml
from scipy.signal import resample_poly

import espnet_dice
from espnet_dice.io.errors import ConfigError, DataError
from tests.corpus import noise, write_audio
from tests.stages import tiny

BEAM = {"beam_size": 3, "ctc_weight": 0.3, "maxlenratio": 0.3}
TOKENS = ["<blank>", "<unk>", "<space>", *"abcdefghijäöü", "<sos/eos>"]
RNN = {"num_layers": 1, "hidden_size": 8}
CONFIG, MODEL = "exp/asr_a/config.yaml", "exp/asr_a/valid.acc.ave_10best.pth"
LM_CONFIG, LM = "exp/lm/config.yaml", "exp/lm/valid.loss.ave.pth"
KINDS = {
    "16k": ({}, 16000),
    "8k": ({"frontend_conf": {"fs": "8k", "n_fft": 256, "hop_length": 80}}, 8000),
    "number": ({"frontend_conf": {"fs": 8000, "n_fft": 256, "hop_length": 80}}, 8000),
    "rnn": (
        {"encoder": "vgg_rnn", "encoder_conf": {**RNN, "output_size": 8},
         "decoder": "rnn", "decoder_conf": RNN},
        16000,
    ),
    "sliding": (
        {"preencoder": "sinc", "preencoder_conf": {"fs": 16000},
         "frontend": "sliding_window",
         "frontend_conf": {"win_length": 400, "hop_length": 160, "channels": 1, "fs": None}},
        16000,
    ),
}  # fmt: skip


def save(task, config, directory, config_name, model_name):
    """A model with fresh parameters, as a training of ESPnet leaves it."""
    torch.manual_seed(0)
    conf = {**task.get_default_config(), "token_list": TOKENS, "token_type": "char"}
    conf.update({"bpemodel": None, **config})
    model = task.build_model(Namespace(**conf))
    for name in (config_name, model_name):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
    plain = (str, int, float, bool, list, dict, type(None))
    conf = {k: v for k, v in conf.items() if isinstance(v, plain)}
    (directory / config_name).write_text(yaml.safe_dump(conf))
    torch.save(model.state_dict(), directory / model_name)


def write_pack(directory, name="a.zip", option=(), lm=False, **over):
    """What an ``asr.sh`` packs at its end."""
    from espnet2.main_funcs.pack_funcs import pack
    from espnet2.tasks.asr import ASRTask
    from espnet2.tasks.lm import LMTask

    config = tiny.asr_config()
    config |= {"input_size": None, "frontend": "default", "frontend_conf": {"fs": "16k"}}
    config |= {"normalize": "utterance_mvn", "normalize_conf": {}, **over}
    save(ASRTask, config, directory, CONFIG, MODEL)
    files, configs = {"asr_model_file": MODEL}, {"asr_train_config": CONFIG}
    if lm:
        save(LMTask, tiny.LM_CONFIG, directory, LM_CONFIG, LM)
        files["lm_file"], configs["lm_train_config"] = LM, LM_CONFIG
    with tiny.inside(directory):
        pack(files, configs, name, option)
    return directory / name


def espnet(directory, wav, **options):
    from espnet2.bin.asr_inference import Speech2Text

    with tiny.inside(directory):
        model = Speech2Text(CONFIG, MODEL, **{"lm_weight": 0.0, **BEAM, **options})
    text = model(soundfile.read(wav, dtype="float32")[0])[0][0]
    assert len(text) > 5
    return text.strip()


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_espnets(tmp_path, kind):
    over, rate = KINDS[kind]
    pack = write_pack(tmp_path / "recipe", **over)
    wav = write_audio(tmp_path / "u.wav", resample_poly(noise(1.0), rate, 16000), rate=rate)
    wanted = espnet(tmp_path / "recipe", wav)
    with zipfile.ZipFile(pack) as z:
        z.extractall(tmp_path / "unpacked")
    for source in (pack, tmp_path / "unpacked"):
        model = espnet_dice.load(source, **BEAM)
        assert model.transcribe(wav) == wanted
    other = write_audio(tmp_path / "v.wav", noise(1.0), rate=11025)
    with pytest.raises(DataError, match=f"11025 Hz, expected {rate} Hz"):
        model.transcribe(other)
    assert espnet_dice.load(pack, resample=True, **BEAM).transcribe(other)


def test_files_of_the_pack(tmp_path):
    """Statistics and a language model, which the pack names by paths from its root."""
    recipe = tmp_path / "recipe"
    stats = recipe / "exp/asr_stats/feats_stats.npz"
    stats.parent.mkdir(parents=True)
    np.savez(stats, count=100, sum=np.full(80, 500.0), sum_square=np.full(80, 2900.0))
    conf = {"stats_file": "exp/asr_stats/feats_stats.npz"}
    with tiny.inside(recipe):
        pack = write_pack(
            recipe, normalize="global_mvn", normalize_conf=conf, lm=True, option=[stats]
        )
    wav = write_audio(tmp_path / "u.wav", noise(1.0))
    language = {"lm_train_config": recipe / LM_CONFIG, "lm_file": recipe / LM}
    heavy = espnet(recipe, wav, **language, lm_weight=3.0)
    without = espnet(recipe, wav)
    assert espnet_dice.load(pack, **BEAM, lm_weight=3.0).transcribe(wav) == heavy != without
    assert espnet_dice.load(pack, **BEAM, lm_weight=0.0).transcribe(wav) == without
    assert espnet_dice.load(pack).options["lm_weight"] == 0.3
    # ESPnet's own directory, and what is none
    for lm in ((recipe / LM_CONFIG).parent, recipe / LM_CONFIG):
        assert espnet_dice.load(pack, lm=lm, **BEAM, lm_weight=3.0).transcribe(wav) == heavy
    for lm in ((recipe / CONFIG).parent, recipe / LM, recipe):
        with pytest.raises(ConfigError, match=f"{lm}: no language model; give exp/lm_<tag>"):
            espnet_dice.load(pack, lm=lm)
    (recipe / LM).unlink()
    with pytest.raises(ConfigError, match=r"valid\.loss\.ave\.pth: missing .*: none"):
        espnet_dice.load(pack, lm=(recipe / LM_CONFIG).parent)


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"model": "maskctc"}, "model: maskctc is not decoded by espnet2.bin.asr_inference"),
        ({"frontend": "s3prl"}, "frontend: s3prl fetches a model from the network"),
        ({"frontend_conf": {"fs": "fast"}}, "frontend_conf: fs: 'fast' is no sampling rate"),
        (
            {"encoder": "lately_invented"},
            "this version of ESPnet does not run it .*--encoder must be one of",
        ),
        ({"encoder_conf": {"lately": 1}}, "this version of ESPnet does not run it .*lately"),
        (
            {"frontend": "sliding_window", "frontend_conf": {"win_length": 400, "channels": 1}},
            "this version of ESPnet does not run it",
        ),
        ({"token_type": "bpe", "bpemodel": "data/no.model"}, r"data/no\.model: not found from"),
        ({"encoder_conf": {"output_size": 32}}, "does not run it .*size mismatch"),
        ({"model_conf": {"ctc_weight": 0.3, "num_spkrs": 2}}, "2 speakers at a time"),
    ],
)
def test_refused_by_the_packs_own_name(tmp_path, over, message):
    pack = write_pack(tmp_path)
    config = yaml.safe_load((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(yaml.safe_dump({**config, **over}))
    rewrite(pack, {CONFIG: (tmp_path / CONFIG).read_bytes()})
    with pytest.raises(ConfigError, match=message) as caught:
        espnet_dice.load(pack)
    assert str(pack) in str(caught.value) and "/pack" not in str(caught.value)


def rewrite(pack, members):
    with zipfile.ZipFile(pack) as z:
        content = {name: z.read(name) for name in z.namelist()}
    with zipfile.ZipFile(pack, "w") as z:
        for name, data in {**content, **members}.items():
            z.writestr(name, data)


def test_packs_of_other_tasks(tmp_path):
    pack = write_pack(tmp_path)
    meta = {"files": {"tts_model_file": MODEL}, "yaml_files": {"tts_train_config": CONFIG}}
    rewrite(pack, {"meta.yaml": yaml.safe_dump(meta)})
    with zipfile.ZipFile(pack) as z:
        z.extractall(tmp_path / "unpacked")
    for source in (pack, tmp_path / "unpacked"):
        with pytest.raises(ConfigError, match="no recogniser: .* tts_train_config, tts_model_file"):
            espnet_dice.load(source)
    meta["files"]["tts_model_file"] = "../../etc/passwd"
    (tmp_path / "unpacked/meta.yaml").write_text(yaml.safe_dump(meta))
    with pytest.raises(ConfigError, match="passwd', which is not in it"):
        espnet_dice.load(tmp_path / "unpacked")


def test_features_of_another_kind(tmp_path):
    pack = write_pack(tmp_path, frontend=None, frontend_conf={}, input_size=80)
    model = espnet_dice.load(pack, **BEAM)
    with pytest.raises(ConfigError, match=r"a was trained on features that .* decode\(features\)"):
        model.transcribe(np.zeros(16000), 16000)
    assert isinstance(model.decode(np.zeros((50, 80))), str)
