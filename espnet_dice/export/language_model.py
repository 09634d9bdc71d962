"""The export of a language model, which recognisers share: ``exp/lm_<tag>/export``.

It holds ``lm.onnx``, ``lm.int8.onnx`` and ``export.json``, which has their figures or, where there
is no graph, the reason.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from espnet_dice.export import cards
from espnet_dice.io.atomic import atomic_dir, link_or_copy
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.io.json_files import read_json, write_json
from espnet_dice.records import experiment
from espnet_dice.records.config_base import read_trained
from espnet_dice.training import trainer

VERSION = 1  # raise when the same model gives another export
NO_LM = "no_lm"
"""In a report: why there is no graph."""


def fingerprint(lm: experiment.Experiment) -> Fingerprint:
    """What an export depends on."""
    return Fingerprint("export_lm", {"version": VERSION}, {"model": lm.sha256})


def is_done(lm: experiment.Experiment) -> bool:
    """Whether it was exported as it is now, and all of it is there."""
    exported = lm.directory / cards.EXPORT
    if not fingerprint(lm).is_done(exported):
        return False
    return all((exported / name).exists() for name in _graphs(read_json(exported / cards.REPORT)))


def write(lm: experiment.Experiment) -> None:
    """Write ``exp/lm_<tag>/export``.

    Raises:
        DiceError: a graph would not be the trained model.
    """
    import torch

    torch.set_num_threads(1)
    with atomic_dir(lm.directory / cards.EXPORT) as tmp:
        write_json(tmp / cards.REPORT, _make(lm, tmp))
        fingerprint(lm).finish(tmp)


def _make(lm: experiment.Experiment, directory: Path) -> dict[str, Any]:
    from espnet_dice.export.onnx import search_step
    from espnet_dice.export.onnx.graphs import NoGraph

    model = trainer.task_class("lm").build_model_from_file(
        str(lm.config), str(lm.model_file), "cpu"
    )[0]
    model = model.lm.eval()
    if why := search_step.why_no_lm(model):
        return {NO_LM: why}
    eos = len(read_trained(lm.config)["token_list"]) - 1
    try:
        return {"onnx": search_step.write_lm(model, eos, directory, lm.name)}
    except NoGraph as err:
        return {NO_LM: str(err)}


def take(lm: experiment.Experiment, directory: Path) -> dict[str, Any]:
    """Link what :func:`write` wrote into a recogniser's export; return its report."""
    exported = lm.directory / cards.EXPORT
    report = read_json(exported / cards.REPORT)
    for name in _graphs(report):
        link_or_copy(exported / name, directory / name)
    return report


def _graphs(report: dict[str, Any]) -> Iterable[str]:
    return report.get("onnx", ())
