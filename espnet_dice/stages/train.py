"""Train models by ESPnet's own trainer: recognisers, HuBERTs, a language model; several in one go.

    python -m espnet_dice.stages.train --task asr --dump dump/fbank_pitch \\
        --token_list data/token_list/char31 --job tiny conf/train_asr_tiny.yaml train=tr valid=dev …
    python -m espnet_dice.stages.train --task dice --dump dump/raw --train tr --valid dev \\
        --job narrow_hard conf/train_dice_narrow_hard.yaml labels=exp/labels/teacher_l9_k500 …
    python -m espnet_dice.stages.train --task lm --train data/tr/text --valid data/dev/text \\
        --token_list data/token_list/char31 --job mini conf/train_lm_mini.yaml

makes ``exp/<task>_<tag>``. ESPnet is imported once; each model is trained in a child. What is whole
and unchanged is skipped before ESPnet is imported, and a killed training goes on.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from espnet_dice.io import options
from espnet_dice.io.errors import ConfigError, cli
from espnet_dice.io.progress import setup_logging
from espnet_dice.kd.distillation_options import DistillationOptions
from espnet_dice.records import experiment, feature_dir, tokens
from espnet_dice.training import asr, dice, lm, training_options
from espnet_dice.training.jobs import Job, run_jobs


@dataclass(frozen=True)
class Entry:
    """One ``--job TAG CONFIG [NAME=VALUE …]``.

    Attributes:
        tag: names the experiment.
        config: its YAML file.
        train, valid: its sets; of a language model its texts.
        labels: directory with a label store a set.
        seed: of the training.
    """

    tag: str
    config: Path
    train: tuple[str, ...]
    valid: tuple[str, ...]
    labels: Path | None
    seed: int

    @property
    def sets(self) -> tuple[str, str]:
        """Names of the training and the validation set.

        Raises:
            ConfigError: there is not one of each.
        """
        if len(self.train) != 1 or len(self.valid) != 1:
            raise ConfigError(
                f"--job {self.tag}: name one training and one validation set: --train and --valid, "
                "or train=SET valid=SET behind its config"
            )
        return self.train[0], self.valid[0]


def entries_of(args: argparse.Namespace) -> list[Entry]:
    """The models that a command line asks for.

    Raises:
        ConfigError: an entry has another form, or the seeds are neither one nor one a job.
    """
    seeds = args.seed * len(args.job) if len(args.seed) == 1 else args.seed
    if len(seeds) != len(args.job):
        raise ConfigError(f"--seed: one, or {len(args.job)}, not {len(seeds)}")
    found = []
    for words, seed in zip(args.job, seeds, strict=True):
        own = dict(word.partition("=")[::2] for word in words[2:])
        if len(words) < 2 or not own.keys() <= {"train", "valid", "labels"}:
            raise ConfigError(
                f"--job {' '.join(words)}: write TAG CONFIG, then train=SET, valid=SET, labels=DIR "
                "as far as they differ from --train and --valid"
            )
        train, valid = (
            (own[part],) if part in own else tuple(getattr(args, part))
            for part in ("train", "valid")
        )
        labels = Path(own["labels"]) if "labels" in own else None
        found.append(Entry(words[0], Path(words[1]), train, valid, labels, seed))
    return found


def asr_jobs(entries: Sequence[Entry], args: argparse.Namespace) -> list[Job]:
    """Recognisers, teachers and students."""
    outputs = args.teacher_outputs or args.exp
    teaching = DistillationOptions.parse(
        args.teacher, args.teacher_mode, outputs, args.teacher_dump
    )
    key = tokens.key_of(args.token_list)
    sets = {name: feature_dir.load(args.dump / name) for e in entries for name in e.sets}
    jobs = [
        asr.make_job(
            e.tag, e.config, *(sets[name] for name in e.sets), args.token_list, key, args.exp,
            e.seed, args.args, teaching,
        )
        for e in entries
    ]  # fmt: skip
    return [replace(job, role=args.role) for job in jobs]


def dice_jobs(entries: Sequence[Entry], args: argparse.Namespace) -> list[Job]:
    """HuBERTs, teachers and students; those beside whom a teacher runs come first.

    They take twice as long: last, one would keep the others waiting.
    """
    if len(args.teacher) > 1:
        raise ConfigError("--teacher: one for all students of a command")
    teacher = args.teacher[0] if args.teacher else None
    sets = {name: feature_dir.load(args.dump / name) for e in entries for name in e.sets}
    jobs = [
        dice.make_job(
            e.tag, e.config, *(sets[name] for name in e.sets), e.labels, args.exp, e.seed,
            args.args, teacher,
        )
        for e in entries
    ]  # fmt: skip
    return sorted(jobs, key=lambda job: "teacher" not in job.inputs)


def lm_jobs(entries: Sequence[Entry], args: argparse.Namespace) -> list[Job]:
    """Language models."""
    return [
        lm.make_job(
            e.tag, e.config, [*map(Path, e.train)], [*map(Path, e.valid)], args.token_list,
            args.exp, e.seed, args.args,
        )
        for e in entries
    ]  # fmt: skip


TASKS = {"asr": asr_jobs, "dice": dice_jobs, "lm": lm_jobs}
NEEDED = {"asr": ("dump", "token_list"), "dice": ("dump",), "lm": ("token_list",)}


def summary(task: str, out: Path) -> str:
    """One line about a trained model."""
    if task == "lm":
        return lm.summary(out)
    return experiment.summary(out, "acc") if task == "asr" else experiment.summary(out)


def main(argv: list[str] | None = None) -> None:
    """Train: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("--task", choices=TASKS, required=True, help="what is trained")
    parser.add_argument(
        "--job", action="append", nargs="+", required=True, metavar="WORD",
        help="TAG CONFIG [train=SET] [valid=SET] [labels=DIR]: a model to train; repeatable",
    )  # fmt: skip
    parser.add_argument("--train", nargs="+", default=[], help="training set; of an LM its texts")
    parser.add_argument("--valid", nargs="+", default=[], help="validation set, or texts")
    parser.add_argument("--dump", type=Path, help="dump/<feats_type> (asr, dice)")
    parser.add_argument("--token_list", type=Path, help="token list directory (asr, lm)")
    parser.add_argument("--exp", default=Path("exp"), type=Path, help="experiments")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one, or one per job")
    parser.add_argument("--args", default="", help="options for ESPnet that win over the configs")
    parser.add_argument(
        "--teacher", action="append", default=[],
        help="asr: NAME=EXPDIR, repeatable; dice: the teacher beside the student (dice_feature)",
    )  # fmt: skip
    parser.add_argument(
        "--role", choices=("teacher", "student"), default="", help="asr: what the reports call it"
    )
    parser.add_argument(
        "--teacher_mode", choices=("cached", "online"), default="cached", help="asr"
    )
    parser.add_argument("--teacher_outputs", type=Path, help="asr: cached outputs (--exp)")
    parser.add_argument("--teacher_dump", type=Path, help="asr: teachers' features, if not --dump")
    training_options.add_options(parser)
    args = parser.parse_args(argv)
    setup_logging()
    for name in NEEDED[args.task]:
        if getattr(args, name) is None:
            raise ConfigError(f"--{name} is needed with --task {args.task}")
    entries = entries_of(args)
    run_jobs(TASKS[args.task](entries, args), **training_options.chosen(args))
    for entry in entries:
        print(summary(args.task, args.exp / f"{args.task}_{entry.tag}"))


if __name__ == "__main__":
    cli(main)
