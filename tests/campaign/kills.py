"""Kill each stage of both recipes at random moments, run it again, compare with an undisturbed run.

    python -m tests.campaign.kills --out /tmp/kills --kills 120

works in --out, goes on where it was ended, and writes kills.jsonl (one line a kill) and kills.md.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.campaign import same
from tests.campaign.kill_counter import Counter, Kill
from tests.campaign.kill_plan import SIGNALS, Try, plan
from tests.campaign.killing import Outcome, run_shell, run_warm
from tests.campaign.tiny_recipes import RECIPES, Recipe, build, commands


class Arena:
    """A recipe's directory, its state before and after each stage, and what undisturbed runs cost.

    Args:
        recipe: which.
        out: of the campaign.
        python: for the scripts.
    """

    def __init__(self, recipe: Recipe, out: Path, python: str):
        self.recipe, self.root, self.python = recipe, out / recipe.name, python
        self.work, self.log = self.root / "work", self.root / "log"
        self.costs: dict[str, list[dict]] = {}
        self.wanted: dict[int, dict[str, str]] = {}

    def before(self, stage: int) -> Path:
        """The state before a stage."""
        return self.root / f"before_{stage}"

    def prepare(self, last: int) -> None:
        """Run the stages up to ``last`` undisturbed, twice: if two differ, so would a third run.

        What was prepared before is kept.
        """
        costs = self.root / "costs.json"
        if costs.exists():
            self.costs = json.loads(costs.read_text())
        else:
            shutil.rmtree(self.root, ignore_errors=True)
            build(self.recipe, self.work)
            _copy(self.work, self.before(1))
        for stage, title in self.recipe.stages.items():
            if str(stage) in self.costs or stage > last:
                continue
            self.restore(stage)
            done = self.run(stage, False)
            _copy(self.work, self.before(stage + 1))
            self.restore(stage)
            self.run(stage, False)
            if told := self.compare(stage):
                sys.exit(f"{self.recipe.name} {stage}: two undisturbed runs differ: {told}")
            self.costs[str(stage)] = [{"cpu_s": o.cpu_s, "events": o.events} for o in done]
            costs.write_text(json.dumps(self.costs))
            print(f"{self.recipe.name} {stage} {title}: {self.costs[str(stage)]}", flush=True)

    def restore(self, stage: int) -> None:
        """Put back the state before a stage."""
        _copy(self.before(stage), self.work)

    def run(self, stage: int, shell: bool, kill: Kill | None = None) -> list[Outcome]:
        """Run a stage, and kill it if a kill is given; an undisturbed one must succeed."""
        costs = self.costs.get(str(stage), [])
        done = []
        for step, run in enumerate(self._steps(stage, shell)):
            cost = costs[step] if not shell and len(costs) > step else {"cpu_s": 0.0, "events": 0}
            here = _share(kill, costs, step, shell) if kill else None
            if shell and kill:
                here, cost = kill, {"cpu_s": self._shell_cost(stage), "events": 0}
            outcome = run(here, cost)
            done.append(outcome)
            if kill is None and outcome.code:
                raise RuntimeError(f"{self.recipe.name} {stage}: {outcome}, see {self.log}")
            if outcome.killed or outcome.code:
                break
        return done

    def _steps(self, stage: int, shell: bool) -> Iterator:
        log = self.log / f"{stage}.log"
        if shell or stage in self.recipe.plain:
            line = self.recipe.command(stage, self.python)
            yield lambda kill, cost: run_shell(line, self.work, log, kill, cost["cpu_s"])
            return
        scratch = self.root / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        for words in commands(self.recipe, stage, self.work, scratch):

            def one(kill: Kill | None, cost: dict, words: list[str] = words) -> Outcome:
                at = 1 + int(kill.at * cost["events"]) if kill else 0
                counter = Counter(kill if kill and kill.by == "file" else None, at)
                return run_warm(words, self.work, log, kill, cost["cpu_s"], counter)

            yield one

    def _shell_cost(self, stage: int) -> float:
        costs = self.costs[str(stage)]
        imports = 0 if stage in self.recipe.plain else 12.0
        return sum(cost["cpu_s"] + imports for cost in costs)

    def compare(self, stage: int) -> list[str]:
        """What differs from the undisturbed run after a stage."""
        if stage not in self.wanted:
            self.wanted[stage] = same.describe(self.before(stage + 1))
        return same.differences(self.wanted[stage], same.describe(self.work))


def _share(kill: Kill, costs: list[dict], step: int, shell: bool) -> Kill | None:
    """The part of a stage's kill that falls into one of its commands; None if it does not."""
    unit = "events" if kill.by == "file" else "cpu_s"
    total = sum(cost[unit] for cost in costs)
    before = sum(cost[unit] for cost in costs[:step])
    at = (kill.at * total - before) / max(costs[step][unit], 1e-9)
    return replace(kill, at=at) if 0 <= at < 1 else None


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


def attempt(arena: Arena, one: Try) -> dict:
    """Kill once, run again, compare."""
    start = time.monotonic()
    arena.restore(one.stage)
    outcomes = arena.run(one.stage, one.shell, one.kill)
    last = outcomes[-1]
    again = ""
    try:
        arena.run(one.stage, False)
    except RuntimeError as err:
        again = str(err)
    differing = arena.compare(one.stage)
    return {
        "name": one.name,
        "recipe": one.recipe,
        "stage": one.stage,
        "signal": signal.Signals(one.kill.number).name,
        "target": one.kill.target,
        "by": one.kill.by,
        "killed": last.killed and last.code != 0,
        "code": last.code,
        "left": list(last.left),
        "again": again,
        "differences": differing[:20],
        "survived": not (last.left or again or differing),
        "seconds": round(time.monotonic() - start, 1),
    }


def table(records: list[dict]) -> str:
    """Stage × kills × survived, as markdown."""
    lines = ["| recipe | stage | kills | SIGKILL | SIGTERM | Ctrl-C | survived | notes |"]
    lines += ["|---|---|--:|--:|--:|--:|--:|---|"]
    killed = [r for r in records if r["killed"]]
    for recipe in RECIPES.values():
        for stage, title in recipe.stages.items():
            mine = [r for r in killed if (r["recipe"], r["stage"]) == (recipe.name, stage)]
            signals = [sum(r["signal"] == s for r in mine) for s in SIGNALS]
            bad = [r for r in mine if not r["survived"]]
            notes = "; ".join((r["again"] or ", ".join(r["left"] + r["differences"])) for r in bad)
            cells = [recipe.name, f"{stage} {title}", len(mine), *signals, len(mine) - len(bad)]
            lines.append(f"| {' | '.join(map(str, cells))} | {notes[:200]} |")
    survived = sum(r["survived"] for r in killed)
    scripts = sum(" shell " in r["name"] for r in killed)
    missed = len(records) - len(killed)
    lines.append(f"\n{len(killed)} kills, {scripts} of them of a script; {survived} survived.")
    lines.append(f"{missed} more came when the stage had ended, or hit what it could do without.")
    return "\n".join(lines)


def main() -> None:
    """The command; see ``--help``."""
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--out", type=Path, required=True, help="where to work and to write")
    p.add_argument("--kills", type=int, default=120, help="how many (default: 120)")
    p.add_argument("--seed", type=int, default=0, help="of moments and signals (default: 0)")
    p.add_argument("--shell", action="store_true", help="kill the scripts of all stages, not forks")
    p.add_argument("--recipe", choices=RECIPES, help="one of them; default: both")
    p.add_argument("--stages", type=int, nargs="+", default=[], help="default: all")
    a = p.parse_args()
    # before torch: forks must not find its threads
    os.environ |= {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000"}
    from espnet_dice.training import trainer

    for task in ("asr", "dice"):
        trainer.task_class(task)
    trainer.inference_class()
    trainer.warm_up()
    recipes = [RECIPES[a.recipe]] if a.recipe else list(RECIPES.values())
    out = a.out.resolve()
    arenas = {recipe.name: Arena(recipe, out, sys.executable) for recipe in recipes}
    for arena in arenas.values():
        arena.prepare(max(a.stages or arena.recipe.stages))
    results = out / "kills.jsonl"
    records = [json.loads(line) for line in results.open()] if results.exists() else []
    known = {record["name"] for record in records}
    tries = [
        one for one in plan(recipes, a.stages, a.kills, a.seed, a.shell) if one.name not in known
    ]
    start = time.monotonic()
    for n, one in enumerate(tries):
        record = attempt(arenas[one.recipe], one)
        records.append(record)
        with results.open("a") as f:
            f.write(json.dumps(record) + "\n")
        left = (time.monotonic() - start) / (n + 1) * (len(tries) - n - 1)
        said = "survived" if record["survived"] else f"NOT: {record}"
        print(f"{n + 1}/{len(tries)}, {left / 60:.0f} min left: {one.name}: {said}", flush=True)
        (out / "kills.md").write_text(table(records) + "\n")


if __name__ == "__main__":
    main()
