"""The export of a mel stem, loaded by transformers where this package is not."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from espnet_dice.export import hf
from espnet_dice.hubert import architecture, frozen
from espnet_dice.hubert.models import students
from tests.hubert.tiny_models import MEL_BASE, noise

LENGTHS = (4321, 400, 719)
CONFS = {
    "utterance": (MEL_BASE, True),
    "corpus": ({**MEL_BASE, "mel_norm": "corpus", "do_stable_layer_norm": True}, False),
}
ELSEWHERE = """
import sys
sys.modules["espnet_dice"] = None  # importing it is an error
import numpy as np, torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

for norm in sys.argv[2:]:
    place = f"{sys.argv[1]}/{norm}"
    waves = np.load(f"{place}/waves.npz")
    model, said = AutoModel.from_pretrained(
        place, trust_remote_code=True, output_loading_info=True
    )
    assert not any(v for k, v in said.items() if k.endswith("keys")), said
    assert type(model).__name__ == "MelHubertModel"
    assert AutoConfig.from_pretrained(place, trust_remote_code=True).inputs_to_logits_ratio == 320
    prepare = AutoFeatureExtractor.from_pretrained(place)
    ready = prepare(
        [waves[k] for k in waves], sampling_rate=16000, padding=True, return_tensors="pt"
    )
    found = {}
    with torch.no_grad():
        for k in waves:
            one = prepare(waves[k], sampling_rate=16000, return_tensors="pt")
            alone = model.eval()(one.input_values, output_hidden_states=True).hidden_states
            found[k] = torch.stack([x[0] for x in alone]).numpy()
        found["batch"] = model(**ready).last_hidden_state.numpy()
    np.savez(f"{place}/found.npz", **found)
assert not [m for m in sys.modules if m.startswith("espnet_dice.")]
"""


def perturbed(conf, normalize) -> frozen.FrozenSSLModel:
    torch.manual_seed(1)
    model = students.build("hubert", conf)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn_like(p)
    if conf.get("mel_norm") == "corpus":
        model.feature_extractor.train()(noise(2, 16000, seed=5))
    return frozen.FrozenSSLModel(model, "key", "exp/dice_a", normalize)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """For each norm our model, its directory, and what transformers heard elsewhere."""
    root = tmp_path_factory.mktemp("mel")
    waves = {str(n): (0.3 * noise(n) + 0.1).numpy() for n in LENGTHS}
    models = {}
    for norm, (conf, normalize) in CONFS.items():
        (root / norm).mkdir()
        models[norm] = perturbed(conf, normalize)
        assert hf.write(models[norm], root / norm) <= 1e-5
        np.savez(root / norm / "waves.npz", **waves)
    env = {"HF_HOME": str(root / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ELSEWHERE, root, *CONFS]
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {norm: (models[norm], root / norm, waves) for norm in CONFS}


@pytest.mark.parametrize("norm", CONFS)
def test_transformers_hears_the_same_without_this_package(exported, norm):
    mine, directory, waves = exported[norm]
    found = np.load(directory / "found.npz")
    # the other process has one thread; float32 energies are within 2e-4 of float64's, see test_mel
    near = {"rtol": 0, "atol": 3e-5}
    for i, (name, wave) in enumerate(waves.items()):
        hidden = torch.stack(mine.hidden([wave])[0])
        last = mine.model.final(hidden[-1]).numpy()
        np.testing.assert_allclose(found[name], hidden, **near)
        np.testing.assert_allclose(found["batch"][i, : len(last)], last, **near)


def test_the_directory_is_small_and_holds_no_pickle(exported):
    _, directory, _ = exported["utterance"]
    files = {f.name for f in directory.iterdir() if f.suffix != ".npz"}
    assert files == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "mel_hubert.py",
        "mel.py",
    }
    for name in ("mel.py", "mel_hubert.py"):
        assert "espnet_dice" not in (directory / name).read_text()


@pytest.mark.parametrize("norm", CONFS)
def test_an_export_is_a_teacher_and_has_an_architecture(exported, norm):
    mine, directory, waves = exported[norm]
    again = frozen.load(directory)
    wave = waves["4321"]
    assert again.normalize is mine.normalize
    assert torch.equal(again.hidden([wave])[0][-1], mine.hidden([wave])[0][-1])
    model, normalize, _ = architecture.build(architecture.of(str(directory)))
    model.load_state_dict(mine.model.state_dict(), strict=True)
    fresh = frozen.FrozenSSLModel(model, "key", "x", normalize)
    assert torch.equal(fresh.hidden([wave])[0][-1], mine.hidden([wave])[0][-1])
