import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from espnet_dice.export import plain_espnet, shipped
from espnet_dice.io.errors import ConfigError
from espnet_dice.records import experiment, feature_dir
from espnet_dice.ship import demo
from espnet_dice.stages import decode, export
from tests.stages import tiny

# Runs without the package: any import of it fails.
DECODE_ELSEWHERE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "espnet_dice":
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Blocked())
try:
    import nltk
    nltk.download = lambda *a, **k: False
except ImportError:
    pass
import json, kaldiio, numpy as np, torch
from espnet2.bin.asr_inference import Speech2Text
from espnet2.main_funcs.pack_funcs import unpack
torch.set_num_threads(1)
export, feats, options = sys.argv[1], kaldiio.load_scp(sys.argv[2]), json.loads(sys.argv[3])
found = unpack(f"{export}/asr_unc_seed0.zip", "unpacked")
files = {"asr_train_config": f"{export}/config.yaml", "asr_model_file": f"{export}/model.pth"}
said = {}
for where, paths in (("directory", files), ("zip", found)):
    recogniser = Speech2Text(**paths, **options)
    said[where] = {u: recogniser(np.array(feats[u]))[0][0].strip() for u in feats}
    said[where + " model"] = type(recogniser.asr_model).__module__
print("RESULT" + json.dumps(said))
"""


@pytest.fixture(scope="module")
def exported(trained):
    with tiny.inside(trained.root):
        assert export.export([trained.student, trained.plain], tiny.TOKENS, onnx=False) == 2
    return trained.root / trained.student / "export"


def test_plain_espnet_decodes_to_the_same_text(recipe, exported, tmp_path):
    (d,) = decode.plan(
        [recipe.student], [tiny.DUMP / "test"], None, [False], Path("conf/decode.yaml")
    )
    decode.run([d], nj=1)
    texts = {
        line.partition(" ")[0]: line.partition(" ")[2]
        for line in (d.out / "text").read_text().splitlines()
    }
    feats = recipe.root / tiny.DUMP / "test/feats.scp"
    scp = "".join(
        f"{u} {recipe.root}/{place}\n"
        for u, place in (line.split() for line in feats.read_text().splitlines())
    )
    (tmp_path / "feats.scp").write_text(scp)
    (tmp_path / "script.py").write_text(DECODE_ELSEWHERE)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "script.py", str(exported), "feats.scp", json.dumps(d.conf)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.rpartition("RESULT")[2])
    assert said["directory"] == said["zip"] == texts
    assert said["zip model"] == "espnet2.asr.espnet_model"
    assert set(texts) == set(feature_dir.load(tiny.DUMP / "test").lengths)


def test_config_is_plain_and_keys_are_exact(recipe, exported):
    from espnet2.tasks.asr import ASRTask

    config = yaml.safe_load((exported / "config.yaml").read_text())
    assert (config["model"], config["decoder"]) == ("espnet", "transformer")
    assert config["model_conf"]["lsm_weight"] == 0.15 and config["model_conf"]["ctc_weight"] == 0.3
    assert not {k for k in config["model_conf"] if k.startswith(("kd_", "unc_", "teacher"))}
    assert not {"variance", "train_samples", "decode_samples"} & set(config["decoder_conf"])
    assert Path(config["bpemodel"]) == exported / "data/bpe.model"
    assert "dump" not in (exported / "config.yaml").read_text()
    model, _ = ASRTask.build_model_from_file(exported / "config.yaml", exported / "model.pth")
    state = torch.load(exported / "model.pth", weights_only=True)
    assert set(model.state_dict()) == set(state)
    trained = torch.load(experiment.load(recipe.student).model_file, weights_only=True)
    assert all(k.startswith("decoder.variance.") for k in set(trained) - set(state))
    assert all(torch.equal(trained[k], v) for k, v in state.items())


def test_a_page_is_written_once_and_beside_ship_alone(recipe, exported, caplog):
    """Of a runtime that is there npm is not asked; an export without ``ship/`` has no page."""
    runtime = Path(recipe.student).parent / f"{demo.RUNTIME}-{demo.VERSION}"
    runtime.mkdir()
    for part in demo.PARTS:
        (runtime / part).write_text(part)
    ship = Path(recipe.student, "export", shipped.NAME)
    ship.mkdir(exist_ok=True)
    for name in ("config.json", "tokens.txt", "model.int8.onnx"):
        (ship / name).write_text(name)
    how = {"onnx": False, "demo": True}
    assert export.export([recipe.student, recipe.plain], tiny.TOKENS, **how) == 0
    page = Path(recipe.student, "export", demo.NAME)
    files = {str(p.relative_to(page)) for p in page.rglob("*") if p.is_file()}
    scripts = {"index.html", "hearing.mjs", "search.mjs", "model.mjs"}
    parts = {f"{demo.RUNTIME}/{part}" for part in demo.PARTS}
    assert files == scripts | parts | {"config.json", "tokens.txt", "model.int8.onnx"}
    assert f"{Path(recipe.plain).name}: no demo/: it ships no recogniser" in caplog.text
    before = page.stat().st_ino
    export.export([recipe.student], tiny.TOKENS, **how)
    assert page.stat().st_ino == before


def test_a_page_without_npm_is_refused_before_anything_is_exported(recipe, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(export.page, "VERSION", "0")
    monkeypatch.setattr(export, "run_forked", lambda *_: pytest.fail("exported"))
    with pytest.raises(ConfigError, match="--demo takes onnxruntime-web from npm"):
        export.export([recipe.student], tiny.TOKENS, onnx=False, lang="xx", demo=True)


def test_it_is_skipped_when_nothing_changed(recipe, exported):
    assert export.export([recipe.student, recipe.plain], tiny.TOKENS, onnx=False) == 0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: s.pop("ctc.ctc_lo.bias"), r"missing: ctc\.ctc_lo\.bias"),
        (lambda s: s.update(more=torch.zeros(1)), r"left over: more"),
        (lambda s: s.update({"ctc.ctc_lo.bias": torch.zeros(3)}), r"is \(3,\), must be \(31,\)"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(recipe, exported, damage, message):
    from espnet2.tasks.asr import ASRTask

    model, _ = ASRTask.build_model_from_file(exported / "config.yaml", exported / "model.pth")
    state = dict(model.state_dict())
    plain_espnet.check_state(state, model)
    damage(state)
    with pytest.raises(ConfigError, match=message):
        plain_espnet.check_state(state, model)


def test_a_model_that_computes_something_else_is_refused(recipe, exported):
    from espnet2.tasks.asr import ASRTask

    paths = exported / "config.yaml", exported / "model.pth"
    (mine, _), (other, _) = (ASRTask.build_model_from_file(*paths) for _ in range(2))
    assert plain_espnet.check_outputs(mine, other) == 0.0
    with torch.no_grad():
        other.decoder.output_layer.bias[5] += 0.01
    with pytest.raises(ConfigError, match="computes something else"):
        plain_espnet.check_outputs(mine, other)


def test_sampling_at_decoding_cannot_be_exported(recipe, tmp_path):
    e = experiment.load(recipe.student)
    config = yaml.safe_load(e.config.read_text())
    config["decoder_conf"]["decode_samples"] = 5
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    paths = tmp_path / "config.yaml", e.model_file
    with pytest.raises(ConfigError, match="decode_samples"):
        plain_espnet.write_export(*paths, tmp_path, tmp_path)
