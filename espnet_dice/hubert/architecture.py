"""What an SSL model is without its parameters: enough to build it where its checkpoint is not.

    {student: hubert, student_conf: {…}, normalize: false, eps: 1.0e-07}

``student`` and ``student_conf`` are those of :mod:`espnet_dice.hubert.models.students`.
"""

from collections.abc import Mapping
from typing import Any

import torch

from espnet_dice.hubert import frozen
from espnet_dice.hubert.formats import teacher_files
from espnet_dice.hubert.models import sizes, students
from espnet_dice.hubert.models.stem import is_mel
from espnet_dice.io.errors import ConfigError

KEYS = ("student", "student_conf", "normalize", "eps")
# where the blocks are, in each kind of model
BLOCKS = ("encoder.layers", "encoder.encoders", "blocks")


def build(architecture: Mapping[str, Any]) -> tuple[torch.nn.Module, bool, float]:
    """A model with fresh parameters, whether it wants normalised waveforms, and the ε of that.

    Raises:
        ConfigError: naming the key that is unknown or wrong.
    """
    unknown = sorted(set(architecture) - set(KEYS))
    if unknown or "student" not in architecture:
        raise ConfigError(
            f"encoder_conf: architecture: has the keys {', '.join(KEYS)}, student at least; got "
            f"{', '.join(architecture)}"
        )
    model = students.build(architecture["student"], dict(architecture.get("student_conf") or {}))
    normalize = bool(architecture.get("normalize", False))
    return model, normalize, float(architecture.get("eps", frozen.HF_EPS))


def of(source: str) -> dict[str, Any] | None:
    """The architecture of a source, or None for a model that :func:`build` does not know.

    Raises:
        ConfigError: there is no model.
    """
    from espnet_dice.hubert.models.backbone import Backbone

    found = teacher_files.find(source)
    loaded = frozen.load(source)
    said: dict[str, Any] = {"normalize": loaded.normalize, "eps": loaded.eps}
    if found.kind == teacher_files.OURS:
        config = found.config
        return {"student": config["student"], "student_conf": config["student_conf"] or {}, **said}
    if type(loaded.model) is not Backbone:  # no subclass: it may compute something else
        return None
    return {"student": "hubert", "student_conf": _hubert(loaded.model.config), **said}


def cut(model: torch.nn.Module, layer: int, source: str) -> None:
    """Take the blocks above ``layer`` (1-based) out of a model.

    Raises:
        ConfigError: there is no such layer, or the model's blocks are not known.
    """
    layers = len(model.dims) - 1
    if not 1 <= layer <= layers:
        raise ConfigError(
            f"encoder_conf: layer: {source} has no layer {layer}: its layers are 1 to {layers}"
        )
    for name in BLOCKS:
        try:
            blocks = model.get_submodule(name)
        except AttributeError:
            continue
        if len(blocks) == layers:
            del blocks[layer:]
            model.dims = model.dims[: layer + 1]
            return
    if layer != layers:
        raise ConfigError(f"encoder_conf: layer: the blocks of {source} cannot be taken apart")


def _hubert(config) -> dict[str, Any]:
    """What differs from transformers' defaults, and what ours are different for."""
    from transformers import HubertConfig

    values, defaults = config.to_dict(), HubertConfig().to_dict()
    mel = {"stem": sizes.MEL, "mel_norm": config.mel_norm} if is_mel(config) else {}
    return mel | {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in values.items()
        if key in defaults
        and key not in teacher_files.OF_NO_EFFECT
        and (key in sizes.TRAINING or value != defaults[key])
    }
