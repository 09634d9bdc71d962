"""Every config says how many parameters its model has; built here without memory, and counted."""

import argparse
import copy
import re
from pathlib import Path

import pytest

from espnet_dice.records.configs import read_config
from espnet_dice.records.tokens import TOKENS
from espnet_dice.training import trainer

CONF = Path(__file__).resolve().parents[2] / "conf"
STATED = re.compile(r"([\d.]+) M\s+(?:#\s+)?parameters")
FEATURES = 83


def header(path: Path) -> str:
    """The comment that the file begins with, on one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return " ".join(line.removeprefix("#").strip() for line in lines[:end])


def models() -> list[Path]:
    """Configs of models; a base of DiceHuBERT's that has no loss is none."""
    found = sorted(CONF.glob("train_*.yaml"))
    return [p for p in found if "_dice_" not in p.name or "loss" in read_config(p)]


def count(task: str, path: Path) -> int:
    """Parameters of the model: of DiceHuBERT's the student's, without its head."""
    import torch

    config = read_config(path)
    with torch.device("meta"):
        if task == "dice":
            from espnet_dice.hubert.models import students

            model = students.build(config["student"], config["student_conf"])
        else:
            tasks = trainer.task_class(task)
            full = copy.deepcopy(tasks.get_default_config()) | copy.deepcopy(config)
            full |= {"token_list": list(TOKENS)}
            if task == "asr":
                full |= {"input_size": FEATURES, "frontend": None, "normalize": None}
                full["model_conf"] = {k: v for k, v in full["model_conf"].items() if "kd" not in k}
            if full.get("encoder") == "dice_ssl":
                full |= {"input_size": 1, "encoder_conf": without_source(full["encoder_conf"])}
            model = tasks.build_model(argparse.Namespace(**full))
    return sum(p.numel() for p in model.parameters())


def without_source(conf: dict) -> dict:
    """An SSL encoder by the config that its experiment was trained with, instead of by that."""
    trained = re.search(r"/dice_(\w+?)(_it\d)?_seed\d+$", conf.get("source") or "")
    if trained:
        config = read_config(CONF / f"train_dice_{trained[1]}.yaml")
        architecture = {key: config[key] for key in ("student", "student_conf")}
        return conf | {"source": None, "architecture": architecture}
    return conf


@pytest.mark.parametrize("path", models(), ids=lambda path: path.stem)
def test_a_config_says_how_large_its_model_is(path):
    stated = STATED.findall(header(path))
    assert stated, f"{path.name}: its first comment says no 'N.NN M parameters'"
    assert stated[0] == f"{count(path.name.split('_')[1], path) / 1e6:.2f}"


def test_every_config_tells_where_it_comes_from():
    for path in sorted(CONF.glob("*.yaml")):
        assert len(header(path)) > 40, f"{path.name}: no comment at its beginning"


def test_hubert_s_penalty_is_in_the_configs_of_the_papers_objective():
    """fairseq's ``loss_weights: [10]``; not where Eq. 1 is the whole loss, nor on small corpora."""
    for path in CONF.glob("train_dice_*.yaml"):
        config = read_config(path)
        small = "mini" in path.name or "libri20" in path.name
        labels = any(e["name"] in ("dice_hard", "dice_soft") for e in config.get("loss", []))
        if "loss" in config:
            wanted = 10 if labels and not small else 0
            conf = config.get("model_conf") or {}
            assert conf.get("features_pen", 0) == wanted, path.name
