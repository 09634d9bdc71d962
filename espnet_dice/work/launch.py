"""One training as several processes: the GPUs of one host, torchrun, srun, ESPnet's launcher.

A launch is the beginning of a command line, to which the training command is added; it starts that
command once a process, or hands on the options of ESPnet's that tell it how::

    torchrun --no-python --nproc_per_node 4
    srun --ntasks 8 --gpus-per-task 1 --kill-on-bad-exit=1
    python -m espnet2.bin.launch --cmd "slurm.pl" --num_nodes 2 --ngpu 4 --log {out}/launch.log --
"""

import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_dice.io.errors import ConfigError, DiceError
from espnet_dice.io.processes import die_with
from espnet_dice.work.workers import tail

TASKS = ("asr", "lm", "dice")
CARRIED = ("PYTHONPATH", "OMP_NUM_THREADS", "GOMP_SPINCOUNT")
INIT_FILE = ".dist_init_"


def split(text: str) -> tuple[str, ...]:
    """The words of a launch, as a shell would see them.

    Raises:
        ConfigError: quotes that are not closed.
    """
    try:
        return tuple(shlex.split(text))
    except ValueError as err:
        raise ConfigError(f"--launch {text!r}: {err}") from err


def log_of(out: Path, launch: Sequence[str], default: str) -> Path:
    """Where the training tells its progress: ESPnet's launcher has a ``--log`` of its own."""
    name = value(launch, "--log")
    return out / default if name is None else Path(name.replace("{out}", str(out)))


def check_alone(env: Mapping[str, str]) -> None:
    """Refuse a stage that a launcher started several times.

    Raises:
        ConfigError: it is one of several processes; each would write the same directory.
    """
    if int(env.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            f"this is one of {env['WORLD_SIZE']} processes: start the stage once, and give it the "
            "launcher, as --launch 'torchrun --no-python …'"
        )


def command(
    task: str, options: Sequence[str], out: Path, ngpu: int, launch: Sequence[str] = ()
) -> list[str]:
    """The command that trains one model in several processes.

    Args:
        task: one of :data:`TASKS`.
        options: ESPnet's.
        out: the experiment; ``{out}`` in a launch stands for it.
        ngpu: without a launch the processes and GPUs of this host; with one, 0 trains on CPU and
            everything else on one GPU a process.
        launch: from :func:`split`.
    """
    ours = [*python(), "-m", "espnet_dice.training.process", task, *options]
    if not launch:
        return [*ours, "--ngpu", str(ngpu), "--multiprocessing_distributed", "true"]
    ours += ["--ngpu", "1"] if ngpu else ["--ngpu", "0", "--dist_backend", "gloo"]
    # where processes meet that know their rank only; of a new name, since an old file is no start
    meeting = out.absolute() / f"{INIT_FILE}{uuid.uuid4().hex[:8]}"
    ours += ["--dist_init_method", f"file://{meeting}"]
    return [*(word.replace("{out}", str(out)) for word in launch), *ours]


def python() -> list[str]:
    """This Python, for a job on another machine: Kaldi's slurm.pl hands on nothing but PATH."""
    variables = [f"{name}={os.environ[name]}" for name in CARRIED if name in os.environ]
    return [*(["env", *variables] if variables else []), sys.executable]


def run(command: list[str], out: Path, log: Path) -> None:
    """Run a command that writes to ``log``, and end it when this process ends.

    Raises:
        DiceError: it failed; with the end of its log.
    """
    parent = os.getpid()
    try:
        process = subprocess.Popen(command, preexec_fn=lambda: die_with(parent))
        code = process.wait()
    finally:
        for left in out.glob(f"{INIT_FILE}*"):
            left.unlink()
    if code:
        raise DiceError(
            f"{command[0]} ended with code {code}. The end of {log}:\n{tail(log)}\n"
            "The same command goes on from the last whole epoch once the cause is fixed."
        )


def rank_options(options: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """ESPnet's options for this process, as far as its launcher says them in variables only.

    Args:
        options: that were given; what ESPnet's own launcher says in them is left to ESPnet.
        env: the process's variables.
    """
    known = {"--dist_rank", "--dist_launcher", "--multiprocessing_distributed"}
    if known & {option.partition("=")[0] for option in options}:
        return []
    if {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= env.keys():  # torchrun
        return ["--dist_init_method", "env://"]
    if "SLURM_PROCID" in env and int(env.get("SLURM_NTASKS", "1")) > 1:
        # --gpus-per-task shows each process its own GPU only, which is then the first it sees
        alone = len(env.get("CUDA_VISIBLE_DEVICES", "").split(",")) == 1
        local = "0" if env.get("CUDA_VISIBLE_DEVICES") and alone else env["SLURM_LOCALID"]
        ranks = ["--dist_rank", env["SLURM_PROCID"], "--dist_world_size", env["SLURM_NTASKS"]]
        return [*ranks, "--local_rank", local]
    return []


def is_first(options: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether this process is the one that writes the experiment."""
    rank = value(options, "--dist_rank")
    if rank is None:
        slurm = value(options, "--dist_launcher") == "slurm"
        rank = env.get("SLURM_PROCID" if slurm else "RANK", "0")
    return int(rank) == 0


def value(options: Sequence[str], name: str) -> str | None:
    """The last value that an option is given, in either of its forms; None if it is not given."""
    found = None
    for at, option in enumerate(options):
        if option == name and at + 1 < len(options):
            found = options[at + 1]
        elif option.startswith(f"{name}="):
            found = option.partition("=")[2]
    return found
