"""Which kills are tried: spread over stages, signals and targets, from a seed."""

import random
import signal
from dataclasses import dataclass

from tests.campaign.kill_counter import Kill
from tests.campaign.tiny_recipes import Recipe

SIGNALS = {
    "SIGKILL": ("group", "first", "other"),
    "SIGTERM": ("group", "first", "other"),
    "SIGINT": ("group",),  # Ctrl-C reaches all of them
}


@dataclass(frozen=True)
class Try:
    """One kill that is planned."""

    recipe: str
    stage: int
    shell: bool
    kill: Kill

    @property
    def name(self) -> str:
        """Identifies it in kills.jsonl."""
        how = "shell" if self.shell else "command"
        signal_name = signal.Signals(self.kill.number).name
        return f"{self.recipe} {self.stage} {how} {signal_name} {self.kill}"


def plan(
    recipes: list[Recipe], stages: list[int], kills: int, seed: int, shell: bool = False
) -> list[Try]:
    """Kills spread over stages, signals and targets; the same for the same arguments."""
    rng = random.Random(seed)
    pairs = [(r, s) for r in recipes for s in r.stages if not stages or s in stages]
    tries = []
    for n in range(kills):
        recipe, stage = pairs[n % len(pairs)]
        number = rng.choices(list(SIGNALS), (3, 2, 1))[0]
        target = rng.choice(SIGNALS[number])
        plain = shell or stage in recipe.plain
        by = "cpu" if plain else rng.choices(("cpu", "file"), (1, 2))[0]
        kill = Kill(signal.Signals[number], target, round(rng.random(), 4), by)
        tries.append(Try(recipe.name, stage, plain, kill))
    return tries
