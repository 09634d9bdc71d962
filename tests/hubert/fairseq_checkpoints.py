"""Small checkpoints in fairseq's layouts, with features that the original code computed.

``fairseq.npz`` has, for five models with random parameters, names, shapes and values of the
parameters, settings, and the output of every block for two waveforms. HuBERT and wav2vec 2.0 were
run by fairseq's own code and WavLM by its authors', both as s3prl 0.4.18 carries them unchanged.
"""

import json
import sys
from argparse import Namespace
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

GOLDEN = Path(__file__).with_name("fairseq.npz")


@cache
def _golden():
    arrays = dict(np.load(GOLDEN))
    return arrays, json.loads(str(arrays.pop("settings")))


def waves() -> list[torch.Tensor]:
    return [torch.from_numpy(_golden()[0][f"wave_{i}"]).float() for i in (0, 1)]


def layers(name: str) -> list[list[torch.Tensor]]:
    """For each waveform the output of each block, (frames, width)."""
    return [list(torch.from_numpy(_golden()[0][f"{name}.{i}"])) for i in (0, 1)]


def parameters(name: str) -> dict[str, torch.Tensor]:
    arrays, settings = _golden()
    values = torch.from_numpy(arrays[name]).float()
    shapes = settings[name]["names"]
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    parts = values.split(sizes)
    return {k: x.reshape(shapes[k]).clone() for k, x in zip(shapes, parts, strict=True)}


def settings(name: str) -> tuple[dict, dict]:
    """Of the model and of the task."""
    found = _golden()[1][name]
    return dict(found["model"]), dict(found["task"])


class Dictionary:
    """Has the name of fairseq's while it is pickled."""

    def __init__(self):
        self.symbols = ["<s>", "<pad>"]
        self.indices = {"<s>": 0, "<pad>": 1}


Dictionary.__module__ = "fairseq.data.dictionary"
Dictionary.__qualname__ = "Dictionary"


def save(obj, path: Path, **kwargs) -> Path:
    """``torch.save`` where fairseq is installed; it is gone afterwards."""
    names = ("fairseq", "fairseq.data", "fairseq.data.dictionary")
    sys.modules |= {name: ModuleType(name) for name in names}
    sys.modules[names[-1]].Dictionary = Dictionary
    try:
        torch.save(obj, path, **kwargs)
    finally:
        for name in names:
            del sys.modules[name]
    return path


def hydra(name: str, config=lambda cfg: cfg, prefix: str = "", **model) -> dict:
    """A checkpoint of fairseq since 2021: ``cfg``, which is an omegaconf container at times."""
    model_conf, task_conf = settings(name)
    cfg = {
        "_name": None,
        "common": {"seed": 1337, "fp16": True},
        "model": model or {"_name": "hubert", **model_conf},
        "task": {"_name": "hubert_pretraining", "data": "/data", **task_conf},
    }
    return {
        "args": None,
        "cfg": config(cfg),
        "model": {prefix + k: v for k, v in parameters(name).items()},
        "criterion": None,
        "optimizer_history": [{"criterion_name": "HubertCriterion", "num_updates": 400000}],
        "task_state": {"dictionaries": [Dictionary()]},
        "extra_state": {"epoch": 1, "metrics": [], "val_loss": np.float64(2.5)},
        "last_optimizer_state": None,
    }


def old(name: str) -> dict:
    """A checkpoint of fairseq until 2020: ``args``, all in one namespace."""
    model_conf, task_conf = settings(name)
    args = Namespace(arch="wav2vec2", task="audio_pretraining", **model_conf, **task_conf)
    return {"args": args, "cfg": None, "model": parameters(name), "extra_state": {"epoch": 1}}


def fine_tuned(name: str) -> dict:
    """A CTC model: the settings of its pre-training lie in its own."""
    model_conf, task_conf = settings(name)
    pretraining = {"model": {"_name": "hubert", **model_conf}, "task": task_conf}
    made = hydra(name, prefix="w2v_encoder.w2v_model.", _name="hubert_ctc", w2v_args=pretraining)
    made["model"] |= {"w2v_encoder.proj.weight": torch.zeros(3, 12)}
    return made


def s3prl(name: str) -> dict:
    """What s3prl makes of a checkpoint of fairseq."""
    model_conf, task_conf = settings(name)
    return {
        "task_cfg": {"_name": "hubert_pretraining", **task_conf},
        "model_cfg": {"_name": "hubert", **model_conf},
        "model_weight": parameters(name),
        "dictionaries_symbols": [["<s>", "<pad>"]],
    }


def authors_wavlm(name: str) -> dict:
    """WavLM as its authors published it."""
    return {"cfg": settings(name)[0], "model": parameters(name)}
