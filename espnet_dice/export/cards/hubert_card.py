"""The card of an exported HuBERT student."""

from collections.abc import Mapping, Sequence
from typing import Any

from espnet_dice.export.cards.card import (
    NOT_SAID,
    UNKNOWN,
    code,
    licence_of,
    named,
    origin_of,
    render,
)
from espnet_dice.hubert.models import sizes
from espnet_dice.results.dice_results import means, weight_of

SPECTRAL = {
    "mfcc": "MFCC",
    "mfcc_cmvn": "MFCC of mean 0 and deviation 1 in each utterance",
    "mfcc_mel": "MFCC and log-mel energies",
}
MEASURES = {
    "char": "character error rate, %",
    "sid": "speaker accuracy, %",
    "kws": "keyword equal error rate, %",
}
ON_HUB = {
    "char": ("automatic-speech-recognition", "cer"),
    "sid": ("audio-classification", "accuracy"),
    "kws": ("audio-classification", "eer"),
}
"""Probe → task and metric, as the hub calls what is like them."""
OUR_SET = "the recipe's own test set"


def make(
    name: str,
    training: Mapping[str, str],
    config: Mapping[str, Any],
    labels: Mapping[str, Any] | None,
    report: Mapping[str, Any],
    row: Mapping[str, Any] | None,
    probes: Mapping[str, Mapping[str, Any]],
    made: str,
) -> str:
    """The card's text.

    Args:
        name: of the experiment.
        training: facts about the training, Markdown.
        config: ``config.yaml`` of the training.
        labels: ``store.json`` of its labels, None where it learned none or they are gone.
        report: ``export.json``.
        row: its entry of ``results.json``, None where it was not probed.
        probes: what ``results.json`` says of the probes.
        made: versions.
    """
    teacher = config.get("teacher") or (labels or {}).get("source")
    parameters = f"{report['parameters'] / 1e6:.2f} M, without the head of its pre-training"
    normalize = "mean 0 and variance 1" if report["normalize"] else "as it is"
    facts = {
        **training,
        "parameters": parameters,
        "layers": f"{report['layers']}, width {report['dim']}",
        "input": f"mono, 16000 Hz, {normalize}; a frame every 20 ms",
        **_stem(config),
        "loss": losses(config.get("loss") or [{"name": "dice_hard"}]),
        "labels": _labels(labels),
        **_start(config),
        **_teacher(teacher),
        "licence of this model and of its data": NOT_SAID,
        **_checked(report),
    }
    hf = "hf" in report
    told = report.get("card", {})
    shown = _probes(row, probes) if row else []
    return render(
        "hubert",
        name,
        made,
        [_score(probe, told.get("dataset", OUR_SET)) for probe in shown],
        library_name="transformers" if hf else "onnx",
        pipeline_tag="feature-extraction",
        tags=["hubert", "speech", "audio", "knowledge-distillation", "dicehubert"],
        base_model=origin_of(teacher) if teacher else None,
        language=told.get("language"),
        datasets=[told["dataset"]] if "dataset" in told else None,
        facts=facts,
        probes=shown,
        hf=hf,
        carries_code=hf and report["hf"].get("carries_code", False),
    )


def losses(entries: Sequence[Mapping[str, Any]]) -> str:
    """The losses with their weights and settings."""
    said = []
    for entry in entries:
        weight = weight_of(entry)
        conf = {
            k: named(v) if isinstance(v, str) else v for k, v in (entry.get("conf") or {}).items()
        }
        more = ", ".join(f"{k} {v}" for k, v in conf.items())
        shown = code(f"{entry['name']} ({more})" if more else entry["name"])
        said.append(f"{weight} × {shown}" if weight else shown)
    return " + ".join(said)


def _stem(config: Mapping[str, Any]) -> dict[str, str]:
    """What is said of a stem that is not HuBERT's."""
    conf = config.get("student_conf") or {}
    if conf.get("stem") != sizes.MEL:
        return {}
    norm = conf.get("mel_norm", sizes.MEL_STEM["mel_norm"])
    said = "80 log-mel filters, two convolutions; not HuBERT's own"
    return {"stem": f"{said} (`mel`, `mel_norm: {norm}`)"}


def _start(config: Mapping[str, Any]) -> dict[str, str]:
    """What is said of a training that did not begin with fresh parameters."""
    init = (config.get("model_conf") or {}).get("init")
    how = {
        "teacher": "what fits of the teacher's parameters, copied (`init: teacher`)",
        "pca": "cut from the teacher, on its states' strongest directions (`init: pca`)",
    }
    return {"began with": how.get(init, code(init))} if init else {}


def _labels(labels: Mapping[str, Any] | None) -> str:
    if labels is None:
        return "none, or no longer there"
    if isinstance(labels["clusters"], list):
        from espnet_dice.labels import store

        books = "; ".join(_labels({**one, "kl": {}}) for one in store.each(labels))
        return f"{len(labels['clusters'])} codebooks: {books}"
    k = f"K = {labels['clusters']}"
    if labels.get("source") in SPECTRAL:
        name = SPECTRAL[labels["source"]]
        return f"k-means of {name}, {k}: the first iteration of HuBERT"
    kl = ", ".join(f"{value:.1e} nats at τ {tau}" for tau, value in labels.get("kl", {}).items())
    soft = f"; soft labels are kept with a KL of {kl}" if kl else ""
    return f"k-means of the teacher's layer {labels.get('layer')} (from 1), {k}{soft}"


def _teacher(source: str | None) -> dict[str, str]:
    if not source or source in SPECTRAL:
        return {}
    found = licence_of(source)
    return {
        "teacher": code(named(source)),
        "licence of the teacher": code(found) if found else UNKNOWN,
    }


def _checked(report: Mapping[str, Any]) -> dict[str, str]:
    said = {}
    if "hf" in report:
        worst = report["hf"]["largest_difference"]
        said["hidden states beside the trained model's"] = f"largest difference {worst:.1g}"
    for file, figures in report.get("onnx", {}).items():
        speed = f"{figures['seconds_per_audio_second']:.4f} CPU-s per second of speech, one thread"
        error = figures.get("relative_error")
        said[code(file)] = speed + ("" if error is None else f"; relative error {error:.1g}")
    return said


def _probes(
    row: Mapping[str, Any], probes: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    found = []
    for task, score in means(row["scores"]).items():
        phones = task == "char" and probes[task]["made_from"].get("phones")
        name = "phone error rate, %" if phones else MEASURES[task]
        found.append({"task": task, "phones": phones, "name": name, "score": score, **probes[task]})
    return found


def _score(probe: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """A probe as the hub's model index has it."""
    task, metric = ON_HUB[probe["task"]]
    metric = "per" if probe["phones"] else metric
    name = f"{probe['name']} (probe of the frozen model)"
    return {"task": task, "set": dataset, "metric": metric, "name": name, "value": probe["score"]}
