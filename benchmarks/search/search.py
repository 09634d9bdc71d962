"""An equal search: as many trials for every arm, drawn alike, halved alike, chosen on dev alone.

    python benchmarks/search/search.py benchmarks/search/kd_few.yaml --jobs 2

from the root of the checkout, after the recipe that the space names made its teachers and what they
say: stages 1 to 6 of kd1, 1 to 4 of dice1. Trials are trained by ``espnet_dice.stages.train``, and
decoded without a language model or, HuBERT students (``kind: dice``), scored by ABX. Each rung
trains its trials up to its epochs, going on from their checkpoints, and keeps the best of each arm
for the next. ``OUT/trials.jsonl`` has a line for each trial and rung, with the seconds and the CPU
seconds of its training, those of trials that were trained together shared out; a killed search goes
on. At the end ``OUT/TABLE.md`` and ``OUT/winners/<arm>.yaml``.
"""

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.search import kinds, table
from benchmarks.search.space import LABELS, Trial, draw
from espnet_dice.io import fingerprint
from espnet_dice.io.atomic import write_text
from espnet_dice.io.errors import ConfigError, DiceError, cli
from espnet_dice.io.progress import setup_logging

ROOT = Path(__file__).resolve().parents[2]
TRIALS = "trials.jsonl"


class Search:
    """A space, its recipe, and what has been tried.

    Args:
        space: the YAML file.
        out: directory of trials and results; None: ``exp/search_<name>`` of the recipe.
        jobs: trainings at a time, one thread each.
        recipe: its directory; None: the one that the space names.
        arms: some of the space's; empty: all.
    """

    def __init__(
        self,
        space: Path,
        out: Path | None = None,
        jobs: int = 2,
        recipe: Path | None = None,
        arms: Sequence[str] = (),
    ):
        self.space = yaml.safe_load(space.read_text(encoding="utf-8"))
        self.kind = kinds.of(self.space)
        self.recipe = (recipe or space.parent / self.space["recipe"]).resolve()
        self.out = (out or self.recipe / f"exp/search_{space.stem}").resolve()
        self.jobs = jobs
        self.rungs = self.space["rungs"]
        if unknown := set(arms) - set(self.space["arms"]):
            raise ConfigError(f"--arms: {space} has no {min(unknown)}")
        drawn = draw(self.space, self.space["trials"], self.space["seed"])
        self.trials = [t for t in drawn if not arms or t.arm in arms]
        self.out.mkdir(parents=True, exist_ok=True)
        self.lines = self._read()

    def _read(self) -> list[dict[str, Any]]:
        """What is known already; lines of other settings than are drawn now end the search."""
        file = self.out / TRIALS
        lines = []
        for raw in file.read_bytes().split(b"\n")[:-1] if file.exists() else ():
            try:
                lines.append(json.loads(raw))
            except json.JSONDecodeError:
                continue  # cut short by a kill, and then appended to
        known = {t.tag: t for t in draw(self.space, self.space["trials"], self.space["seed"])}
        for line in lines:
            trial = known.get(line["tag"])
            if trial is None or (trial.keys, trial.base) != (line["keys"], line["base"]):
                raise ConfigError(
                    f"{file}: {line['tag']} was drawn from another space: choose another --out"
                )
        return lines

    def _note(self, line: dict[str, Any]) -> None:
        file = self.out / TRIALS
        with open(file, "ab") as f:
            if f.tell() and file.read_bytes()[-1:] != b"\n":
                f.write(b"\n")
            f.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            f.flush()
            os.fsync(f.fileno())
        self.lines.append(line)

    def known(self, epochs: int) -> dict[str, dict[str, Any]]:
        """Tag → line of the trials that were scored after so many epochs."""
        return {line["tag"]: line for line in self.lines if line["epochs"] == epochs}

    def survivors(self, rung: int) -> list[Trial]:
        """The trials of a rung: all, or those that the rung before kept of each arm."""
        if rung == 0:
            return self.trials
        before = self.rungs[rung - 1]
        if "keep" not in before:
            return self.trials
        kept = set()
        for arm in self.space["arms"]:
            best = self._best(x for x in self.known(before["epochs"]).values() if x["arm"] == arm)
            kept |= {x["tag"] for x in best[: before["keep"]]}
        return [t for t in self.trials if t.tag in kept]

    def _best(self, lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those that were scored, best first."""
        first = self.kind.figures[0]
        return sorted(
            (x for x in lines if x[first] is not None), key=lambda x: (x[first], x["tag"])
        )

    def run(self, chunk: int) -> None:
        """Train and score everything that is not known yet, so many trials at a time."""
        for rung, at in enumerate(self.rungs):
            left = [t for t in self.survivors(rung) if t.tag not in self.known(at["epochs"])]
            for start in range(0, len(left), chunk):
                self._try(left[start : start + chunk], at["epochs"])
                self.report()

    def _try(self, trials: list[Trial], epochs: int) -> None:
        began = time.monotonic()
        configs = self.out / "configs"
        configs.mkdir(exist_ok=True)
        for t in trials:
            base = os.path.relpath(self.recipe / t.base, configs)
            text = yaml.safe_dump(t.config(base, epochs), sort_keys=False, allow_unicode=True)
            write_text(configs / f"{t.tag}.yaml", text)
        busy = _children_s()
        try:
            self._train(trials)
        except subprocess.CalledProcessError:
            for t in trials:  # which one?
                if not self._done(t, epochs):
                    try:
                        self._train([t])
                    except subprocess.CalledProcessError:
                        logging.warning("%s failed: see its train.log", t.tag)
        busy = round((_children_s() - busy) / len(trials), 1)
        trained = [t for t in trials if self._done(t, epochs)]
        if not trained:
            raise DiceError(f"none of {', '.join(t.tag for t in trials)} was trained")
        systems = [self.directory(t) for t in trained]
        words = self.kind.measuring(self.space, systems, self.out)
        self.stage([*words, "--nj", str(self.jobs)])
        seconds = round((time.monotonic() - began) / len(trials), 1)
        for t in trials:
            rates = self._rates(t) if t in trained else dict.fromkeys(self.kind.figures)
            head = {"tag": t.tag, "arm": t.arm, "trial": t.number, "epochs": epochs}
            spent = {"s": seconds, "cpu_s": busy}
            self._note({**head, **rates, **spent, "base": t.base, "keys": t.keys})

    def directory(self, trial: Trial) -> Path:
        """Where a trial is trained."""
        return self.out / f"{self.kind.prefix}{trial.tag}"

    def _done(self, trial: Trial, epochs: int) -> bool:
        record = fingerprint.read(self.directory(trial)) or {}
        return bool(record.get("done")) and record["settings"]["max_epoch"] == epochs

    def _train(self, trials: list[Trial]) -> None:
        s = self.space
        words = ["train", *self.kind.training(s), "--train", s["train"], "--valid", s["valid"]]
        seeds = [str(t.number if s.get("seeds") else s["seed"]) for t in trials]
        words += ["--exp", str(self.out), "--nj", str(self.jobs), "--threads", "1"]
        words += ["--seed", *seeds]
        for t in trials:
            words += kinds.job(t, self.out / "configs" / f"{t.tag}.yaml")
        self.stage(words)

    def stage(self, words: list[str]) -> None:
        """Run a stage of the recipe."""
        command = [sys.executable, "-m", f"espnet_dice.stages.{words[0]}", *words[1:]]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        # threads that wait soon give the core away: beside others decoding took 20 times as long
        env = {"GOMP_SPINCOUNT": "10000", **os.environ, "PYTHONPATH": path}
        subprocess.run(command, cwd=self.recipe, env=env, check=True)

    def _rates(self, trial: Trial) -> dict[str, float]:
        return self.kind.read(self.space, self.recipe, self.directory(trial), self.out)

    def report(self) -> None:
        """Write the table, and the best trial of each arm at the last rung as a config."""
        write_text(self.out / "TABLE.md", table.layout(self.lines, self.space))
        last = self.known(self.rungs[-1]["epochs"])
        for arm, own in self.space["arms"].items():
            found = self._best(x for x in last.values() if x["arm"] == arm)
            if not found:
                continue
            best = found[0]
            trial = Trial(arm, best["trial"], own["base"], best["keys"])
            config = trial.config(Path(own["base"]).name, best["epochs"])
            said = f"# {arm}: trial {best['trial']} of {self.space['trials']}, "
            said += f"{best[self.kind.figures[0]]:.1f}: {self.kind.told(self.space)}\n"
            if LABELS in best["keys"]:
                said += f"# labels: {best['keys'][LABELS]}\n"
            (self.out / "winners").mkdir(exist_ok=True)
            text = said + yaml.safe_dump(config, sort_keys=False, allow_unicode=True, indent=4)
            write_text(self.out / "winners" / f"{arm}.yaml", text)


def _children_s() -> float:
    """CPU seconds of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """The command."""
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("space", type=Path, help="YAML: recipe, sets, rungs, groups, arms")
    p.add_argument("--out", type=Path, help="trials and results (exp/search_<space> of the recipe)")
    p.add_argument("--recipe", type=Path, help="a copy of the recipe's directory (the space's)")
    p.add_argument("--arms", nargs="+", default=[], help="some of its arms only (all)")
    p.add_argument("--jobs", type=int, default=2, help="trainings at a time, one thread each (2)")
    p.add_argument(
        "--chunk", type=int, default=12, help="trials trained, then decoded, at a time (12)"
    )
    p.add_argument("--draw", action="store_true", help="print the trials, and do nothing")
    a = p.parse_args()
    setup_logging()
    search = Search(a.space, a.out, a.jobs, a.recipe, a.arms)
    if a.draw:
        for t in search.trials:
            print(json.dumps({"tag": t.tag, "base": t.base, **t.keys}, ensure_ascii=False))
        return 0
    search.run(a.chunk)
    search.report()
    print((search.out / "TABLE.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    cli(main)
