"""The files that ESPnet writes after an epoch, brought to what they are when nothing kills it.

They are written one after another: ``checkpoint.pth``, ``<n>epoch.pth``, the links to the latest
and to the best epochs; then epochs that are no longer among the best are removed. A training that
goes on begins at the next epoch, and never comes back to what was left undone.
"""

import zipfile
from pathlib import Path
from typing import Any

from espnet_dice.records.config_base import read_trained

EPOCH = "epoch.pth"


def is_whole(path: Path) -> bool:
    """True if a file of ``torch.save`` is there, every byte of its values as it was written."""
    try:
        with zipfile.ZipFile(path) as members:
            return members.testzip() is None
    except (FileNotFoundError, zipfile.BadZipFile):
        return False


def finish(out: Path, reported: dict[str, Any]) -> list[Path]:
    """Do what is left to be done after the last epoch of a checkpoint.

    Args:
        out: the experiment.
        reported: state of ESPnet's reporter in the checkpoint.

    Returns:
        Epochs of the best that are missing or damaged; of the others the damaged ones.
    """
    from espnet2.train.reporter import Reporter

    reporter = Reporter()
    reporter.load_state_dict(reported)  # ESPnet's versions store it differently
    last = reporter.get_epoch()
    config = out / "config.yaml"
    options = read_trained(config) if config.exists() else {}
    n = options.get("keep_nbest_models", 1)
    kept = {last}
    _link(out / "latest.pth", last)
    for phase, stat, mode in options.get("best_model_criterion", ()):
        if reporter.has(phase, stat):
            order = reporter.sort_epochs(phase, stat, mode)
            _link(out / f"{phase}.{stat}.best.pth", order[0])
            kept |= set(order[: max(n) if isinstance(n, list) else n])
    for path in out.glob(f"*{EPOCH}"):
        number = path.name.removesuffix(EPOCH)
        if number.isdecimal() and int(number) < last and int(number) not in kept:
            path.unlink()
    needed = {out / f"{number}{EPOCH}" for number in kept}
    return sorted(path for path in needed | set(out.glob(f"*{EPOCH}")) if not is_whole(path))


def _link(link: Path, epoch: int) -> None:
    target = f"{epoch}{EPOCH}"
    if link.is_symlink() and str(link.readlink()) == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)
