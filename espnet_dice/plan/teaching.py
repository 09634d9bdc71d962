"""Mistakes about configs and about teachers of recognisers."""

from collections.abc import Iterator
from pathlib import Path

from espnet_dice.io.errors import DiceError
from espnet_dice.kd.distillation_options import DistillationOptions, entries_of
from espnet_dice.plan.recipe import Recipe
from espnet_dice.records import configs, experiment, frontend, tokens
from espnet_dice.records.config_base import read_trained

CONFIGS = {
    "kd1": {
        "lm_config": (4,),
        "teacher_config": (5,),
        "student_config": (7,),
        "inference_config": (6, 9),
    },
    "dice1": {"teacher_config": (2,), "student_config": (5,), "scratch_config": (5,)},
}
"""Recipe → option that names configs → stages that read them."""


def unreadable(recipe: Recipe) -> Iterator[str]:
    """Configs that are not there, are no YAML, or build on one that is not there."""
    for option, stages in CONFIGS[recipe.name].items():
        if not (recipe[option] and recipe.runs(*stages) and _is_read(recipe, option)):
            continue
        several = option in ("student_config", "scratch_config")
        for path in recipe.words(option) if several else [recipe[option]]:
            try:
                configs.read_config(path)
            except DiceError as err:
                yield f"--{option}: {err}"


def _is_read(recipe: Recipe, option: str) -> bool:
    if option == "lm_config":
        return recipe.is_true("use_lm")
    if option == "teacher_config":
        here = recipe.trained_teachers if recipe.name == "kd1" else not recipe["teacher"]
        return bool(here)
    return True


def unknown_teachers(recipe: Recipe) -> Iterator[str]:
    """Students that name another teacher than ``--teachers``, or weights that make no sense."""
    if recipe.name != "kd1" or not recipe.runs(6, 7):
        return
    known = (*recipe.trained_teachers, *recipe.taken_teachers)
    for path in recipe.words("student_config"):
        try:
            conf = configs.model_conf(path, recipe["student_args"])
        except DiceError:
            continue  # told already
        try:
            if DistillationOptions.wanted(conf):
                entries_of(conf, known, recipe["teacher_mode"])
        except DiceError as err:
            yield f"{path}: {err}"


def unfit_teachers(recipe: Recipe) -> Iterator[str]:
    """Teachers of other recipes that are not there, hear otherwise or write other tokens."""
    if recipe.name != "kd1" or not recipe.runs(5):
        return
    for name, directory in recipe.taken_teachers.items():
        try:
            teacher = experiment.load(directory, "that recipe")
            config = read_trained(teacher.config)
        except DiceError as err:
            yield f"--teachers {name}: {err}"
            continue
        root = Path(directory).resolve().parents[1]
        heard = frontend.of_training(config, root)
        if heard and heard.rate != recipe.number("fs"):
            yield (
                f"--teachers {name}: {directory} hears {heard.rate} Hz, and --fs is "
                f"{recipe['fs']}: give --fs {heard.rate}, with --resample true if the speech is not"
            )
        wanted = recipe["teacher_feats_type"] or recipe["feats_type"]
        if heard and heard.feats_type != wanted:
            yield (
                f"--teachers {name}: {directory} was trained on {heard.feats_type}, here are "
                f"{wanted}: give --feats_type {heard.feats_type}, or --teacher_feats_type"
            )
        theirs = config.get("token_list")
        if recipe["token_type"] == tokens.FIXED and theirs and tuple(theirs) != tokens.TOKENS:
            yield (
                f"--teachers {name}: {directory} has another token list ({len(theirs)} entries) "
                f"than {tokens.FIXED}: give the --token_type of that recipe, learnt from its text "
                "(--bpe_train_text)"
            )
