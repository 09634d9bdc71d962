"""Everything that cannot end well and can be known before a stage works, told at once."""

from espnet_dice.io.errors import ProblemList
from espnet_dice.plan import hubert, machine, speech, teaching
from espnet_dice.plan.recipe import Recipe

CHECKS = (
    teaching.unreadable,
    teaching.unknown_teachers,
    teaching.unfit_teachers,
    hubert.unusable,
    speech.unheard,
    speech.unwritable,
    speech.unprobed,
    machine.too_small,
    machine.no_gpus,
)


def find(recipe: Recipe) -> list[str]:
    """What is wrong, a text each; quick: heads of files and tables only are read."""
    return [problem for check in CHECKS for problem in check(recipe)]


def refuse(recipe: Recipe) -> None:
    """Stop a recipe that cannot end well.

    Raises:
        ProblemList: everything that is wrong.
    """
    problems = find(recipe)
    if problems:
        raise ProblemList(f"{recipe.name}: cannot end well, nothing was started", problems)
