"""The files of the probes: one a task and seed of a system."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.io.json_files import read_json
from espnet_dice.probes.probe_corpus import Corpus

ALGORITHM = 3
"""Raise it when the same model and data give another figure, so that old ones are made again."""
OUT, RUN, SPEED = "probes", "run.json", "speed.json"
"""``run.json`` says what the last run was asked for: the rows of the table."""


@dataclass(frozen=True)
class Result:
    """One task and one seed of one system: one file."""

    task: str
    seed: int
    path: Path
    made_from: Fingerprint

    def is_made(self) -> bool:
        """True if the file is there and was made from what is there now."""
        return (read_json(self.path) or {}).get("key") == self.made_from.key


def results_of(
    out: Path, key: str, corpus: Corpus, tasks: Sequence[str], seeds: Sequence[int]
) -> list[Result]:
    """The results that are wanted of a system.

    Args:
        out: the system's directory.
        key: of its model.
    """
    results = []
    for task in tasks:
        inputs = {"upstream": key, **corpus.keys(task)}
        for seed in seeds:
            settings = {"algorithm": ALGORITHM, "task": task, "seed": seed}
            made_from = Fingerprint("probes", settings | corpus.settings.of_task(task), inputs)
            results.append(Result(task, seed, out / f"{task}_seed{seed}.json", made_from))
    return results
