"""Stage 6: what each teacher says of the student's transcripts, written once as arks.

    python -m espnet_dice.stages.teacher_outputs --teacher a=exp/asr_a --teacher b=exp/asr_b \\
        --dump dump/fbank_pitch --sets s_train s_dev --token_list data/token_list/char31

makes ``exp/teacher_outputs/<teacher>/<set>/teacher.scp`` (see :mod:`espnet_dice.kd.cache` for the
rows and columns) and, for KD on the CTC branch, ``ctc.scp``. A cache is keyed to the features and
transcripts, the token list and the teacher's parameters. A killed run goes on with the shards that
are missing; ``--shard`` makes some of them only.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from espnet_dice.io import fingerprint, options
from espnet_dice.io.arks import write_scp
from espnet_dice.io.errors import cli
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.io.json_files import write_json
from espnet_dice.io.progress import setup_logging
from espnet_dice.kd import cache
from espnet_dice.kd.distillation_options import DistillationOptions, parse_teachers
from espnet_dice.kd.teacher_shards import TeacherForcing, TeacherShard, cut
from espnet_dice.records import configs, experiment, feature_dir, tokens
from espnet_dice.training import trainer
from espnet_dice.work import job_array
from espnet_dice.work.pool import Pool
from espnet_dice.work.sharded import Part, Sharded


def fingerprint_of(
    dump: feature_dir.FeatureDir, token_key: str, teacher: experiment.Experiment, conf: dict
) -> Fingerprint:
    """What one cache directory is made from."""
    inputs = {"data": dump.key, "tokens": token_key, "teacher": teacher.sha256}
    return Fingerprint(cache.STAGE, conf, inputs)


def make_outputs(
    teachers: dict[str, Path],
    sets: list[feature_dir.FeatureDir],
    token_list: Path,
    out: Path,
    n_samples: int = 50,
    with_ctc: bool = False,
    seed: int = 0,
    batch_size: int = 16,
    nj: int | None = None,
    part: Part | None = None,
) -> int:
    """Write the outputs of every teacher for every set that are not there yet.

    Args:
        teachers: name → experiment directory.
        sets: features and transcripts.
        token_list: the student's; a teacher with another one is refused.
        out: where ``<teacher>/<set>`` goes.
        n_samples: noise draws in p̂ (0: log softmax of the logits).
        with_ctc: also the CTC branch's log posteriors.
        seed: of the noise.
        batch_size: utterances at a time.
        nj: processes; the outputs do not depend on it.
        part: make only this part of every directory, see :mod:`sharded`.

    Returns:
        How many directories were written.

    Raises:
        StaleError: a teacher is missing or unfinished; a part of something else than was begun.
        DataError: speech or a transcript cannot be read.
    """
    token_key = tokens.key_of(token_list)
    conf = {"n_samples": n_samples, "ctc": with_ctc, "seed": seed}
    made = 0
    for name, exp in teachers.items():
        teacher = experiment.load(exp, "stage 5 (teachers)")
        forcing = TeacherForcing(
            teacher.directory, teacher.model, token_list, n_samples, with_ctc, seed, batch_size
        )
        log = out / name / "teacher_outputs.log"
        with Pool(nj or options.cores(), lambda: trainer.task_class("asr"), log) as pool:
            for dump in sets:
                target = out / name / dump.name
                made_from = fingerprint_of(dump, token_key, teacher, conf)
                shards = cut(target, dump, forcing, made_from.key)
                outputs = Sharded(
                    target,
                    dump.path,
                    made_from,
                    shards,
                    lambda records, shards=shards: assemble(shards, records),
                )
                made += outputs.make(pool, part)
    return made


def _have_ctc(directories: Sequence[Path]) -> bool:
    """Whether outputs were made with the CTC branch: without it they would be others.

    Students that do not read it would then be trained again.
    """
    records = (fingerprint.read(directory) or {} for directory in directories)
    return any(record.get("settings", {}).get("ctc") for record in records)


def assemble(shards: list[TeacherShard], records: list[dict]) -> None:
    """Write the index of every archive, and tell how sure the teacher is."""
    out = shards[0].out_dir
    for stem in shards[0].stems:
        entries = [
            (utt, shard.ark(stem), offset)
            for shard, record in zip(shards, records, strict=True)
            for utt, offset in record["rows"][stem]
        ]
        write_scp(sorted(entries), out / f"{stem}.scp")
    facts = mean_of([r.get("totals") or r["sums"] for r in records])
    write_json(out / cache.FACTS, facts)
    logging.info("%s: %s", out, describe(facts))


def mean_of(totals: list[dict[str, float]]) -> dict[str, float]:
    """Means over all tokens from the shards' sums, and how many tokens there are."""
    total = {key: sum(part[key] for part in totals) for key in totals[0]}
    return {k: v if k == "tokens" else v / total["tokens"] for k, v in total.items()}


def describe(mean: dict[str, float]) -> str:
    """How sure a teacher is: tokens, mean p̂ of the reference, mean entropy, mean variance."""
    line = f"{mean['tokens']} tokens, p(reference) {mean['right']:.3f}"
    line += f", entropy {mean['entropy']:.3f} nats"
    return line + (f", variance {mean['variance']:.3f}" if "variance" in mean else "")


def main(argv: list[str] | None = None) -> None:
    """Write teacher outputs: a command."""
    parser = options.parser(__doc__)
    parser.add_argument(
        "--teacher", action="append", required=True, metavar="NAME=EXPDIR", help="repeatable"
    )
    parser.add_argument("--dump", required=True, type=Path, help="dump/<feats_type>")
    parser.add_argument("--sets", required=True, nargs="+", help="names of sets below --dump")
    parser.add_argument("--token_list", required=True, type=Path, help="token list directory")
    parser.add_argument("--out", default=Path("exp/teacher_outputs"), type=Path, help="caches")
    parser.add_argument("--samples", type=int, default=50, help="noise draws; 0: none")
    parser.add_argument(
        "--ctc", choices=("true", "false", "auto"), default="auto",
        help="CTC branch too; auto: if one of --students reads it, or it is there",
    )  # fmt: skip
    parser.add_argument("--students", type=Path, nargs="*", default=[], help="their configs")
    parser.add_argument("--student_args", default="", help="ESPnet's options that win over them")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--batch_size", type=int, default=16, help="utterances at a time")
    parser.add_argument("--nj", type=int, default=options.cores(), help="processes")
    job_array.add_options(parser)
    args = parser.parse_args(argv)
    setup_logging()
    sets = [feature_dir.load(args.dump / name) for name in args.sets]
    teachers = parse_teachers(args.teacher)
    with_ctc = args.ctc == "true"
    if args.ctc == "auto":
        confs = [configs.model_conf(config, args.student_args) for config in args.students]
        with_ctc = any(map(DistillationOptions.reads_ctc, confs)) or _have_ctc(
            [args.out / name / dump.name for name in teachers for dump in sets]
        )

    def do(part: Part | None) -> int:
        return make_outputs(
            teachers,
            sets,
            args.token_list,
            args.out,
            args.samples,
            with_ctc,
            args.seed,
            args.batch_size,
            args.nj,
            part,
        )

    made = job_array.make(do, args, "teacher_outputs", argv, args.out / "log")
    print(f"{args.out}: {made} made, {len(args.teacher) * len(sets) - made} unchanged")


if __name__ == "__main__":
    cli(main)
