"""What a student's training is given of its teachers: cached outputs, or their experiments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from espnet_dice.io import espnet_options
from espnet_dice.io.errors import ConfigError, StaleError
from espnet_dice.io.json_files import read_json
from espnet_dice.kd import cache
from espnet_dice.kd.weights import weights
from espnet_dice.records import experiment, feature_dir
from espnet_dice.records.config_base import read_trained

DEV = "dev"


@dataclass(frozen=True)
class DistillationOptions:
    """Where teachers are.

    Attributes:
        teachers: name in the configs → experiment directory.
        mode: ``cached`` or ``online``.
        outputs: directory of the cached outputs, ``<outputs>/<name>/<set>``.
        dump: ``dump/<feats_type>`` of the teachers, where it is not the student's: a student may
            read waveforms and its teachers features, or the other way round.
    """

    teachers: dict[str, Path]
    mode: str
    outputs: Path
    dump: Path | None = None

    @classmethod
    def parse(
        cls, entries: list[str], mode: str, outputs: Path, dump: Path | None = None
    ) -> "DistillationOptions":
        """Read ``NAME=EXPDIR`` entries.

        Raises:
            ConfigError: an entry has another form.
        """
        return cls(parse_teachers(entries), mode, outputs, dump)

    @staticmethod
    def wanted(model_conf: dict) -> bool:
        """True if a config's ``model_conf`` turns KD on."""
        found = weights(model_conf)
        return any(found[key].most for key in ("kd_alpha", "kd_ctc"))

    @staticmethod
    def reads_ctc(model_conf: dict) -> bool:
        """True if a config's ``model_conf`` turns KD on the CTC branch on."""
        return weights(model_conf)["kd_ctc"].most > 0

    def options(
        self,
        model_conf: dict,
        train: feature_dir.FeatureDir,
        valid: feature_dir.FeatureDir,
        token_key: str,
    ) -> tuple[list[str], dict[str, str], dict]:
        """ESPnet's options, the keys of what they read, and the settings that they stand for.

        Args:
            model_conf: the student's, with ``teachers: [{name, weight}, …]``.
            train, valid: the student's sets.
            token_key: fingerprint of the token list.

        Raises:
            ConfigError: a teacher of the config is not known; one that is asked online reads
                other features than the student.
            StaleError: a teacher or a cache is missing, unfinished or made from something else.
        """
        entries = entries_of(model_conf, tuple(self.teachers), self.mode)
        found = [experiment.load(self.teachers[e["name"]], "stage 5 (teachers)") for e in entries]
        if entries[0]["weight"] == DEV:
            entries = self._weighed(entries, valid)
        chosen = {"mode": self.mode, "teachers": entries}
        if self.mode == "online":
            for teacher in found:
                _check_input(teacher, train)
            placed = [
                {**entry, "exp": str(e.directory), "model_file": e.model}
                for entry, e in zip(entries, found, strict=True)
            ]
            command = ["--model_conf", f"teachers={_flow(placed)}"]
            command += ["--model_conf", "teacher_mode=online"]
            return command, {f"teacher{k}": e.sha256 for k, e in enumerate(found, 1)}, chosen
        command = ["--allow_variable_data_keys", "true", "--model_conf", "teacher_mode=cached"]
        command += ["--model_conf", f"teachers={_flow(entries)}"]
        inputs = {}
        for k, (entry, teacher) in enumerate(zip(entries, found, strict=True), 1):
            for part, dump in (("train", train), ("valid", valid)):
                directory = self.outputs / entry["name"] / dump.name
                inputs[f"teacher{k}_{part}"] = cache.check(
                    directory, self._their_key(dump), token_key, teacher.sha256
                )
                flag = f"--{part}_data_path_and_name_and_type"
                scp = f"{directory / cache.DECODER}.scp"
                command += [flag, espnet_options.triple(scp, f"teacher{k}", "kaldi_ark")]
                if self.reads_ctc(model_conf):
                    scp = f"{directory / cache.CTC}.scp"
                    command += [flag, espnet_options.triple(scp, f"teacher{k}_ctc", "kaldi_ark")]
        return command, inputs, chosen

    def _weighed(self, entries: list[dict], valid: feature_dir.FeatureDir) -> list[dict]:
        """``weight: dev`` (ours): r_k ∝ 1 / (1 - p_k), p_k teacher k's mean p̂ of the right token.

        Of the student's validation set, so that no test set has a part in it.

        Raises:
            StaleError: the outputs do not say it.
        """
        right = []
        for entry in entries:
            facts = read_json(self.outputs / str(entry["name"]) / valid.name / cache.FACTS)
            if facts is None:
                raise StaleError(
                    f"{self.outputs / str(entry['name']) / valid.name} does not say how sure the "
                    "teacher is: run stage 6 again, with that directory moved away"
                )
            right.append(facts["right"])
        return [
            {**entry, "weight": weight}
            for entry, weight in zip(entries, inverse_errors(right), strict=True)
        ]

    def _their_key(self, dump: feature_dir.FeatureDir) -> str:
        """The key of what the teachers heard, of the same speech as the student's set."""
        if self.dump is None:
            return dump.key
        theirs = feature_dir.load(self.dump / dump.name)
        feature_dir.check_same_speech(theirs, dump)
        return theirs.key


def inverse_errors(right: list[float]) -> list[float]:
    """Weights ∝ 1 / (1 - p), which sum to 1; to six places, so that a config can hold them."""
    shares = [1 / max(1 - p, 1e-6) for p in right]
    rounded = [round(s / sum(shares), 6) for s in shares[:-1]]
    return [*rounded, round(1 - sum(rounded), 6)]


def _check_input(teacher: experiment.Experiment, dump: feature_dir.FeatureDir) -> None:
    """Refuse a teacher beside the student that cannot take the student's input."""
    size = read_trained(teacher.config).get("input_size")
    dim = 0 if size in (None, 1) else size
    if dim != dump.dim:
        what = ["waveforms" if d == 0 else f"{d}-dimensional features" for d in (dim, dump.dim)]
        raise ConfigError(
            f"teacher {teacher.name} reads {what[0]}, the student {what[1]} ({dump.path}): use "
            "--teacher_mode cached, with the teachers' own --teacher_feats_type"
        )


def entries_of(model_conf: dict, known: Sequence[str], mode: str) -> list[dict]:
    """The teachers of a student, each with its weight; a single one has the weight 1.

    Args:
        model_conf: the student's; one that names no teachers is taught by all of them, equally.
        known: names of the recipe's teachers.
        mode: ``cached`` or ``online``.

    Raises:
        ConfigError: a teacher is not among them, or the weights do not make sense.
    """
    weights(model_conf)  # a wrong one is told first
    named = model_conf.get("teachers") or []
    if not isinstance(named, list) or not all(isinstance(e, dict) for e in named):
        raise ConfigError("model_conf: teachers: must be a list of 'name', 'weight'")
    entries = named or [{"name": name, "weight": 1.0 / len(known)} for name in known]
    if not entries:
        raise ConfigError("model_conf: kd_alpha or kd_ctc > 0, and there is no teacher: --teachers")
    for entry in entries:
        if entry.get("name") not in known:
            said = ", ".join(known) or "none given"
            raise ConfigError(
                f"model_conf: teachers: no teacher {entry.get('name')!r} (known: {said}): name it "
                "as --teachers does, or leave teachers out, then all teach equally"
            )
    if len(entries) == 1:
        entries = [{"weight": 1.0, **entries[0]}]
    by_dev = [entry.get("weight") == DEV for entry in entries]
    if any(by_dev) and not (all(by_dev) and mode == "cached"):
        raise ConfigError(
            f"model_conf: teachers: weight: {DEV} is for all of them or none, and needs "
            "--teacher_mode cached"
        )
    if not any(by_dev):
        check_weights(entries)
    return entries


def check_weights(entries: Sequence[Mapping[str, Any]]) -> None:
    """Refuse weights r_k that do not sum to 1.

    Raises:
        ConfigError: one is missing, no number or negative, or the sum is another.
    """
    weights = [entry.get("weight") for entry in entries]
    for entry, weight in zip(entries, weights, strict=True):
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            said = "has no weight" if weight is None else f"has the weight {weight!r}"
            raise ConfigError(
                f"model_conf: teachers: {entry.get('name')} {said}: give each a number, such as "
                f"{1 / len(entries):.2g}; together they make 1"
            )
    if min(weights) < 0:
        raise ConfigError("teachers: weights r_k must be ≥ 0")
    if abs(sum(weights) - 1.0) > 1e-6:
        told = " + ".join(f"{weight:g}" for weight in weights)
        raise ConfigError(f"teachers: the weights r_k must sum to 1, not {told} = {sum(weights):g}")


def parse_teachers(entries: list[str]) -> dict[str, Path]:
    """``NAME=EXPDIR`` entries → {name: directory}.

    Raises:
        ConfigError: an entry has another form.
    """
    teachers = {}
    for entry in entries:
        name, equals, directory = entry.partition("=")
        if not (name and equals and directory) or "/" in name or name in (".", ".."):
            raise ConfigError(f"--teacher {entry}: write NAME=EXPDIR; NAME becomes a directory")
        teachers[name] = Path(directory)
    return teachers


def _flow(value: list) -> str:
    """YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**9).strip()
