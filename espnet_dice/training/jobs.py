"""Training jobs: which are done, which go on, which begin anew; then all of them in one process."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from espnet_dice.io import checksums, fingerprint
from espnet_dice.io.arks import ArkReader
from espnet_dice.io.atomic import write_text
from espnet_dice.io.errors import ConfigError, StaleError
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.io.options import cores
from espnet_dice.records import configs
from espnet_dice.records.config_base import to_yaml
from espnet_dice.records.experiment import load
from espnet_dice.training import trainer
from espnet_dice.training.monitor import Monitor, Watched
from espnet_dice.work import launch
from espnet_dice.work.workers import Work, run_forked

CONFIG = "train.yaml"
DEFAULTS = {
    "num_workers": "0",
    "use_tensorboard": "false",
    "use_matplotlib": "false",
    "num_att_plot": "0",
}


@dataclass(frozen=True)
class Job:
    """One model to train.

    Attributes:
        task: ``asr``, ``lm`` or ``dice``.
        out: experiment directory.
        config: YAML file of the user; ESPnet gets it with its bases merged in.
        data: ESPnet options naming data, token list and statistics (paths; not part of the
            fingerprint, their contents are: see ``inputs``).
        inputs: name → key of everything that is read.
        criterion: default (phase, statistic, min or max) of the averaged checkpoints.
        nbest: default number of them.
        seed: of the training.
        extra: options given beside the config, as text; they win.
        train_set, valid_set: names of the sets.
        role: what ``model.json`` says: teacher, student, or nothing.
        prepare: writes the shape files into the experiment directory.
        after: runs in the child once the model is trained, before the directory counts as whole.
        names: further settings that belong to the fingerprint.
    """

    task: str
    out: Path
    config: Path
    data: list[str]
    inputs: dict[str, str]
    criterion: tuple[str, str, str]
    nbest: int
    seed: int
    extra: str = ""
    train_set: str = ""
    valid_set: str = ""
    role: str = ""
    prepare: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None
    names: dict[str, Any] = field(default_factory=dict)


class Plan:
    """What is to be done for a job. Made from its config and its directory; changes neither."""

    def __init__(self, job: Job):
        self.job = job
        self.config = config = configs.read_config(job.config)
        extra = configs.split_args(job.extra)
        self.max_epoch = configs.max_epoch_of(job.config, config, extra)
        self.criterion = configs.criterion_of(job.config, config, extra, job.criterion, job.nbest)
        try:
            self.falls_to = configs.falls_to(configs.with_options(config, extra))
        except ConfigError as err:
            raise ConfigError(f"{job.config}: {err}") from err
        self.settings = {
            "config": {k: v for k, v in config.items() if k not in configs.FREE_KEYS},
            "extra": [(k, v) for k, v in extra if k not in configs.FREE_KEYS],
            "criterion": self.criterion,
            "seed": job.seed,
            **job.names,
        }
        self.fingerprint = self._fingerprint(self.max_epoch)
        given = {*config, *(name for name, _ in extra)}
        self.options = [
            *("--output_dir", str(job.out), "--resume", "true"),
            *("--seed", str(job.seed), "--max_epoch", str(self.max_epoch)),
            *("--best_model_criterion", ",".join(self.criterion[:3])),
            *("--keep_nbest_models", str(self.criterion[3])),
            *(w for k, v in DEFAULTS.items() if k not in given for w in (f"--{k}", v)),
            *job.data,
            *(w for k, v in extra if k != "max_epoch" for w in (f"--{k}", *v)),
        ]

    def command(self, directory: Path) -> list[str]:
        """Write the config that ESPnet reads to ``directory``; return ESPnet's options.

        It is what was read when the plan was made: a config edited since then is another model.
        """
        write_text(directory / CONFIG, to_yaml(self.config, self.job.config))
        return ["--config", str(directory / CONFIG), *self.options]

    def _fingerprint(self, max_epoch: int) -> Fingerprint:
        chosen = {**self.settings, "max_epoch": max_epoch}
        return Fingerprint(f"train_{self.job.task}", chosen, self.job.inputs)

    @property
    def done(self) -> bool:
        """The model is trained from exactly this."""
        return self.fingerprint.is_done(self.job.out)

    @property
    def goes_on(self) -> bool:
        """Begun from the same, perhaps with fewer epochs: the checkpoint can be used."""
        found = fingerprint.read(self.job.out)
        if found is None:
            return False
        before = found.get("settings", {}).get("max_epoch", self.max_epoch + 1)
        return before <= self.max_epoch and self._fingerprint(before).is_same(self.job.out)


def run_jobs(
    jobs: list[Job],
    nj: int | None = None,
    ngpu: int = 0,
    resume: bool = True,
    launched_by: str = "",
    threads: int = 0,
) -> int:
    """Train the models that are not there yet.

    Args:
        jobs: what to train, in the order in which they start.
        nj: models at a time; default: one a core, with GPUs or a launch one.
        ngpu: GPUs a model; with a launch 0 is CPU, and all else one GPU a process.
        resume: go on from a checkpoint of the same job; else begin anew.
        launched_by: what starts the processes of a model, see :mod:`launch`. A model does not
            depend on it: a training may go on with other processes than it began with.
        threads: CPU threads of a model; 0: the cores, shared out.

    Returns:
        How many were trained.

    Raises:
        ConfigError: a config is wrong; nothing was started.
        DiceError: a training failed.
    """
    outs = [job.out for job in jobs]
    for out in outs:
        if outs.count(out) > 1:
            tag = out.name.partition("_")[2]
            raise ConfigError(f"--job {tag}: given twice, for {out}; give each model its own tag")
    start = launch.split(launched_by)
    launch.check_alone(os.environ)
    plans = [Plan(job) for job in jobs]
    for plan in plans:
        if plan.done:
            _set_damaged_aside(plan.job.out)
    pending = [plan for plan in plans if not plan.done]
    for plan in pending:
        _verify_inputs(plan.job)
    if pending and not ngpu:
        trainer.task_class(pending[0].job.task)  # once, before anything is said or forked
    for plan in plans:
        if plan not in pending:
            logging.info("%s: unchanged, skipped", plan.job.out.name)
    if not pending:
        return 0
    if ngpu:
        # ESPnet's import starts CUDA, which does not survive a fork: each child imports it itself
        log = pending[0].job.out.parent / "log" / "config.log"
        run_forked([Work("configs", lambda: check_configs(pending), log)], 1)
    else:
        check_configs(pending)
        trainer.warm_up()
    for plan in pending:
        _set_up(plan, resume)
    nj = nj or (1 if ngpu or start else cores())
    # by all jobs, not by those that are left: sums, and so losses, depend on the threads
    threads = threads or max(1, cores() // min(nj, len(jobs)))
    nj = min(nj, len(pending))
    logging.info("models to train: %d, %d at a time, CPU threads: %d", len(pending), nj, threads)
    logs = [launch.log_of(p.job.out, start, trainer.LOG) for p in pending]
    monitor = Monitor(
        [
            Watched(p.job.out.name, log, p.max_epoch, p.criterion[1], p.falls_to)
            for p, log in zip(pending, logs, strict=True)
        ]
    )
    works = [
        Work(p.job.out.name, lambda p=p: _run(p, threads, ngpu, start), p.job.out / trainer.LOG)
        for p in pending
    ]
    run_forked(works, nj, monitor)
    return len(pending)


def check_configs(plans: list[Plan]) -> None:
    """Parse every command as ESPnet will. Imports espnet2 (6 s).

    Raises:
        ConfigError: naming the config and the key.
    """
    with tempfile.TemporaryDirectory() as tmp:
        for plan in plans:
            command = plan.command(Path(tmp))
            configs.parse(trainer.task_class(plan.job.task), plan.job.config, command)


def _set_damaged_aside(out: Path) -> None:
    """Let a model that is not as it was trained count as unfinished: it is averaged again."""
    try:
        load(out)
    except StaleError as err:
        logging.warning("%s; the average of its checkpoints is made again", str(err).split(":")[0])
        for average in out.glob("*.ave_*best.pth"):
            average.unlink()
        fingerprint.unfinish(out, fingerprint.read(out) or {})


def _verify_inputs(job: Job) -> None:
    """Compare what is about to be read with its checksums, and look at every entry of archives.

    Kaldi's readers, which ESPnet uses, run entries that are commands and unpickle what says so.
    """
    names = ("--train_data_path_and_name_and_type", "--valid_data_path_and_name_and_type")
    for option, value in pairwise(job.data):
        if option in names:
            path = Path(value.split(",")[0])
            checksums.verify(path if path.is_dir() else path.parent)
            if value.endswith(",kaldi_ark"):
                ArkReader(path).check()


def _set_up(plan: Plan, resume: bool) -> None:
    out = plan.job.out
    if out.exists() and fingerprint.read(out) is None and any(out.iterdir()):
        raise StaleError(f"{out} was not made by this recipe: move it away, or choose another tag")
    if out.exists() and not (plan.goes_on and resume):
        logging.info("%s: %s; the old directory is removed", out, plan.fingerprint.why(out))
        shutil.rmtree(out)
    elif (out / trainer.CHECKPOINT).exists():
        logging.info("%s: goes on from its checkpoint", out.name)
    out.mkdir(parents=True, exist_ok=True)
    plan.fingerprint.begin(out)
    plan.job.prepare()


def _run(plan: Plan, threads: int, ngpu: int, start: tuple[str, ...]) -> None:
    job = plan.job
    trainer.train(job.task, plan.command(job.out), job.out, threads, ngpu, start)
    trainer.record(
        job.task,
        job.out,
        plan.criterion,
        seed=job.seed,
        max_epoch=plan.max_epoch,
        train_set=job.train_set,
        valid_set=job.valid_set,
        role=job.role,
    )
    job.after()
    plan.fingerprint.finish(job.out)
    load(job.out)
