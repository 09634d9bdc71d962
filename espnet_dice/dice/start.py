"""Starting a student from its teacher: what fits is copied, or a narrow student is cut from it.

Ours: the paper's students have fresh parameters. DistilHuBERT (Chang et al. 2022) starts from its
teacher's stem and first blocks.
"""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from espnet_dice.dice import cut
from espnet_dice.io.errors import ConfigError

TEACHER, PCA = "teacher", "pca"
STEM = ("feature_extractor.", "feature_projection.", "masked_spec_embed")
AROUND = ("encoder.pos_conv_embed.", "encoder.layer_norm.")
BLOCK = "encoder.layers."


def check(init: Any) -> None:
    """Refuse another start than from the teacher, or from fresh parameters.

    Raises:
        ConfigError: naming the key.
    """
    if init not in (None, TEACHER, PCA):
        raise ConfigError(f"model_conf: init must be {TEACHER}, {PCA} or null, not {init!r}")


def begin(
    init: str,
    student: torch.nn.Module,
    source: str,
    layers: Sequence[int] | None,
    normalized: bool,
    speech: Callable[[int], Sequence[torch.Tensor]],
) -> None:
    """Give a student the parameters that its training begins with.

    Args:
        init: ``teacher`` (:func:`from_teacher`) or ``pca`` (:func:`cut.from_teacher`).
        student: to be changed.
        source: of the teacher.
        layers: which of its blocks, from 1; None: the first ones.
        normalized: whether the student hears waveforms of mean 0 and variance 1.
        speech: utterances of the training set with so many frames, (samples,) each.

    Raises:
        DiceError: the teacher, or the speech, cannot be read, or does not go with the student.
    """
    from espnet_dice.hubert import frozen

    teacher = frozen.load(source)
    if init == TEACHER:
        from_teacher(student, teacher.model, layers, source)
        return
    cut.check(student, teacher.model, source)
    blocks = _blocks(student.state_dict(), teacher.model.state_dict(), layers, source)
    if [t for _, t in blocks] != sorted({t for _, t in blocks}) or len(blocks) < _count(
        student.state_dict()
    ):
        raise ConfigError(
            f"model_conf: init_layers: {PCA} goes through {source}'s {teacher.layers} blocks once: "
            "name one for each of the student's, growing"
        )
    waves = speech(cut.frames_for(student))
    heard = [
        tuple(
            frozen.normalized(w[None], None, eps)[0] if yes else w
            for yes, eps in ((normalized, frozen.HF_EPS), (teacher.normalize, teacher.eps))
        )
        for w in waves
    ]
    made = copy.deepcopy(student).cpu().float()  # the student may be on a GPU already
    cut.from_teacher(made, teacher.model, blocks, heard)
    student.load_state_dict(made.state_dict())


def from_teacher(
    student: torch.nn.Module,
    teacher: torch.nn.Module,
    layers: Sequence[int] | None = None,
    source: str = "the teacher",
) -> int:
    """Copy the teacher's parameters into a student, part by part.

    Parts are the convolutions, the projection behind them, the mask embedding, the positions, the
    encoder's norm, and each block; one is copied whole, where all its shapes are the teacher's, or
    not at all. A narrow student with its teacher's stem so gets the convolutions, a shallow one
    the blocks too.

    Args:
        student: to be changed.
        teacher: :attr:`FrozenSSLModel.model`.
        layers: which of the teacher's blocks are the student's, from 1; None: the first ones.
        source: of the teacher, for messages.

    Returns:
        How many tensors were copied.

    Raises:
        ConfigError: nothing fits, blocks were named and do not, or ``layers`` are not one for each
            block of the student.
    """
    own, theirs = student.state_dict(), teacher.state_dict()
    blocks = _blocks(own, theirs, layers, source)
    parts = {f"the teacher's {prefix.rstrip('.')}": (prefix, prefix) for prefix in STEM + AROUND}
    parts |= {f"block {t} as block {s}": (_block(s), _block(t)) for s, t in blocks}
    copied, said = {}, []
    for what, (ours, wanted) in parts.items():
        found = {k: wanted + k.removeprefix(ours) for k in own if k.startswith(ours)}
        if found and all(k in theirs and theirs[k].shape == own[n].shape for n, k in found.items()):
            copied |= {name: theirs[k] for name, k in found.items()}
            said.append(what)
        elif layers is not None and ours.startswith(BLOCK):
            raise ConfigError(
                f"model_conf: init_layers: {what}: its shapes are not those of {source}; leave "
                "init_layers out, and what fits is copied"
            )
    if not copied:
        raise ConfigError(
            f"model_conf: init: nothing of {source} fits the student: neither the stem nor a block "
            "has its shapes; leave init out"
        )
    with torch.no_grad():
        for name, value in copied.items():
            own[name].copy_(value)
    logging.info("%d of %d tensors are %s's: %s", len(copied), len(own), source, ", ".join(said))
    return len(copied)


def _block(number: int) -> str:
    return f"{BLOCK}{number - 1}."


def _count(state: Mapping[str, torch.Tensor]) -> int:
    found = {int(k.removeprefix(BLOCK).split(".")[0]) for k in state if k.startswith(BLOCK)}
    return len(found)


def _blocks(
    own: Mapping[str, torch.Tensor],
    theirs: Mapping[str, torch.Tensor],
    layers: Sequence[int] | None,
    source: str,
) -> list[tuple[int, int]]:
    """(student's block, teacher's block), from 1."""
    mine, number = _count(own), _count(theirs)
    if layers is None:
        return [(n, n) for n in range(1, min(mine, number) + 1)]
    if len(layers) != mine or not all(type(n) is int and 1 <= n <= number for n in layers):
        raise ConfigError(
            f"model_conf: init_layers: name one block of {source}, from 1 to {number}, for each of "
            f"the student's {mine}, not {list(layers)}"
        )
    return list(enumerate(layers, 1))
