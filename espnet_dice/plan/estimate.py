"""What is left to be done of a stage: disk by directory, CPU time."""

from functools import lru_cache
from pathlib import Path

from espnet_dice.io.json_files import read_json
from espnet_dice.plan import costs, speech
from espnet_dice.plan.costs import Law
from espnet_dice.plan.recipe import Recipe, Stage
from espnet_dice.plan.state import States, is_whole
from espnet_dice.records import experiment

BYTES = 4
"""Of a parameter."""


def left(recipe: Recipe, stage: Stage, states: States | None = None) -> dict[str, Law]:
    """Option that names a directory → what is still to be written there; empty: not known.

    Directories that are whole cost nothing, but for those that are stale, where the states are
    given; trainings and decoding follow configs, not hours.
    """
    found: dict[str, Law] = {}
    for directory in stage.made:
        option, law = _law(recipe, directory)
        heard = _hours(recipe, directory.name) if option else None
        done = is_whole(directory) and (states is None or states.is_done(directory))
        if heard is not None and not done:
            found[option] = found.get(option, costs.NOTHING) + law.of(heard)
    return found


def seconds(stage: Stage) -> float | None:
    """How long the trainings of a stage took when they were last run; None where none was."""
    records = (read_json(d / experiment.NAME) or {} for d in stage.made)
    took = [record["seconds"] for record in records if "seconds" in record]
    return sum(took) if took else None


def _law(recipe: Recipe, directory: Path) -> tuple[str, Law]:
    """What a directory takes for an hour, and the option that its disk hangs on."""
    dump, exp = Path(recipe["dumpdir"]), Path(recipe["expdir"])
    if directory.is_relative_to(dump):
        kind = directory.relative_to(dump).parts[0]
        law = costs.FEATURES.get(kind, costs.NOTHING)
        if recipe.is_true("resample") and kind == "raw":
            law += costs.RESAMPLED
        return "dumpdir", law
    if not directory.is_relative_to(exp):
        return "", costs.NOTHING
    room, *rest = directory.relative_to(exp).parts
    if room == "teacher_outputs":
        return "expdir", costs.outputs(_millions(recipe.taken_teachers.get(rest[0])))
    if room == "labels" and rest[0].startswith("mfcc_"):
        return "expdir", costs.LABELS["mfcc"]
    if room == "labels":
        teacher = Path(recipe["teacher"]) if recipe["teacher"] else None
        return "expdir", costs.labels(_millions(teacher), _clusters(recipe))
    return "", costs.NOTHING


def _clusters(recipe: Recipe) -> int:
    """Clusters of all codebooks whose distances soft labels keep; hard ones keep no distances."""
    if recipe["soft"] == "false":
        return 0
    return len(recipe.words("layer")) * sum(map(int, recipe.words("clusters")))


def _millions(teacher: Path | None) -> float:
    """Parameters of a teacher that is there, in millions; 0 for one that is trained here."""
    if teacher is None or not teacher.exists():
        return 0.0
    files = [teacher] if teacher.is_file() else list(teacher.iterdir())
    kinds = (".safetensors", ".bin", ".pt", ".pth")
    sizes = [f.stat().st_size for f in files if f.suffix in kinds and f.is_file()]
    return max(sizes, default=0) / BYTES / 1e6


def _hours(recipe: Recipe, name: str) -> float | None:
    """Hours of a set by the name that a stage gives it, at all its speeds; None: not known."""
    stem = name.removesuffix("_cut")
    times = 1
    if stem.endswith("_sp") and recipe["speed_perturb_factors"]:
        stem, times = stem.removesuffix("_sp"), len(recipe.words("speed_perturb_factors"))
    place = recipe.place(stem)
    found = _of_place(place.resolve()) if place else None
    return None if found is None else times * found


_of_place = lru_cache(maxsize=None)(speech.hours)
