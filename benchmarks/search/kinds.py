"""What is searched: recognisers by their WER on dev, or HuBERT students by their ABX error there.

A kind gives the words of the stages that train and measure trials, and reads what they left.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.search import predictions
from benchmarks.search.space import LABELS, Trial
from espnet_dice.io import texts
from espnet_dice.io.json_files import read_json
from espnet_dice.records import feature_dir, phones
from espnet_dice.results.abx import OUT, best
from espnet_dice.results.score import error_rates


class Recognisers:
    """``kind: asr``, the default: trained by ``train --task asr``, decoded without a LM."""

    prefix = "asr_"
    figures = ("wer", "cer")
    """Percent; the first decides."""
    fine = "cer"
    """The one that tells trials apart at the first rung, where WER is near 100 %."""

    def told(self, space: dict[str, Any]) -> str:
        """The table's first words."""
        return f"WER % on {space['dev']}, without LM"

    def training(self, space: dict[str, Any]) -> list[str]:
        """Words for ``train``, but for its jobs."""
        words = ["--task", "asr", "--dump", space["dump"], "--token_list", space["token_list"]]
        words += ["--teacher_outputs", "exp/teacher_outputs"]
        for name, exp in space["teachers"].items():
            words += ["--teacher", f"{name}={exp}"]
        return words

    def measuring(self, space: dict[str, Any], systems: Sequence[Path], out: Path) -> list[str]:
        """The stage that measures trained trials."""
        words = ["decode", "--config", space["inference_config"], "--tag", "search"]
        return [
            *words,
            "--sets",
            f"{space['dump']}/{space['dev']}",
            "--systems",
            *map(str, systems),
        ]

    def read(
        self, space: dict[str, Any], recipe: Path, system: Path, out: Path
    ) -> dict[str, float]:
        """Figure → percent."""
        said = texts.words(system / "decode_search_no_lm" / space["dev"] / "text")
        rates = error_rates(texts.words(recipe / space["dump"] / space["dev"] / "text"), said)
        return {name: rates[name] for name in self.figures}


class Students:
    """``kind: dice``: trained by ``train --task dice``, scored by triphone ABX, best layer.

    With ``predictions: true`` in the space their PNMI (:mod:`predictions`) stands beside it.
    """

    prefix = "dice_"
    figures = ("abx", "within", "across", "pnmi")
    fine = "abx"

    def told(self, space: dict[str, Any]) -> str:
        """The table's first words."""
        return f"ABX error % on {space['dev']}: mean of within and across speakers, best layer"

    def training(self, space: dict[str, Any]) -> list[str]:
        """Words for ``train``, but for its jobs."""
        teacher = ["--teacher", space["teacher"]] if "teacher" in space else []
        return ["--task", "dice", "--dump", space["dump"], *teacher]

    def measuring(self, space: dict[str, Any], systems: Sequence[Path], out: Path) -> list[str]:
        """The stage that measures trained trials."""
        words = ["abx", "--dump", space["dump"], "--sets", space["dev"], "--exp", str(out)]
        words += ["--alignment", space["alignment"]]
        for system in systems:
            words += ["--system", f"{system.name}={system}"]
        return words

    def read(
        self, space: dict[str, Any], recipe: Path, system: Path, out: Path
    ) -> dict[str, float | None]:
        """Figure → percent."""
        layers = (read_json(out / OUT / f"{system.name}.json") or {})["layers"]
        errors = layers[str(best(layers))]
        found = {"abx": (errors["within"] + errors["across"]) / 2, **errors}
        if not space.get("predictions"):
            return found
        dump = feature_dir.load(recipe / space["dump"] / space["dev"])
        spoken = phones.read([recipe / space["alignment"]], feature_dir.seconds([dump]))
        return found | {"pnmi": predictions.pnmi(system, feature_dir.Waves(dump), spoken)}


KINDS = {"asr": Recognisers(), "dice": Students()}


def of(space: dict[str, Any]) -> Recognisers | Students:
    """The space's kind."""
    return KINDS[space.get("kind", "asr")]


def job(trial: Trial, config: Path) -> list[str]:
    """``--job`` of ``train``."""
    own = [f"labels={trial.keys[LABELS]}"] if LABELS in trial.keys else []
    return ["--job", trial.tag, str(config), *own]
