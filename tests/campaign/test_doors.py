"""No file runs anything, leaves its directory or asks the network unless an option says so.

Each test hands a door an attacking file (:mod:`attacks`), which leaves a trace if it gets in. That
the attacks do work is tested first. DOORS.md lists the doors.
"""

import contextlib
import io
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_dice.hubert import frozen
from espnet_dice.hubert.formats import hub, teacher_files
from espnet_dice.inference import archive, files
from espnet_dice.io import arks
from espnet_dice.io.errors import ConfigError, DataError, DiceError
from espnet_dice.io.untrusted import torch_files
from espnet_dice.labels import quantizer
from espnet_dice.records import config_base, configs
from espnet_dice.stages import data, features, kmeans, labels, tokens
from espnet_dice.training import jobs, trainer
from tests.campaign import attacks
from tests.corpus import make_corpus
from tests.stages import stub_python

ROOT = Path(__file__).parents[2]


@pytest.fixture
def trace(tmp_path):
    """A file that must not be there when the test is over."""
    path = tmp_path / "trace"
    yield path
    assert not path.exists(), "the file got in"


@pytest.fixture
def offline(monkeypatch):
    """No socket is opened and no name is looked up; what was tried."""
    tried = []

    def refuse(*args, **kwargs):
        tried.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield tried
    assert tried == []


def test_the_attacks_work(tmp_path):
    """Where files are opened without care they do leave their traces."""
    import joblib
    import kaldiio
    import numpy as np
    import torch
    import yaml

    def tried(name: str, attack) -> bool:
        trace = tmp_path / f"{name}.trace"
        with contextlib.suppress(Exception):
            attack(tmp_path / name, trace)
        return trace.exists()

    torch_load = torch.load
    assert tried("a.pt", lambda p, t: torch_load(attacks.torch_file(p, t), weights_only=False))
    assert tried("a.joblib", lambda p, t: joblib.load(attacks.joblib_file(p, t)))
    assert tried("a.npy", lambda p, t: np.load(attacks.npy(p, t), allow_pickle=True))
    assert tried("a.ark", lambda p, t: kaldiio.load_mat(f"{p}:{attacks.ark(p, t)}"))
    assert tried("a.yaml", lambda p, t: yaml.unsafe_load(attacks.yaml_text(t)))
    for word in attacks.runs(tmp_path / "b.trace"):
        subprocess.run(["bash", "-c", f"echo {word} >/dev/null 2>&1"], capture_output=True)
        assert (tmp_path / "b.trace").exists(), word
        (tmp_path / "b.trace").unlink()


def hf(directory: Path, name: str = "", **config) -> Path:
    directory.mkdir()
    said = {"model_type": "hubert", "hidden_size": 48, "num_attention_heads": 4, **config}
    (directory / "config.json").write_text(json.dumps(said))
    return directory / name


def test_checkpoint_of_hugging_face(tmp_path, trace):
    attacks.torch_file(hf(tmp_path / "hf", "pytorch_model.bin"), trace)
    with pytest.raises(ConfigError, match="any code; save its state dict"):
        torch_files.load(tmp_path / "hf" / "pytorch_model.bin")


def test_code_of_hugging_face(tmp_path, trace, offline):
    """``auto_map`` names a class in the directory; transformers would ask before running it."""
    code = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}
    attacks.torch_file(hf(tmp_path / "hf", "pytorch_model.bin", auto_map=code), trace)
    (tmp_path / "hf" / "evil.py").write_text(f"open({str(trace)!r}, 'w')\n")
    with pytest.raises(ConfigError, match="any code; save its state dict|holds no parameters"):
        frozen.load(tmp_path / "hf")


def test_index_of_hugging_face(tmp_path, trace):
    secret = tmp_path / "secret.bin"
    attacks.torch_file(secret, trace)
    for name in ("../secret.bin", str(secret)):
        path = hf(tmp_path / f"hf{len(name)}", "model.safetensors.index.json")
        path.write_text(json.dumps({"weight_map": {"w": name}}))
        with pytest.raises(ConfigError, match="not in the model's own directory"):
            teacher_files.key_of(path.parent)


@pytest.mark.parametrize("name", ["m.pt", "m.pth"])
def test_checkpoint_in_a_file(tmp_path, trace, name):
    attacks.torch_file(tmp_path / name, trace, cfg={"model": attacks.Evil(trace)}, args=None)
    with pytest.raises(ConfigError):
        frozen.load(tmp_path / name)


def test_models_that_espnet_loads(tmp_path, trace):
    """Decoding, teachers online, language models, adopted teachers, --init_param, checkpoints."""
    from espnet_dice import guards

    trainer.task_class("asr")
    path = attacks.torch_file(tmp_path / "m.pth", trace)
    for name in guards.LOADERS:
        module = sys.modules[name]
        load = getattr(module, "safe_torch_load", None) or module.torch.load
        with pytest.raises(ConfigError, match=r"m\.pth: .*any code.*ESPNET_ALLOW_UNSAFE"):
            load(path, map_location="cpu", weights_only=False)


def test_checkpoint_of_a_training(tmp_path, trace):
    attacks.torch_file(tmp_path / trainer.CHECKPOINT, trace, reporter={"epoch": 1})
    with pytest.raises(ConfigError, match=r"checkpoint\.pth: .*any code"):
        trainer.repair(tmp_path)


def test_a_checkpoint_of_ours_is_read(tmp_path):
    """Numbers and times, which trainings do write, are no attack."""
    import datetime

    import numpy as np
    import torch

    kept = {"loss": np.float64(1.5), "time": datetime.timedelta(seconds=3), "n": np.int64(2)}
    torch.save({"model": {"w": torch.ones(2)}, "reporter": kept}, tmp_path / "c.pth")
    found = torch_files.load_own(tmp_path / "c.pth")
    assert found["reporter"] == kept and found["model"]["w"].tolist() == [1, 1]


@pytest.mark.parametrize("compress", [0, 3])
def test_quantizer_of_joblib(tmp_path, trace, compress):
    with pytest.raises(ConfigError, match="--trust_pickle true"):
        quantizer.read(attacks.joblib_file(tmp_path / "km.bin", trace, compress))


def test_quantizer_of_pickle_and_numpy(tmp_path, trace):
    with pytest.raises(ConfigError, match="--trust_pickle true"):
        quantizer.read(attacks.pickled(tmp_path / "km.bin", trace))
    with pytest.raises(DataError, match="Python objects"):
        quantizer.read(attacks.npy(tmp_path / "km.npy", trace))


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..\\evil"])
def test_members_of_an_archive(tmp_path, name):
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(ConfigError, match="not to be trusted"):
        archive.unpack(attacks.packed(tmp_path / "a.zip", name), inside)
    assert not any(inside.iterdir()) and not (tmp_path / "evil").exists()


def test_a_link_in_an_archive(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(ConfigError, match="not to be trusted"):
        archive.unpack(attacks.packed(tmp_path / "a.zip", "link", link=True), inside)
    assert not any(inside.iterdir())


def test_yaml(tmp_path, trace):
    text = attacks.yaml_text(trace)
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "model.pth").write_bytes(b"")
    for read in (configs.read_config, config_base.read_trained):
        with pytest.raises(ConfigError):
            read(tmp_path / "config.yaml")
    with pytest.raises(ConfigError):
        files.find(tmp_path)


def test_a_model_that_names_another_on_the_network(tmp_path, offline):
    (tmp_path / "model.pth").write_bytes(b"")
    for config in (
        {"decoder": "transformer", "encoder": "dice_ssl", "encoder_conf": {"source": "evil/model"}},
        {"decoder": "transformer", "frontend": "s3prl"},
        {"decoder": "hugging_face_transformers"},
    ):
        (tmp_path / "config.yaml").write_text(json.dumps(config))
        with pytest.raises(ConfigError, match="fetche"):
            files.find(tmp_path)


def test_a_misspelt_path_is_not_looked_for_on_the_network(tmp_path, offline, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp").mkdir()
    with pytest.raises(ConfigError, match="no such directory; there is an exp here"):
        hub.directory("exp/dice_x")


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("stage", [data.main, features.main])
def test_wav_scp(tmp_path, trace, monkeypatch, stage, number):
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "d")
    entry = attacks.runs(trace)[number]
    scp = (tmp_path / "d" / "wav.scp").read_text().replace("audio/u001.wav", entry)
    (tmp_path / "d" / "wav.scp").write_text(scp)
    out = ["--out_dir", "o", "--nj", "1"] if stage is features.main else []
    with pytest.raises(DiceError, match="wav.scp:2: u001"):
        stage(["--data_dir", "d", *out])


def test_a_pickle_as_audio(tmp_path, trace):
    make_corpus(tmp_path / "d")
    offset = attacks.ark(tmp_path / "d" / "a.ark", trace)
    scp = (tmp_path / "d" / "wav.scp").read_text().replace("audio/u001.wav", f"a.ark:{offset}")
    (tmp_path / "d" / "wav.scp").write_text(scp)
    with pytest.raises(DiceError, match="no audio at this offset"):
        data.check_data(tmp_path / "d")


@pytest.mark.parametrize("name", ["feats.scp", "teacher.scp"])
def test_scp_of_features_and_teachers(tmp_path, trace, name):
    """What Kaldi's readers, and so ESPnet's, would run; trainings look before they start ESPnet."""
    scp = tmp_path / name
    offset = attacks.ark(tmp_path / "a.ark", trace)
    job = jobs.Job("asr", tmp_path, tmp_path, [], {}, ("valid", "acc", "max"), 1, 0)
    for entry in (f"touch {trace} |", f"cat a.ark; touch {trace} |", f"{tmp_path}/a.ark:{offset}"):
        scp.write_text(f"u000 {entry}\n")
        job.data[:] = ["--train_data_path_and_name_and_type", f"{scp},speech,kaldi_ark"]
        with pytest.raises(DataError, match="u000"):
            jobs._verify_inputs(job)
        with pytest.raises(DataError):
            arks.ArkReader(scp)["u000"]


def test_options_of_recipes_do_not_reach_a_shell(tmp_path, trace):
    """Every stage of both recipes with a Python that only notes what it is given."""
    python = stub_python.write(tmp_path)
    run = attacks.runs(trace)
    same = ["--python", str(python), "--nj", "1", "--local_data", "", "--lm_args", f"--a {run[0]}"]
    kd = ["--train_set", f"a{run[0]}", "--valid_set", f"b{run[1]}", "--test_sets", "c"]
    kd += ["--teachers", "t=x$(touch${IFS}trace)/y", "--teacher_args", f"--b {run[2]}"]
    kd += ["--student_args", f"--c {run[1]}", "--student_config", "conf/$(touch${IFS}trace).yaml"]
    kd += ["--expdir", f"exp{run[0]}", "--datadir", f"data{run[1]}", "--lm_modes", "no"]
    dice = ["--train_set", f"a{run[0]}", "--valid_set", f"b{run[1]}"]
    dice += ["--test_sets", "c$(touch${IFS}trace)"]
    dice += ["--student_args", f"--d {run[1]}", "--teacher", f"t{run[0]}", "--probe_args", run[2]]
    for script, options in (("kd1/kd.sh", kd + same), ("dice1/dice.sh", dice + same[:6])):
        done = subprocess.run(
            ["bash", str(ROOT / "egs2/TEMPLATE" / script), *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "Stage 7" in done.stderr
    assert f"$(touch {trace})" in (tmp_path / "commands").read_text()
    assert not (tmp_path / "trace").exists()


def test_no_socket_from_data_to_labels(tmp_path, offline, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "d", 4)
    with contextlib.redirect_stdout(io.StringIO()):
        data.main(["--data_dir", "d"])
        features.main(
            ["--data_dir", "d", "--out_dir", "dump/raw/d", "--feats_type", "raw", "--nj", "1"]
        )
        tokens.main(["--out", "tok", "d/text"])
        same = ["--source", "mfcc", "--layer", "0", "--dump", "dump/raw", "--sets", "d"]
        kmeans.main([*same, "--clusters", "4", "--out", "km", "--nj", "1"])
        labels.main([*same, "--quantizer", "km", "--out", "lab", "--soft", "false", "--nj", "1"])
    assert (tmp_path / "lab/d/labels.scp").exists()


def test_no_socket_for_a_teacher_that_is_here(tmp_path, offline):
    from tests.hubert import tiny_models

    tiny_models.save(tmp_path / "hf")
    assert frozen.load(tmp_path / "hf").layers == 3
