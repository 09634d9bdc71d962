"""A plug-in model that ESPnet's own training made, as ``asr.sh`` calls it, on the way out."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

import espnet_dice
from espnet_dice.export import plain_espnet
from espnet_dice.io.errors import ConfigError, DiceError
from espnet_dice.stages import export
from espnet_dice.training import trainer
from espnet_dice.work.workers import Work, run_forked
from tests.corpus import make_corpus
from tests.stages import tiny

CHARACTERS = ["<blank>", "<unk>", "<space>", *"EFHINORSTUVWX", "<sos/eos>"]
BEAM = {"beam_size": 3, "ctc_weight": 0.3, "maxlenratio": 0.3}
OUT = Path("exp/asr_kd_off")


def train():
    """``espnet2.bin.asr_train`` with the options that ``asr.sh`` gives it, on sound."""
    data = [
        f"--{part}_data_path_and_name_and_type=dump/raw/{name}/{file}"
        for part, name in (("train", "train_nodev"), ("valid", "train_dev"))
        for file in ("wav.scp,speech,sound", "text,text,text")
    ]
    options = {
        "config": "conf/train_asr_kd_off.yaml",
        "output_dir": str(OUT),
        "token_list": "data/token_list/char/tokens.txt",
        "token_type": "char",
        "bpemodel": "none",
        "non_linguistic_symbols": "data/nlsyms.txt",
        "cleaner": "none",
        "g2p": "none",
        "use_preprocessor": "true",
        "frontend_conf": "fs=16k",
        "normalize": "global_mvn",
        "normalize_conf": "stats_file=exp/asr_stats_raw_char/train/feats_stats.npz",
        "batch_type": "unsorted",
        "ngpu": "0",
    }
    data += [f"--{part}_shape_file=exp/speech_shape" for part in ("train", "valid")]
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    trainer.task_class("asr").main(cmd=[*words, *data])


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe of ESPnet's, trained, and exported."""
    root = tmp_path_factory.mktemp("espnet")
    with tiny.inside(root):
        for name in ("train_nodev", "train_dev"):
            data = make_corpus(Path("dump/raw") / name, seconds=1.0)
            scp = [line.split() for line in (data / "wav.scp").read_text().splitlines()]
            (data / "wav.scp").write_text("".join(f"{u} {data / wav}\n" for u, wav in scp))
        for name, text in (
            ("data/token_list/char/tokens.txt", "".join(f"{c}\n" for c in CHARACTERS)),
            ("data/nlsyms.txt", "<NOISE>\n"),
            ("exp/speech_shape", "".join(f"u{i:03} 16000\n" for i in range(3))),
        ):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)
        stats = Path("exp/asr_stats_raw_char/train/feats_stats.npz")
        stats.parent.mkdir(parents=True)
        np.savez(stats, count=100, sum=np.full(80, -300.0), sum_square=np.full(80, 1500.0))
        config = tiny.asr_config("uncertainty_kd") | {"batch_size": 2, "num_workers": 0}
        tiny.write_config("conf/train_asr_kd_off.yaml", config | {"num_att_plot": 0})
        trainer.task_class("asr")
        run_forked([Work("kd_off", train, root / "train.log")], 1)
        assert not (OUT / "model.json").exists() and (OUT / "valid.acc.ave.pth").exists()
        export.main(["--systems", str(OUT)])
    return root


def test_its_files(recipe):
    out = recipe / OUT / "export"
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert (config["model"], config["decoder"]) == ("espnet", "transformer")
    assert config["bpemodel"] is None and config["frontend_conf"]["fs"] == "16k"
    assert Path(config["normalize_conf"]["stats_file"]) == out / plain_espnet.STATS
    assert Path(config["non_linguistic_symbols"]) == out / plain_espnet.SYMBOLS
    assert json.loads((out / "features.json").read_text())["feats_type"] == "raw"
    files = {path.name for path in out.iterdir()}
    assert {"infer.py", "hearing.py", "asr_kd_off.zip", "hf"} <= files
    assert not {"pitch.py", "ship", "encoder.onnx"} & files
    report = json.loads((out / "export.json").read_text())
    assert report["largest_difference"] == 0
    card = (out / "hf/README.md").read_text()
    assert f"| parameters | {report['parameters'] / 1e6:.2f} M |" in card
    assert "| trained on | `train_nodev`, validated on `train_dev` |" in card
    assert "`raw`, of speech at 16000 Hz" in card and "python infer.py speech.wav" in card


def test_its_text_is_that_of_the_trained_model(recipe):
    wav = next((recipe / "dump/raw/train_dev/audio").iterdir())
    with tiny.inside(recipe):
        trained = trainer.inference_class()(
            OUT / "config.yaml", OUT / "valid.acc.ave.pth", lm_weight=0.0, **BEAM
        )
        wanted = trained(soundfile.read(wav, dtype="float32")[0])[0][0].strip()
    assert type(trained.asr_model).__module__ == "espnet_dice.kd.model" and len(wanted) > 3
    for place in ("export", "export/hf"):
        spec = importlib.util.spec_from_file_location("infer", recipe / OUT / place / "infer.py")
        infer = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(infer)
        assert infer.Model(**BEAM).text(wav) == wanted
    assert espnet_dice.load(recipe / OUT / "export", **BEAM).transcribe(wav) == wanted


def test_it_is_exported_once(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    assert export.export([OUT]) == 0


def test_what_cannot_be_exported(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(recipe)
    unfinished = tmp_path / "asr_a"
    unfinished.mkdir()
    (unfinished / "config.yaml").write_bytes((OUT / "config.yaml").read_bytes())
    with pytest.raises(ConfigError, match=r"valid\.acc\.ave\.pth: missing .*there: none\)"):
        export.export([unfinished])
    monkeypatch.chdir(tmp_path)
    (unfinished / "valid.acc.ave.pth").write_bytes(
        (recipe / OUT / "valid.acc.ave.pth").read_bytes()
    )
    with pytest.raises(DiceError, match=r"missing; export in the directory that the training ran"):
        export.export([unfinished])
    (unfinished / "config.yaml").write_text("vocoder: yes\n")
    with pytest.raises(ConfigError, match="of no recogniser that ESPnet's asr.sh trained"):
        export.export([unfinished])
