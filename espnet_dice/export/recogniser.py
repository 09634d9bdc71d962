"""The export of one recogniser: files, their comparison with the trained model, and the card.

``exp/asr_<tag>/export`` holds config.yaml (with absolute paths), model.pth, data/ (bpe.model and
feats_stats.npz), features.json, infer.py with hearing.py and perhaps pitch.py, export.json, the
encoder as encoder.onnx and encoder.int8.onnx, and three forms that can be moved: asr_<tag>.zip, the
archive of ``espnet2.bin.pack``; ``hf/``, the same files with a model card, to upload to a hub; and
``ship/``, which runs without ESPnet and torch. ``infer.py`` needs ESPnet, and not this package.
"""

import contextlib
import logging
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_dice.export import cards, greedy_wer, language_model, shipped
from espnet_dice.io.fingerprint import Fingerprint, digest_files
from espnet_dice.records import experiment, feature_dir, frontend, tokens
from espnet_dice.records.config_base import read_trained
from espnet_dice.records.spoken import Spoken
from espnet_dice.results import table as results
from espnet_dice.training import trainer

MODEL = "model.pth"
VERSION = 9  # raise when the same model gives another export


@dataclass(frozen=True)
class RecogniserExport:
    """How recognisers are exported.

    Attributes:
        token_list: directory of the token list that they were trained with; None: ESPnet's own
            training made them, and their config names what there is.
        onnx: the encoder also as ONNX.
        test: features on which the ONNX encoders are compared by their WER, or None.
        test_utterances: of it, at most.
        spoken: its audio, from which what is shipped is measured, or None.
        lm: language model for ``ship/`` of those that were decoded with it, or None; exported.
        about: what :func:`espnet_dice.export.cards.card.about` says.
    """

    token_list: Path | None
    onnx: bool
    test: feature_dir.FeatureDir | None = None
    test_utterances: int = greedy_wer.UTTERANCES
    spoken: Spoken | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    lm: experiment.Experiment | None = None

    def fingerprint(self, system: experiment.Experiment) -> Fingerprint:
        """What an export depends on."""
        out = system.directory / cards.EXPORT
        settings = {"version": VERSION, "path": str(out.resolve()), "onnx": self.onnx}
        settings["card"] = dict(self.about)
        inputs = {"model": system.sha256}
        if self.token_list is None:
            inputs["config"] = digest_files([system.config])
        else:
            inputs["tokens"] = tokens.key_of(self.token_list)
        if self.test:
            settings["test_utterances"] = self.test_utterances
            settings["spoken"] = self.spoken is not None
            inputs["test"] = self.test.key
        weight = self.lm_weight(system)
        if weight:
            settings["lm_weight"], inputs["lm"] = weight, self.lm.sha256
        if decoded := self.decoded(system):
            inputs["decoded"] = digest_files([decoded])
        return Fingerprint("export", settings, inputs)

    def lm_weight(self, system: experiment.Experiment) -> float:
        """With which the language model was decoded, by the results; 0: it was not."""
        rows = _rows(system, self.lm.name.removeprefix("lm_")) if self.lm else []
        return rows[0]["lm_weight"] if rows else 0.0

    def decoded(self, system: experiment.Experiment) -> Path | None:
        """The texts of the test set by beam search, with the language model if it is used."""
        lm = self.lm.name.removeprefix("lm_") if self.lm_weight(system) else None
        for row in _rows(system, lm) if self.test else []:
            if row["set"] == self.test.name:
                path = system.directory / row["decode"] / row["set"] / "text"
                return path if path.exists() else None
        return None

    def warm_up(self) -> None:
        """Import, before processes are forked, what each of them needs."""
        trainer.task_class("asr")

    def make(self, system: experiment.Experiment, directory: Path) -> dict[str, Any]:
        """Write one system's files, in a process of its own; what ``export.json`` says of them.

        Raises:
            ConfigError: the exported model would not be exactly plain ESPnet's.
        """
        import torch

        from espnet_dice.export import plain_espnet

        torch.set_num_threads(1)
        config = read_trained(system.config)
        heard = frontend.of_training(config) or frontend.of_sound(config, system.config)
        paths = (system.config, system.model_file, directory, system.directory / cards.EXPORT)
        report = plain_espnet.write_export(*paths, self.onnx, heard)
        if report.get("onnx"):
            report["no_ship"] = why = shipped.why_not(heard)
            if why is None:
                weight = self._take_lm(system, directory, report)
                shipped.recogniser(directory, heard, config["token_list"], weight)
            if self.test is not None:
                spoken = self.spoken if why is None else None
                how = (self.test, self.token_list, self.test_utterances, spoken)
                how += (self.decoded(system),)
                report[greedy_wer.KEY] = greedy_wer.measure(directory, *how)
        hub_directory(directory, directory / f"{system.name}.zip")
        return report

    def _take_lm(
        self, system: experiment.Experiment, directory: Path, report: dict[str, Any]
    ) -> float:
        """Put the exported language model here; its weight, 0 where there is none to ship."""
        from espnet_dice.export.onnx import DECODER

        weight = self.lm_weight(system)
        if not weight or DECODER not in report["onnx"]:
            return 0.0
        exported = language_model.take(self.lm, directory)
        report["no_lm"] = exported.get(language_model.NO_LM)
        if report["no_lm"]:
            return 0.0
        report["onnx"] |= exported["onnx"]
        report["lm"] = {"name": self.lm.name.removeprefix("lm_"), "weight": weight}
        return weight

    def tell(self, name: str, report: dict[str, Any]) -> None:
        """Say, in lines of the log, what an export cannot, and how exact it is."""
        if report["not_plain"]:
            logging.warning(
                "%s: %s: the export loads only where this package is installed, after "
                "espnet_dice.register()",
                name,
                report["not_plain"],
            )
        elif report.get("no_infer"):
            logging.warning(
                "%s: it takes features, and has no infer.py: %s", name, report["no_infer"]
            )
        if report.get("no_onnx"):
            logging.warning("%s: no ONNX and no ship/: %s", name, report["no_onnx"])
        for part in ("no_decoder", "no_lm"):
            if report.get(part):
                logging.warning("%s: ship/ goes without: %s", name, report[part])
        if report.get("no_ship"):
            logging.warning("%s: no ship/: %s", name, report["no_ship"])
        worst = report["largest_difference"]
        logging.info("%s: exported, largest difference of outputs %.1g", name, worst)
        if greedy_wer.KEY in report:
            logging.info("%s: %s", name, greedy_wer.said(report[greedy_wer.KEY]))


def _rows(system: experiment.Experiment, lm: str | None) -> list[dict[str, Any]]:
    """Of the results, those of a system with this language model, or without any."""
    name = system.name.removeprefix("asr_")
    rows = results.rows(system.directory.parent)
    return [row for row in rows if (row["system"], row["lm"]) == (name, lm)]


def hub_directory(directory: Path, archive: Path) -> None:
    """Make ``hf``, the archive unpacked, as a hub wants it; parameters are linked, not copied."""
    hub = directory / cards.HF
    with zipfile.ZipFile(archive) as z:
        z.extractall(hub)
    linked = hub / ".linked"
    with contextlib.suppress(OSError):  # not every disk has links
        os.link(directory / MODEL, linked)
        os.replace(linked, hub / MODEL)
