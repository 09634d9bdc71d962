"""The training of a HuBERT, teacher or student: what ESPnet is given, what the model depends on."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from espnet_dice.hubert.formats import teacher_files
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.io import espnet_options, fingerprint
from espnet_dice.io.errors import ConfigError, ProblemList
from espnet_dice.io.json_files import read_json
from espnet_dice.labels import store as label_store
from espnet_dice.labels.targets import SOFT_TAU
from espnet_dice.records import experiment, feature_dir
from espnet_dice.records.configs import model_conf, value_of
from espnet_dice.training.jobs import Job

FROM_LABELS, FROM_RECORDS = {"dice_hard", "dice_soft"}, {"dice_soft"}
KNOWN = ("dice_hard", "dice_soft", "dice_feature")
BY_ACCURACY, BY_LOSS, NBEST = ("valid", "acc_m", "max"), ("valid", "loss", "min"), 5
FOLD = "80000"
VAGUE = 0.5
"""Share of the clusters over which soft labels spread that is warned of."""


def make_job(
    tag: str,
    config: Path,
    train: feature_dir.FeatureDir,
    valid: feature_dir.FeatureDir,
    labels: Path | None,
    exp: Path,
    seed: int,
    extra: str = "",
    teacher: str | None = None,
) -> Job:
    """The job that makes ``exp/dice_<tag>``.

    Args:
        tag: names the directory.
        config: YAML of :class:`DiceHubertTask`'s training.
        train, valid: raw waveforms.
        labels: directory with a label store a set; may be None where no loss needs labels.
        exp: where experiments are.
        seed: of the training.
        extra: options that win over the config.
        teacher: source of the teacher that runs beside the student, for ``dice_feature``, or that
            it starts from, for ``init: teacher``.

    Raises:
        DiceError: labels are missing, unfinished, of another teacher, or do not fit the speech.
    """
    out = experiment.directory_of(exp, "dice", tag)
    for dump in (train, valid):
        if dump.dim:
            raise ConfigError(f"{dump.path}: students take waveforms: --feats_type raw")
        feature_dir.check_rate(dump)
    losses = losses_of(config, extra)
    names = losses.keys()
    inputs = {"train": train.key, "valid": valid.key}
    data = ["--fold_length", FOLD]
    for part, dump in (("train", train), ("valid", valid)):
        data += [f"--{part}_data_path_and_name_and_type", dump.speech]
        data += [f"--{part}_shape_file", str(out / "shapes" / part / "speech_shape")]
    prepare = partial(write_shapes, out / "shapes", train, valid)
    if names & FROM_LABELS:
        if labels is None:
            named = " and ".join(sorted(names & FROM_LABELS))
            raise ConfigError(f"{config}: {named}: give labels, which stage 4 makes: labels=DIR")
        _check_tau(losses, labels / train.name)
        more, more_inputs = label_options(
            labels, train, valid, "dice_labels" if names & FROM_RECORDS else "dice_ids"
        )
        data += more
        inputs |= more_inputs
        tau = _tau(losses)
        if tau is not None:
            warn_of_vague(tau, labels / train.name)
    from_teacher = model_conf(config, extra).get("init") is not None
    if "dice_feature" in names or from_teacher:
        if teacher is None:
            what = "init" if from_teacher else "dice_feature"
            raise ConfigError(f"{config}: {what} needs --teacher")
        data += ["--teacher", str(teacher)]
        inputs["teacher"] = teacher_files.key_of(teacher)
    return Job(
        task="dice",
        out=out,
        config=config,
        data=data,
        inputs=inputs,
        criterion=BY_ACCURACY if names & FROM_LABELS else BY_LOSS,
        nbest=NBEST,
        seed=seed,
        extra=extra,
        train_set=train.name,
        valid_set=valid.name,
        prepare=prepare,
    )


def losses_of(config: Path, extra: str = "") -> dict[str, dict[str, Any]]:
    """The losses in a config, or in the options that win over it: name → ``conf``.

    Raises:
        ConfigError: ``loss`` is no list of entries with names, or there is no such loss.
    """
    entries: Any = value_of(config, "loss", extra)
    entries = [{"name": "dice_hard"}] if entries is None else entries
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise ConfigError(f"{config}: loss: must be a list of 'name', 'weight', 'conf'")
    found = {entry.get("name", ""): entry.get("conf") or {} for entry in entries}
    for name in sorted(found.keys() - set(KNOWN)):
        raise ConfigError(f"{config}: loss: no such loss {name!r}; one of {', '.join(KNOWN)}")
    return found


def _tau(losses: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The temperature of soft labels; None without them, and where the loss will refuse it."""
    tau = losses["dice_soft"].get("tau", SOFT_TAU) if "dice_soft" in losses else None
    return tau if isinstance(tau, int | float) else None


def _check_tau(losses: Mapping[str, Mapping[str, Any]], store: Path) -> None:
    """Refuse soft labels at a temperature that the store's were not made for.

    Raises:
        ConfigError: it is below the store's.
    """
    made = ((fingerprint.read(store) or {}).get("settings") or {}).get("tau")
    tau = _tau(losses)
    if tau is not None and made is not None and tau < made:
        raise ConfigError(
            f"loss: dice_soft: tau {tau:g}: the labels in {store} are good for {made:g} and "
            f"above: make them again with --tau {tau:g}"
        )


def warn_of_vague(tau: float, store: Path) -> None:
    """Say so where soft labels spread over most clusters, and at which τ over how many.

    A temperature is one beside the distances in a layer, which differ from teacher to teacher.

    Args:
        tau: of training.
        store: finished.
    """
    for one in label_store.each(read_json(store / label_store.META)):
        spread = {float(t): clusters for t, clusters in one.get("spread", {}).items()}
        here = max((clusters for t, clusters in spread.items() if t <= tau), default=0.0)
        if here > VAGUE * one["clusters"]:
            sharper = ", ".join(f"{n:.1f} at {t:g}" for t, n in spread.items() if t < tau)
            logging.warning(
                "loss: dice_soft: at tau %g labels of %s spread over %.0f of %d clusters, which "
                "says little: over %s; labels for a tau below 1 are made with --tau",
                tau,
                store,
                here,
                one["clusters"],
                sharper,
            )
            return


def label_options(
    labels: Path, train: feature_dir.FeatureDir, valid: feature_dir.FeatureDir, kind: str
) -> tuple[list[str], dict[str, str]]:
    """ESPnet's options for the label stores of both sets, and the keys of the stores.

    Args:
        labels: directory with ``<train>`` and ``<valid>``.
        train, valid: the speech.
        kind: data type, ``dice_labels`` or ``dice_ids``.

    Raises:
        StaleError: a store is missing, unfinished or damaged, or was made from other speech, or
            the two by different quantizers.
        ProblemList: utterances whose labels and frames differ in number.
    """
    chosen, inputs = ["--labels", str(labels / train.name)], {}
    problems: list[str] = []
    made_from: dict[str, str] = {}
    for part, dump in (("train", train), ("valid", valid)):
        directory = labels / dump.name
        # both sets by one teacher and one quantizer, each from the speech that is there now
        inputs[f"labels_{part}"] = label_store.check(directory, data=dump.key, **made_from)
        found = fingerprint.read(directory)["inputs"]
        made_from = {k: found[k] for k in ("source", "quantizer", "codebook") if k in found}
        problems += check_frames(directory, dump)
        chosen += [
            f"--{part}_data_path_and_name_and_type",
            espnet_options.triple(directory, "labels", kind),
        ]
    if problems:
        raise ProblemList(str(labels), problems)
    return chosen, inputs


def check_frames(directory: Path, dump: feature_dir.FeatureDir) -> list[str]:
    """Utterances of a set whose labels are not as many as their frames, one line each."""
    reader = label_store.Reader(directory)
    problems = []
    for utt, samples in dump.lengths.items():
        wanted = n_frames(samples)
        if utt not in reader:
            problems.append(f"{dump.path}: {utt}: has no labels in {directory}; label it")
        elif wanted == 0:
            problems.append(f"{dump.path}: {utt}: {samples} samples are less than one frame")
        elif reader.frames(utt) != wanted:
            problems.append(
                f"{dump.path}: {utt}: {wanted} frames, {reader.frames(utt)} labels in {directory}; "
                "label it again"
            )
    return problems


def write_shapes(out: Path, train: feature_dir.FeatureDir, valid: feature_dir.FeatureDir) -> None:
    """Write the shape files of ESPnet's batching, in samples."""
    for part, dump in (("train", train), ("valid", valid)):
        (out / part).mkdir(parents=True, exist_ok=True)
        (out / part / "speech_shape").write_bytes(dump.shape.read_bytes())
