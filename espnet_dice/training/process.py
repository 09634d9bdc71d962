"""One process of a training, as torchrun, srun or ESPnet's launcher start it.

    torchrun --no-python --nproc_per_node 4 \\
        python -m espnet_dice.training.process dice --config conf/FILE.yaml --ngpu 1 …

After the task (asr, lm or dice) come ESPnet's own options. The plug-in is registered, files are
whole or not there, and the rank is the launcher's. The training stages start this by themselves.
"""

import logging
import os
import sys
from pathlib import Path

from espnet_dice import guards
from espnet_dice.io.errors import ConfigError, cli
from espnet_dice.io.processes import die_with, without_finalization
from espnet_dice.training import trainer
from espnet_dice.work import launch


def main(argv: list[str] | None = None) -> None:
    """Train as one of several processes: a command."""
    task, *options = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if task in ("-h", "--help"):
        print(__doc__.strip())
        return
    if task not in launch.TASKS:
        raise ConfigError(f"{task!r}: the task is one of {', '.join(launch.TASKS)}")
    options += launch.rank_options(options, os.environ)
    out = launch.value(options, "--output_dir")
    if out is None:
        raise ConfigError("--output_dir is missing: it names the experiment")
    first = launch.is_first(options, os.environ)
    # ESPnet sets up logging only where nobody has; as there, the other ranks tell errors only
    logging.basicConfig(
        level=logging.INFO if first else logging.ERROR,
        format=f"[{os.uname().nodename.partition('.')[0]}] %(asctime)s (%(module)s:%(lineno)d) "
        "%(levelname)s: %(message)s",
    )
    trainer.run_here(task, options, Path(out), first)


if __name__ == "__main__":
    with without_finalization():
        cli(main)
elif __name__ == "__mp_main__":  # a child that ESPnet spawned for one of several GPUs
    from espnet_dice.registry import register_when_imported

    die_with(os.getppid())
    register_when_imported()
    guards.save_whole_files()
