"""Mistakes about a HuBERT that teaches, as far as the heads of its files tell."""

import re
from collections.abc import Iterator
from pathlib import Path

from espnet_dice.io.errors import DiceError
from espnet_dice.plan.recipe import Recipe
from espnet_dice.records import configs

BLOCK = re.compile(r"(?:^|\.)(?:layers|encoders|blocks)\.(\d+)\.")
"""Names of parameters of a block, in every format that a teacher may have."""


def unusable(recipe: Recipe) -> Iterator[str]:
    """A teacher that does not load, and layers that it has not."""
    if recipe.name != "dice1" or not recipe.runs(2, 3, 4, 5, 6):
        return
    try:
        layers = _given(recipe) if recipe["teacher"] else _trained(recipe)
    except DiceError as err:
        yield f"--teacher: {err}"
        return
    asked = [("layer", int(word)) for word in recipe.words("layer") if word != "auto"]
    if not recipe["teacher"] and recipe["iterations"] == "2":
        asked.append(("it1_layer", recipe.number("it1_layer")))
    whose = recipe["teacher"] or recipe["teacher_config"]
    for option, layer in asked:
        if layers and not 0 <= layer <= layers:
            yield (
                f"--{option} {layer}: {whose} has no such layer: its layers are 0 to {layers} "
                "(1-based, each after the whole block; 0 is the input of the first)"
            )


def _trained(recipe: Recipe) -> int | None:
    """Layers of the teacher that is trained here; None where its config does not say."""
    from espnet_dice.hubert.models import sizes

    try:
        kind = configs.value_of(recipe["teacher_config"], "student", "")
        conf = configs.conf_of(recipe["teacher_config"], "student_conf", recipe["teacher_args"])
    except DiceError:
        return None  # told already, with the configs
    return sizes.expand(conf).get("num_hidden_layers", 12) if kind == "hubert" else None


def _given(recipe: Recipe) -> int | None:
    """Layers of a checkpoint; None where it lies elsewhere.

    Raises:
        DiceError: it cannot be a teacher.
    """
    from espnet_dice.hubert.formats import hub, teacher_files

    source = recipe["teacher"]
    if not Path(source).exists() and hub.held(source) is None:
        return None  # to be fetched
    found = teacher_files.find(source)
    names = [name for path in found.weights for name in _names(path, recipe)]
    if found.kind == teacher_files.HF:
        from espnet_dice.hubert.formats import hf_models

        hf_models.check(found)
        return found.config.get("num_hidden_layers", 12)
    blocks = {int(block[1]) for name in names for block in BLOCK.finditer(name)}
    return max(blocks) + 1 if blocks else None


def _names(path: Path, recipe: Recipe) -> Iterator[str]:
    """Names of the parameters in a file; of safetensors its head is read only.

    Raises:
        DiceError: it is damaged.
    """
    from espnet_dice.hubert.formats import parameters

    if parameters.is_safe(path):
        yield from parameters.names(path)
        return
    pending = [("", parameters.read(path, recipe.is_true("trust_pickle")))]
    while pending:
        name, held = pending.pop()
        yield name
        if isinstance(held, dict):
            pending += [(f"{name}.{key}" if name else str(key), v) for key, v in held.items()]
