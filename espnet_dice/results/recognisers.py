"""The recognisers of an experiment directory, and what each of them made of the test sets."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.io import fingerprint, texts
from espnet_dice.io.errors import DataError
from espnet_dice.io.json_files import read_json
from espnet_dice.kd.weights import weights
from espnet_dice.records.configs import with_options
from espnet_dice.records.experiment import NAME, is_current, of_recipe
from espnet_dice.results import alignment, score
from espnet_dice.results.statistics import Interval, rate
from espnet_dice.results.token_uncertainty import FILE, OUT, TokenUncertainty
from espnet_dice.results.token_uncertainty import read as read_token_uncertainty


@dataclass(frozen=True)
class System:
    """A trained recogniser.

    Attributes:
        name: its tag.
        directory: ``exp/asr_<tag>``.
        is_teacher: whether others learned from it.
        model: ``model.json``.
        record: its fingerprint: settings and inputs.
    """

    name: str
    directory: Path
    is_teacher: bool
    model: Mapping[str, Any]
    record: Mapping[str, Any]

    @property
    def family(self) -> str:
        """The name without the seed."""
        return self.name.removesuffix(f"_seed{self.model['seed']}")

    @property
    def validation(self) -> float:
        """Score of its best checkpoint on the validation set."""
        averaged = self.model.get("averaged") or [[0, 0.0]]
        return averaged[0][1]

    @property
    def config(self) -> Mapping[str, Any]:
        """What it was trained with, options that won over the config included.

        Empty for one that another recipe trained.
        """
        settings = self.record.get("settings", {})
        return with_options(settings.get("config") or {}, settings.get("extra") or ())

    @property
    def teachers(self) -> list[str]:
        """Names of its teachers: those of its config, or all of the recipe where it names none."""
        settings = self.record.get("settings", {})
        given = settings.get("teaching") or self.config.get("model_conf") or {}
        return [str(teacher["name"]) for teacher in given.get("teachers") or ()]

    @property
    def is_taught(self) -> bool:
        """Whether teachers were part of its loss."""
        alpha, _, ctc = weights(self.config.get("model_conf") or {}).values()
        return bool(alpha.most or ctc.most)

    @property
    def taught(self) -> str:
        """In words: by whom, and what of them."""
        conf = self.config.get("model_conf") or {}
        alpha, beta, ctc = weights(conf).values()
        if not self.is_taught:
            return "–"
        parts = ["tokens"] if alpha.most and (beta.least < 1 or conf.get("kd_beta_added")) else []
        parts += ["uncertainty"] if alpha.most and beta.most else []
        parts += ["CTC"] if ctc.most else []
        return f"{' + '.join(self.teachers)}: {', '.join(parts)}"

    @property
    def matches_uncertainty(self) -> bool:
        """Whether uncertainty matching was part of its loss."""
        alpha, beta, _ = weights(self.config.get("model_conf") or {}).values()
        return bool(alpha.most and beta.most)

    def token_uncertainty(self, name: str) -> TokenUncertainty | None:
        """What it says of a set token by token, if this model was asked."""
        directory = self.directory / OUT / name
        record = fingerprint.read(directory)
        if not record or not record.get("done"):
            return None
        if not is_current(self.directory, record["inputs"]["model"]):
            logging.warning("%s belongs to an older model: left out; run stage 12", directory)
            return None
        return read_token_uncertainty(directory / FILE)

    def noisy_sets(self, name: str) -> list[str]:
        """Names of the noisy versions of a set that it was asked about, least noise first."""
        found = (p.name for p in (self.directory / OUT).glob(f"{name}_snr*"))
        return sorted(found, key=lambda n: -float(n.rpartition("_snr")[2]))


@dataclass(frozen=True)
class Decoded:
    """A system's result on a set.

    Attributes:
        system: who.
        directory: where it is.
        meta: ``meta.json``.
        reference: utterance → transcript, in order of ids.
        hypothesis: utterance → result.
    """

    system: System
    directory: Path
    meta: Mapping[str, Any]
    reference: Mapping[str, str]
    hypothesis: Mapping[str, str]

    @property
    def set(self) -> str:
        """Name of the set."""
        return self.meta["set"]

    @property
    def lm(self) -> str | None:
        """Tag of the language model."""
        return self.meta["lm"]

    @property
    def kind(self) -> str:
        """Name of the decoding, ``decode_<options>_<LM>``."""
        return self.directory.parent.name

    @property
    def utterances(self) -> list[str]:
        """Ids in order."""
        return list(self.reference)

    @cached_property
    def words(self) -> alignment.Counts:
        """Word errors of each utterance."""
        return self._count(characters=False)

    @cached_property
    def characters(self) -> alignment.Counts:
        """Character errors of each utterance."""
        return self._count(characters=True)

    @cached_property
    def wer(self) -> Interval:
        """Words wrong, with its interval."""
        return rate(self.words.total, self.words.units)

    @cached_property
    def cer(self) -> Interval:
        """Characters wrong, with its interval."""
        return rate(self.characters.total, self.characters.units)

    def _count(self, characters: bool) -> alignment.Counts:
        hypotheses = [self.hypothesis[u] for u in self.reference]
        return alignment.count(list(self.reference.values()), hypotheses, characters)


@dataclass(frozen=True)
class Recognisers:
    """All of an experiment directory.

    Attributes:
        exp: the directory.
        systems: tag → recogniser, teachers first.
        decoded: finished results of the models that are there now.
    """

    exp: Path
    systems: dict[str, System]
    decoded: list[Decoded]

    @property
    def sets(self) -> list[str]:
        """Names of the sets, in order."""
        return sorted({d.set for d in self.decoded})

    @cached_property
    def comparable(self) -> list[Decoded]:
        """Results that can be set beside each other: of one kind of decoding.

        Of each language model, students' and teachers' apart, the kind that most have; the first by
        name of equally many. The others stand in the tables alone.
        """
        kinds = Counter((d.system.is_teacher, d.lm, d.kind) for d in self.decoded)
        most: dict[tuple[bool, str | None], str] = {}
        for teacher, lm, kind in sorted(kinds, key=lambda k: (-kinds[k], k[2])):
            most.setdefault((teacher, lm), kind)
        return [d for d in self.decoded if d.kind == most[d.system.is_teacher, d.lm]]

    def plain(self, system: str, name: str) -> Decoded | None:
        """A comparable result without a language model."""
        found = [d for d in self.comparable if (d.system.name, d.set, d.lm) == (system, name, None)]
        return found[0] if found else None


def read(exp: Path) -> Recognisers:
    """Read everything; results of older models are left out, with a warning.

    Args:
        exp: such as ``egs2/mini_synth/kd1/exp``; for paths in its records see
            :func:`experiment.of_recipe`.

    Raises:
        DataError: a text is missing, damaged, or of other utterances than its reference.
    """
    systems: dict[str, System] = {}
    teachers = _teachers(exp)
    for directory in sorted(exp.glob("asr_*")):
        model, record = read_json(directory / NAME), fingerprint.read(directory)
        if model is None or not record or not record.get("done"):
            continue
        name = directory.name.removeprefix("asr_")
        role = model.get("role")
        if not role:  # not said: the recipe gives students alone a seed in the tag
            seeded = name.endswith(f"_seed{model['seed']}") and not name.startswith("teacher_")
            role = "student" if seeded else "teacher"
        is_teacher = role == "teacher" or model["sha256"] in teachers
        systems[name] = System(name, directory, is_teacher, model, record)
    systems = dict(sorted(systems.items(), key=lambda item: not item[1].is_teacher))
    decoded = []
    for out in score.decodings(exp):
        meta = read_json(out / "meta.json")
        if meta["system"] not in systems:
            continue
        reference = dict(sorted(texts.words(of_recipe(exp, meta["reference"])).items()))
        hypothesis = texts.words(out / "text", "decode again")
        if reference.keys() != hypothesis.keys():
            one = min(reference.keys() ^ hypothesis.keys())
            raise DataError(f"{out}: {one} is only in one of reference and result: decode again")
        decoded.append(Decoded(systems[meta["system"]], out, meta, reference, hypothesis))
    return Recognisers(exp, systems, decoded)


def _teachers(exp: Path) -> set[str]:
    """Digests of the models whose outputs were cached."""
    records = (
        fingerprint.read(path.parent) or {}
        for path in exp.glob(f"teacher_outputs/*/*/{fingerprint.NAME}")
    )
    return {str(record.get("inputs", {}).get("teacher")) for record in records}


def pooled(decoded: list[Decoded]) -> tuple[np.ndarray, np.ndarray]:
    """Word errors and words of several results, one utterance after the other."""
    errors = np.concatenate([d.words.total for d in decoded])
    return errors, np.concatenate([d.words.units for d in decoded])
