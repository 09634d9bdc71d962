"""A stage as an array of jobs, on the command that starts jobs in ESPnet's and Kaldi's recipes.

    --cmd "slurm.pl --mem 4G" --nj 20

runs ``slurm.pl --mem 4G JOB=1:20 ….JOB.log python -m espnet_dice.stages.… --shard JOB/20`` after
the command's own ``--shard begin``, and then finishes.
"""

import argparse
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from espnet_dice.io import processes
from espnet_dice.io.errors import ConfigError, DiceError
from espnet_dice.work import launch
from espnet_dice.work.sharded import Part
from espnet_dice.work.workers import tail

BEGIN = Part(0, 1)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--shard`` and ``--cmd``."""
    parser.add_argument(
        "--shard",
        type=str,
        default="",
        help="begin: clear and prepare; I/N: make the I-th of N parts, on any machine; without it: "
        "make what is missing, and finish",
    )
    parser.add_argument(
        "--cmd",
        default="",
        help="what starts an array of --nj jobs, such as 'slurm.pl --mem 4G'; without it: "
        "processes here",
    )


def make(
    do: Callable[[Part | None], int],
    args: argparse.Namespace,
    stage: str,
    argv: Sequence[str] | None,
    logs: Path,
) -> int:
    """Do a stage: whole, one part of it, or as an array of jobs.

    Args:
        do: makes a part, or everything; returns how much was not there yet.
        args: with ``shard``, ``cmd`` and ``nj``.
        stage: name of the module below ``espnet_dice.stages``.
        argv: of the command; None: the process's.
        logs: where the jobs' logs go.

    Returns:
        What ``do`` says.

    Raises:
        DiceError: jobs failed; with the end of a log.
    """
    part = Part.parse(args.shard)
    if part is not None or not args.cmd:
        return do(part)
    made = do(BEGIN)
    if made:
        run(args.cmd, args.nj, stage, sys.argv[1:] if argv is None else argv, logs)
        do(None)
    return made


def run(cmd: str, jobs: int, stage: str, argv: Sequence[str], logs: Path) -> None:
    """Start the jobs and wait for them; see :func:`make`."""
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{stage}.JOB.log"
    try:
        words = shlex.split(cmd)
    except ValueError as err:
        raise ConfigError(f"--cmd {cmd!r}: {err}") from err
    job = [*launch.python(), "-m", f"espnet_dice.stages.{stage}", *argv]
    logging.info("%d jobs by %s, logs: %s", jobs, words[0], log)
    code = processes.run(
        [*words, f"JOB=1:{jobs}", str(log), *job, "--shard", f"JOB/{jobs}", "--nj", "1"]
    )
    if code:
        paths = [logs / f"{stage}.{i}.log" for i in range(1, jobs + 1)]
        failed = [path for path in paths if "error:" in tail(path)] or paths
        raise DiceError(
            f"{words[0]} ended with code {code}; the end of {failed[0]}:\n{tail(failed[0])}\n"
            "The same command goes on with the shards that are missing."
        )
