"""One training run inside its own process: ESPnet's trainer, made safe against being killed."""

import contextlib
import ctypes
import gc
import io
import logging
import os
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from espnet_dice import guards
from espnet_dice.hubert.models import onednn
from espnet_dice.io.atomic import only_writer
from espnet_dice.io.untrusted import torch_files
from espnet_dice.records import experiment
from espnet_dice.records.config_base import read_trained
from espnet_dice.training import epochs
from espnet_dice.work import launch, preload

CHECKPOINT = "checkpoint.pth"
LOG = "train.log"
PATIENCE_S = 15.0
"""The loaders of a killed training hold its directory for some seconds more."""
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1


def task_class(task: str) -> type:
    """ESPnet's task, with the plug-in registered. Imports espnet2 (6 s)."""
    with quiet_import():
        if task == "dice":
            from espnet_dice.dice.task import DiceHubertTask

            guards.load_tensors_only()
            return DiceHubertTask
        import espnet_dice

        espnet_dice.register()
        from espnet2.tasks.asr import ASRTask
        from espnet2.tasks.lm import LMTask

        guards.load_tensors_only()
    return {"asr": ASRTask, "lm": LMTask}[task]


def inference_class() -> type:
    """ESPnet's Speech2Text, with the plug-in registered. Imports espnet2 (6 s)."""
    task_class("asr")
    with quiet_import():
        from espnet2.bin.asr_inference import Speech2Text
    return Speech2Text


def warm_up() -> None:
    """Import before forking what the first optimizer imports (torch._dynamo, sympy: 3 s)."""
    import torch

    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Import ESPnet without its chatter, and without a download."""
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        if not preload.is_there():
            preload.ask()
            logging.info("loading ESPnet (about 6 s)")
            stack.enter_context(_without_collections())
        stack.enter_context(contextlib.redirect_stderr(said))
        stack.enter_context(contextlib.redirect_stdout(said))
        stack.enter_context(guards.without_downloads())
        yield
    logging.debug("ESPnet said: %s", said.getvalue())


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Import without looking for garbage, a fifth of the time, and never look through it again.

    Once a process: what is garbage when this ends stays.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def train(
    task: str,
    options: list[str],
    out: Path,
    threads: int,
    ngpu: int,
    launched_by: Sequence[str] = (),
) -> None:
    """Run ESPnet's training command: in this process, or with several in children.

    Args:
        task: ``asr``, ``lm`` or ``dice``.
        options: the command's options.
        out: the experiment directory; goes on from its checkpoint where there is one.
        threads: CPU threads of this run, if it is this process's.
        ngpu: GPUs of this run; with a launch 0 is CPU, and all else one GPU a process.
        launched_by: a launch, see :mod:`espnet_dice.work.launch`.

    Raises:
        DiceError: a training in children failed; those that were left have been ended by their
            launcher.
    """
    if ngpu > 1 or launched_by:
        launch.run(launch.command(task, options, out, ngpu, launched_by), out, out / LOG)
        return
    import torch

    keep_memory()
    onednn.remember(onednn.TRAINING)
    torch.set_num_threads(threads)
    run_here(task, [*options, "--ngpu", str(ngpu)], out)


def keep_memory() -> None:
    """Let glibc keep what it is given back, not the system: a seventh of a small model's step.

    A training takes the same arrays again and again. Other commands' lengths vary, and it would
    keep pieces. Another C library has no such option, and is left as it is.
    """
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def run_here(task: str, options: list[str], out: Path, first: bool = True) -> None:
    """Run ESPnet's training command, or one rank of it, in this process.

    Args:
        task: ``asr``, ``lm`` or ``dice``.
        options: the command's options.
        out: the experiment directory.
        first: this rank repairs and writes the directory; the others only read it.

    Raises:
        DataError: another training writes the directory, or a launcher started several processes
            without telling them their ranks.
    """
    guards.save_whole_files()
    with only_writer(out, patience_s=PATIENCE_S) if first else contextlib.nullcontext():
        if first:
            repair(out)
        task_class(task).main(cmd=options)


def repair(out: Path) -> None:
    """Repair what a kill between two files of one epoch leaves behind.

    ESPnet writes ``checkpoint.pth`` and then ``<n>epoch.pth``; without the second, averaging would
    fail many epochs later (and see :func:`epochs.finish`). Where a checkpoint or an epoch is not as
    it was written (a disk's fault: none is written in place), training begins anew.
    """
    import torch

    for left in out.glob(".*.tmp"):
        left.unlink()
    checkpoint = out / CHECKPOINT
    if not checkpoint.exists():
        return
    damaged = [checkpoint]
    if epochs.is_whole(checkpoint):
        states = torch_files.load_own(checkpoint)
        last = out / f"{states['reporter']['epoch']}epoch.pth"
        if not epochs.is_whole(last):
            torch.save(states["model"], last)
        damaged = epochs.finish(out, states["reporter"])
    if damaged:
        logging.warning("%s is not whole: training begins anew", damaged[0])
        for path in (checkpoint, *damaged):
            path.unlink(missing_ok=True)


def record(task: str, out: Path, criterion: tuple, **values) -> None:
    """Write ``model.json`` once the training has ended.

    Args:
        criterion: (phase, statistic, min or max, n).
        values: what the caller knows: seed, max_epoch, train_set, valid_set.
    """
    from espnet2.train.reporter import Reporter

    logging.getLogger().setLevel(logging.WARNING)
    phase, stat, mode, n = criterion
    states = torch_files.load_own(out / CHECKPOINT)
    reporter = Reporter()
    reporter.load_state_dict(states["reporter"])  # ESPnet's versions store it differently
    stats = reporter.stats
    scored = [(e, float(s[phase][stat])) for e, s in stats.items() if stat in s.get(phase, {})]
    scored.sort(key=lambda pair: pair[1] if mode == "min" else -pair[1])
    average = os.readlink(out / f"{phase}.{stat}.ave.pth")
    # ESPnet averages n checkpoints, or takes the best one where fewer than n were trained.
    averaged = scored[: n if len(scored) >= n else 1]
    seconds = sum(s[part]["time"].total_seconds() for s in stats.values() for part in s)
    experiment.write(
        out,
        task=task,
        model=average,
        parameters=count_parameters(task, out),
        averaged=averaged,
        seconds=round(seconds, 1),
        **values,
    )


def count_parameters(task: str, out: Path) -> int:
    """Parameters of the model that ``out/config.yaml`` describes, frozen ones included.

    Of DiceHuBERT's, those of the student alone: head and projections are thrown away.
    """
    model = task_class(task).build_model(Namespace(**read_trained(out / "config.yaml")))
    if task == "dice":
        return sum(p.numel() for p in model.student.parameters())
    return sum(p.numel() for p in model.parameters())
