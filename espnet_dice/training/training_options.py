"""How trainings are run: options of the commands that train, no part of a model's fingerprint."""

import argparse
from typing import Any

from espnet_dice.io import options


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--nj``, ``--threads``, ``--ngpu``, ``--launch`` and ``--resume``."""
    parser.add_argument("--nj", type=int, default=None, help="models at a time (cores)")
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="CPU threads a model; 0: the cores, shared out among models at a time",
    )
    parser.add_argument("--ngpu", type=int, default=0, help="GPUs a model")
    parser.add_argument(
        "--launch",
        default="",
        help="what starts a model's processes: 'srun --ntasks 8 --gpus-per-task 1', 'torchrun "
        "--no-python --nproc_per_node 4', ESPnet's launcher; {out} is the experiment",
    )
    parser.add_argument(
        "--resume", type=options.true_false, default=True, help="go on from checkpoints"
    )


def chosen(args: argparse.Namespace) -> dict[str, Any]:
    """What was given, as :func:`jobs.run_jobs` takes it."""
    return {
        "nj": args.nj,
        "threads": args.threads,
        "ngpu": args.ngpu,
        "resume": args.resume,
        "launched_by": args.launch,
    }
