"""The task: configs that come with the package, data types, ESPnet's own SSL task, the launcher."""

import argparse
import copy
import importlib.util
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from espnet_dice import registry
from espnet_dice.dice.heads import MATCHED
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.labels import store
from espnet_dice.records.config_base import to_yaml
from espnet_dice.records.configs import parse, read_config
from tests.hubert import tiny

CONF = Path(__file__).resolve().parent.parent.parent / "conf"
CONFIGS = sorted(p for p in CONF.glob("train_dice_*.yaml") if not p.stem.endswith("_base"))
PAPER = {"narrow_hard": 26.9, "narrow_d4_hard": 9.9, "shallow_2l_hard": 23.5}
PAPER |= {"shallow_3l_hard": 30.6, "teacher": 94.4}


@pytest.fixture(scope="module")
def task():
    from espnet_dice.dice.task import DiceHubertTask

    return DiceHubertTask


def arguments(task, path, tmp_path, *options):
    flat = tmp_path / "flat.yaml"
    flat.write_text(to_yaml(read_config(path), path))
    more = ["--output_dir", str(tmp_path / "out"), "--num_classes", "500", *options]
    return parse(task, path, ["--config", str(flat), *more])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem.removeprefix("train_dice_"))
def test_configs_are_understood(task, path, tmp_path):
    options = []
    if (read_config(path).get("model_conf") or {}).get("heads") == MATCHED:
        (tmp_path / store.META).write_text('{"clusters": [500, 500], "height": [0.5, 1.0]}')
        options = ["--labels", str(tmp_path)]
    args = arguments(task, path, tmp_path, *options)
    assert args.best_model_criterion[0][1] in ("acc_m", "loss")
    from espnet_dice.hubert.models import students

    with torch.device("meta"):
        student = students.build(args.student, args.student_conf)
    millions = sum(p.numel() for p in student.parameters()) / 1e6
    name = path.stem.removeprefix("train_dice_")
    if name in PAPER:
        assert millions == pytest.approx(PAPER[name], abs=0.05)
    said = re.search(r"([\d.]+) M parameters", path.read_text())
    if said:
        assert round(millions, len(said[1].partition(".")[2])) == float(said[1])


def test_a_model_is_built_again_from_what_its_config_says(task, tmp_path):
    codebook = tiny.codebook()
    tiny.write_store(tmp_path / "labels", codebook, {"a": tiny.feature("a", 9)})
    args = task.get_parser().parse_args(["--output_dir", "x", "--labels", str(tmp_path / "labels")])
    args.student_conf = tiny.STUDENT
    args.loss = [{"name": "dice_soft", "conf": {"tau": 2.0}}]
    model = task.build_model(args)
    assert args.num_classes == tiny.K == len(model.heads[0].embeddings)
    args.labels = "/nowhere"
    again = task.build_model(args)
    again.load_state_dict(model.state_dict())
    assert again.terms["dice_soft"].tau == 2.0


def test_soft_loss_reads_its_codebook_from_the_store(tmp_path):
    codebook = tiny.codebook()
    tiny.write_store(tmp_path / "labels", codebook, {"a": tiny.feature("a", 9)})
    model = tiny.model(loss="dice_soft", labels=str(tmp_path / "labels"))
    loss, _, _ = model(**tiny.batch({"a": 9000}, codebook))
    assert 0 < loss.item() < 10
    with pytest.raises(DataError, match="come from another label store"):
        batch = tiny.batch({"a": 9000}, codebook)
        model(**{**batch, "labels": batch["labels"][..., :-1]})


def test_stores_are_data_of_espnet(tmp_path, task):
    from espnet2.train.dataset import DATA_TYPES, ESPnetDataset

    for name in ("dice_labels", "dice_ids"):
        assert [key for key in DATA_TYPES if re.match(key, name)] == [name]
    codebook = tiny.codebook()
    features = {u: tiny.feature(u, 7 + i) for i, u in enumerate("ab")}
    tiny.write_store(tmp_path / "labels", codebook, features)
    scp = str(tmp_path / "labels" / "labels.scp")
    data = [(str(tmp_path / "labels"), "labels", "dice_labels"), (scp, "ids", "dice_ids")]
    dataset = ESPnetDataset(data)
    _, found = dataset["b"]
    records = codebook.encode(features["b"])
    assert found["labels"].dtype == found["ids"].dtype == np.int64
    assert np.array_equal(found["labels"], records)
    assert np.array_equal(found["ids"], records[:, 0])


def test_registries_know_the_losses_and_the_task(monkeypatch):
    registry.register()
    from espnet2.tasks import ssl

    from espnet_dice.dice import ssl_losses
    from espnet_dice.dice.task import DiceHubertTask

    assert ssl.loss_choices.get_class("dice_hard") is ssl_losses.Hard
    assert ssl.loss_choices.get_class("dice_soft") is ssl_losses.Soft
    # espnetez, which 202611 has no more, imports all of ESPnet's tasks: half a minute
    found = importlib.util.find_spec("espnetez")
    if found is not None and "espnetez.task" not in sys.modules:
        text = Path(found.origin).with_name("task.py").read_text()
        assert re.search(r"^TASK_CLASSES = dict\(", text, re.MULTILINE)
        module = types.ModuleType("espnetez.task")
        module.TASK_CLASSES = {}
        monkeypatch.setitem(sys.modules, "espnetez.task", module)
    if "espnetez.task" in sys.modules:
        registry.register_when_imported()
        assert sys.modules["espnetez.task"].TASK_CLASSES["dice_hubert"] is DiceHubertTask


@pytest.mark.parametrize("name", ["dice_hard", "dice_soft"])
def test_losses_train_in_espnets_own_ssl_task(tmp_path, name):
    registry.register()
    from espnet2.tasks.ssl import SSLTask

    codebook = tiny.codebook()
    tiny.write_store(tmp_path / "labels", codebook, {"a": tiny.feature("a", 9)})
    conf = {"num_classes": tiny.K, "final_dim": 8}
    if name == "dice_soft":
        conf |= {"labels": str(tmp_path / "labels"), "tau": 5.0}
    args = SSLTask.get_parser().parse_args(["--output_dir", "x", "--token_list", "x"])
    args.token_list = ["x"]
    args.loss = [{"name": name, "conf": conf}]
    args.frontend_conf = {
        "shapes": [[8, k, s] for k, s in ((10, 5), *((3, 2),) * 4, *((2, 2),) * 2)]
    }
    args.frontend_conf |= {"norm_mode": "layer_norm", "conv_mode": "standard", "bias": True}
    args.preencoder_conf = {"output_size": 16}
    args.encoder_conf = {"output_size": 16, "attention_heads": 2, "linear_units": 16}
    args.encoder_conf |= {"num_blocks": 1, "input_layer": "linear"}
    torch.manual_seed(0)
    model = SSLTask.build_model(args).train()
    batch = tiny.batch({"a": 16000, "b": 12345}, codebook)
    text = {"text": batch["labels"], "text_lengths": batch["labels_lengths"]}
    loss, stats, weight = model(batch["speech"], batch["speech_lengths"], **text)
    loss.backward()
    assert loss.isfinite() and weight.item() == stats["sample_size"].item() > 0
    assert model.losses[0].head.embeddings.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--student", "hubrt"], "student must be one of"),
        (["--student_conf", "hidden_size=17"], "must be a multiple of"),
        (["--collate_fn_conf", "max_frames=0"], "max_frames must be at least 1"),
        (["--model_conf", "labels=x"], "labels is an option of its own: --labels"),
        (["--num_classes", "none"], "dice_hard needs the label store's directory"),
        (["--model_conf", "mask_prob=0"], "no frame is masked in validation, .* acc_u"),
    ],
)
def test_options_are_checked_before_anything_starts(task, options, message, tmp_path):
    path = CONF / "train_dice_mini_narrow_hard.yaml"
    with pytest.raises(ConfigError, match=message) as caught:
        arguments(task, path, tmp_path, *options)
    assert "train_dice_mini_narrow_hard.yaml" in str(caught.value)


def test_an_epoch_without_a_finite_gradient_is_an_error(task, monkeypatch):
    from espnet2.train.trainer import Trainer

    from espnet_dice.io.errors import DiceError

    monkeypatch.setattr(Trainer, "train_one_epoch", classmethod(lambda cls, **_: True))
    with pytest.raises(DiceError, match="no step of this epoch"):
        task.trainer.train_one_epoch(iterator=None, reporter=None)
    options = argparse.Namespace(accum_grad=8)
    with pytest.raises(DiceError, match="an epoch has 3 batches, fewer than accum_grad, 8"):
        task.trainer.train_one_epoch(iterator=[1, 2, 3], reporter=None, options=options)
    with pytest.raises(DiceError, match="no step of this epoch"):
        task.trainer.train_one_epoch(iterator=[1] * 8, reporter=None, options=options)


def test_a_criterion_that_validation_has_goes_without_masks(task, tmp_path):
    more = ["--model_conf", "mask_prob=0", "--best_model_criterion", "valid,acc_u,max"]
    arguments(task, CONF / "train_dice_mini_narrow_scratch.yaml", tmp_path, *more)


def test_callers_options_are_not_shared(task):
    one = task.get_parser().parse_args(["--output_dir", "x"])
    before = copy.deepcopy(one.loss)
    one.loss[0]["conf"] = {"x": 1}
    assert task.get_parser().parse_args(["--output_dir", "x"]).loss == before
