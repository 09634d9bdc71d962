"""Mistakes about the machine: disk and GPUs."""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from espnet_dice.plan import estimate
from espnet_dice.plan.recipe import Recipe

GB = 1e9
ON_GPU = {"kd1": (4, 5, 6, 7, 9, 12), "dice1": (2, 3, 4, 5, 6)}
"""Recipe → stages that compute there."""


def too_small(recipe: Recipe) -> Iterator[str]:
    """Disks that will not hold what the stages write, by the laws of SCALE.md."""
    needed: dict[int, float] = defaultdict(float)
    named: dict[int, dict[str, float]] = defaultdict(dict)
    free: dict[int, int] = {}
    for stage in recipe.stages:
        if not recipe.runs(stage.number):
            continue
        for option, cost in estimate.left(recipe, stage).items():
            place = _existing(Path(recipe[option]))
            disk = place.stat().st_dev
            needed[disk] += cost.mb * 1e6
            named[disk][option] = named[disk].get(option, 0.0) + cost.mb * 1e6
            free[disk] = shutil.disk_usage(place).free
    for disk, size in needed.items():
        if size > free[disk]:
            told = " and ".join(
                f"{part / GB:.1f} GB in {recipe[option]} (--{option})"
                for option, part in named[disk].items()
                if part
            )
            yield (
                f"disk: features, labels and teacher outputs will take about {told}, models come "
                f"on top, and {free[disk] / GB:.1f} GB are free: free some, or choose other "
                "directories (egs2/TEMPLATE/SCALE.md has the laws)"
            )


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def no_gpus(recipe: Recipe) -> Iterator[str]:
    """GPUs that are asked for and not on this host; other hosts are nobody's to know."""
    asked = recipe.number("ngpu")
    elsewhere = recipe["launch"] or recipe["cuda_cmd"]
    if not asked or elsewhere or not recipe.runs(*ON_GPU[recipe.name]):
        return
    import torch

    found = torch.cuda.device_count()
    if found < asked:
        why = "no driver or GPU" if torch.version.cuda else "this torch is built for the CPU"
        there = f"there are {found}" if found else f"there is none ({why})"
        yield (
            f"--ngpu {asked}: {there}: give --ngpu {found}, or name the hosts that have them: "
            "--cuda_cmd or --launch"
        )
