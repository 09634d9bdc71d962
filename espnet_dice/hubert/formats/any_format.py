"""A model of ours from a teacher's files, whatever format they have."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from espnet_dice.hubert.formats import (
    contents,
    espnet_models,
    fairseq_models,
    hf_models,
    parameters,
    teacher_files,
    torchaudio_models,
)
from espnet_dice.hubert.formats.teacher_files import Checkpoint
from espnet_dice.io.errors import ConfigError


class Built(NamedTuple):
    """A model, and what it wants to hear.

    Attributes:
        model: has the forward pass of :class:`backbone.Backbone`.
        normalize: whether it wants waveforms of mean 0 and variance 1.
        eps: what is added to their variance.
    """

    model: torch.nn.Module
    normalize: bool
    eps: float


def build(found: Checkpoint, trust_pickle: bool = False) -> Built:
    """Read a teacher's parameters into a model of ours.

    Args:
        found: its files.
        trust_pickle: also read pickles that have to run, which can run any code.

    Raises:
        ConfigError: it is of another kind, its frames or its sampling rate are not those of labels,
            or its parameters do not fit.
    """
    return Built(*BUILDERS[found.kind](found, trust_pickle))


def _ours(found: Checkpoint, trust_pickle: bool):
    from espnet_dice.hubert.models import students

    config = found.config
    model = students.build(config["student"], config.get("student_conf"))
    state = parameters.read(found.weights[0], trust_pickle=False)
    parameters.load_strict(model, parameters.strip_prefix(state, "student."), found.weights[0])
    normalize = bool((config.get("collate_fn_conf") or {}).get("normalize", False))
    return model, normalize, hf_models.EPS


def _file(found: Checkpoint, trust_pickle: bool):
    path = found.weights[0]
    held = parameters.read(path, trust_pickle)
    if its := contents.find(held, torchaudio_models.WANTED, path):
        return torchaudio_models.load(found, its)
    if fairseq_models.is_one(held):
        return fairseq_models.load(found, held)
    said = contents.listed(held)
    if contents.find(held, fairseq_models.WANTED, path):
        said = (
            "its parameters have fairseq's names, but no settings (cfg, args or model_cfg), which "
            "say how many heads there are, lie beside them"
        )
    raise ConfigError(
        f"{path}: no checkpoint of torchaudio, fairseq or s3prl (give a Hugging Face model as its "
        "directory, with its config.json; beside an ESPnet model's .pth its config.yaml must lie): "
        f"{said}"
    )


BUILDERS: dict[str, Callable[[Checkpoint, bool], tuple[torch.nn.Module, bool, float]]] = {
    teacher_files.HF: hf_models.load,
    teacher_files.OURS: _ours,
    teacher_files.ESPNET: espnet_models.load,
    teacher_files.FILE: _file,
}
