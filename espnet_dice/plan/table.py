"""The plan of a recipe, for people."""

from espnet_dice.plan import costs, estimate
from espnet_dice.plan.recipe import Recipe, Stage
from espnet_dice.plan.state import DONE, TO_DO, States


def write(recipe: Recipe) -> str:
    """A line a stage, what it takes, and why a stage is done again."""
    states = States(recipe)
    lines = []
    total = costs.NOTHING
    for stage in recipe.stages:
        state, why = states.of(stage)
        if not recipe.runs(stage.number):
            state, why = f"{state}, not asked for".removeprefix(", "), ""
        else:
            total += sum(estimate.left(recipe, stage, states).values(), costs.NOTHING)
        lines.append(f"{stage.number:2}  {state or 'each time':20}  {stage.title}")
        takes = _takes(recipe, stage, state, states)
        why = "" if state == TO_DO and not why.partition(": ")[1] else why
        if why or takes:
            lines.append("      " + "; ".join(filter(None, [takes, why])))
    nj = max(1, recipe.number("nj"))
    said = "trainings follow their configs, decoding the test sets (egs2/TEMPLATE/SCALE.md)"
    if any(recipe.place(name) is None for name in recipe.sets):
        said = f"not all sets are there yet, which is not counted; {said}"
    lines.append(
        f"features, labels and teacher outputs to be made: {_size(total.mb)}, "
        f"{_time(total.cpu_s)} of one core, {_time(total.cpu_s / nj)} with --nj {nj}; {said}"
    )
    return "\n".join(lines)


def _takes(recipe: Recipe, stage: Stage, state: str, states: States) -> str:
    if state == DONE or not recipe.runs(stage.number):
        return ""
    found = estimate.left(recipe, stage, states)
    if found:
        law = sum(found.values(), costs.NOTHING)
        return f"about {_size(law.mb)}, {_time(law.cpu_s)} of one core"
    took = estimate.seconds(stage)
    return f"took {_time(took)} before" if took else ""


def _size(mb: float) -> str:
    return f"{mb / 1e3:.1f} GB" if mb >= 1e3 else f"{mb:.0f} MB"


def _time(seconds: float) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
