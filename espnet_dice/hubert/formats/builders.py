"""A model of ours from a teacher's files, whatever format they have."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from espnet_dice.hubert.formats import (
    checkpoints,
    espnet_models,
    fairseq_models,
    hf_models,
    parameters,
    torchaudio_models,
)
from espnet_dice.hubert.formats.checkpoints import Checkpoint
from espnet_dice.io.errors import ConfigError
from espnet_dice.io.untrusted import torch_files


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
    state = parameters.read_state(found.weights, trust_pickle=False)
    parameters.fill(model, parameters.below(state, "student."), found.weights[0])
    normalize = bool((config.get("collate_fn_conf") or {}).get("normalize", False))
    return model, normalize, hf_models.EPS


def _file(found: Checkpoint, trust_pickle: bool):
    path = found.weights[0]
    contents = torch_files.load(path, trust_pickle, foreign=True)
    for layout in (fairseq_models, torchaudio_models):
        if layout.is_one(contents):
            return layout.load(found, contents)
    raise ConfigError(
        f"{path}: no checkpoint of torchaudio, fairseq or s3prl (give a Hugging Face model as its "
        "directory; beside an ESPnet model's .pth its config.yaml must lie)"
    )


BUILDERS: dict[str, Callable[[Checkpoint, bool], tuple[torch.nn.Module, bool, float]]] = {
    checkpoints.HF: hf_models.load,
    checkpoints.OURS: _ours,
    checkpoints.ESPNET: espnet_models.load,
    checkpoints.FILE: _file,
}
