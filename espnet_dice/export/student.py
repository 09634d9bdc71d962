"""The export of one HuBERT student: files, their comparison with the trained model, and the card.

``exp/dice_<tag>/export`` holds ``hf/`` (config.json, model.safetensors, preprocessor_config.json,
and README.md, the model card; with ``stem: mel`` also mel_hubert.py and mel.py, its code),
``model.onnx``, ``model.int8.onnx``, ``ship/`` (see :mod:`espnet_dice.export.shipped`) and
``export.json`` with the differences and speeds that were measured while exporting. No file is a
pickle.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.records import experiment

VERSION = 7  # raise when the same model gives another export


@dataclass(frozen=True)
class StudentExport:
    """How students are exported.

    Attributes:
        onnx: also as ONNX.
        about: what :func:`espnet_dice.export.cards.card.about` says.
    """

    onnx: bool
    about: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self, system: experiment.Experiment) -> Fingerprint:
        """What an export depends on."""
        settings = {"version": VERSION, "onnx": self.onnx, "card": dict(self.about)}
        inputs = {"training": system.key, "model": system.sha256}
        return Fingerprint("export_hubert", settings, inputs)

    def warm_up(self) -> None:
        """Import, before processes are forked, what each of them needs."""
        from espnet_dice.hubert.models import stem

        stem.warm_up()

    def make(self, system: experiment.Experiment, directory: Path) -> dict[str, Any]:
        """Write one system's files, in a process of its own; what ``export.json`` says of them.

        Raises:
            DiceError: the exported model would not be the trained one.
        """
        from espnet_dice.export import hf
        from espnet_dice.hubert import frozen

        model = frozen.load(system.directory)
        report: dict[str, Any] = {
            "parameters": model.size,
            "layers": model.layers,
            "dim": model.dim,
            "normalize": model.normalize,
        }
        if hf.can_export(model):
            (directory / "hf").mkdir()
            worst = hf.write(model, directory / "hf")
            report["hf"] = {"largest_difference": worst, "carries_code": hf.carries_code(model)}
        else:
            report["no_hf"] = "no HuBERT, so nothing for transformers"
        if self.onnx:
            from espnet_dice.export import shipped
            from espnet_dice.export.onnx import student as to_onnx

            report["onnx"] = to_onnx.write(model, directory)
            shipped.student(directory)
        return report

    def tell(self, name: str, report: dict[str, Any]) -> None:
        """Say, in a line of the log, how exact and how fast an export is."""
        logging.info("%s: exported; %s", name, told(report))


def told(report: dict[str, Any]) -> str:
    """One line about an export."""
    parts = []
    if "hf" in report:
        parts.append(f"transformers: largest difference {report['hf']['largest_difference']:.1g}")
    if "no_hf" in report:
        parts.append(report["no_hf"])
    figures = report.get("onnx", {})
    for name, said in figures.items():
        speed = f"{said['seconds_per_audio_second']:.4f} s per second of audio"
        error = f", relative error {said['relative_error']:.1g}" if "relative_error" in said else ""
        parts.append(f"{name}: {speed}{error}")
    return "; ".join(parts) or "nothing to export"
