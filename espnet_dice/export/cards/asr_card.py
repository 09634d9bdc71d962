"""The card of an exported recogniser."""

from collections.abc import Mapping, Sequence
from typing import Any

from espnet_dice.export.cards.card import (
    NOT_SAID,
    UNKNOWN,
    code,
    licence_of,
    measured_on,
    named,
    origin_of,
    render,
)
from espnet_dice.export.onnx import DECODER, DECODER_INT8, LM, LM_INT8
from espnet_dice.hubert.models.frames import SAMPLE_RATE
from espnet_dice.kd.weights import weights

RAW = "raw"


def make(
    name: str,
    training: Mapping[str, str],
    config: Mapping[str, Any],
    features: Any,
    report: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    made: str,
) -> str:
    """The card's text.

    Args:
        name: of the experiment.
        training: facts about the training, Markdown.
        config: ESPnet's ``config.yaml`` of the training.
        features: what it hears (``feats_type``, ``rate``), None where that is not known.
        report: ``export.json``.
        rows: its lines of ``results.json``.
        made: versions.
    """
    dim = config.get("input_size")
    facts = {
        **training,
        "encoder, decoder": f"{_size(config, 'encoder')}; {_size(config, 'decoder')}",
        **_pretrained(config.get("encoder_conf") or {}),
        "input": _heard(features, dim),
        "tokens": f"{len(config.get('token_list') or ())}, {code(config.get('token_type'))}",
        "loss": loss(config.get("model_conf") or {}),
        **_teachers(config.get("model_conf") or {}),
        "licence of this model and of its data": NOT_SAID,
    }
    told, source = report.get("card", {}), (config.get("encoder_conf") or {}).get("source")
    raw = features.feats_type == RAW if features else dim is None
    facts |= _checked(
        report, "waveforms (batch, samples)" if raw else "features (batch, frames, dim)"
    )
    return render(
        "asr",
        name,
        made,
        [_score(row, kind) for row in rows for kind in ("wer", "cer")],
        library_name="espnet",
        pipeline_tag="automatic-speech-recognition",
        base_model=origin_of(source) if source else None,
        language=told.get("language"),
        datasets=[told["dataset"]] if "dataset" in told else None,
        tags=["espnet", "audio", "automatic-speech-recognition", "knowledge-distillation"],
        facts=facts,
        rows=rows,
        rate=(features.rate if features else SAMPLE_RATE) if raw else None,
        dim=dim,
        not_plain=report.get("not_plain"),
        infer=features.rate if features and not report.get("no_infer", "an older export") else None,
    )


def loss(conf: Mapping[str, Any]) -> str:
    """The training loss in words.

    Args:
        conf: ``model_conf``.
    """
    ctc = conf.get("ctc_weight", 0.5)
    said = f"{ctc:g}·CTC + {1 - ctc:g}·attention (label smoothing {conf.get('lsm_weight', 0):g})"
    alpha, beta, on_ctc = weights(conf).values()
    if alpha.most:
        what = "token distributions"
        if beta.most:
            what += f" and their uncertainty (β {beta})"
        said += f"; of the attention loss α {alpha} matches the teachers' {what}"
    if on_ctc.most:
        said += f"; {on_ctc} of the CTC loss matches the teachers' CTC"
    return said


def _pretrained(conf: Mapping[str, Any]) -> dict[str, str]:
    source = conf.get("source")
    if not source:
        return {}
    found = licence_of(source)
    return {"encoder from": f"{code(named(source))} (licence: {code(found) if found else UNKNOWN})"}


def _checked(report: Mapping[str, Any], inputs: str) -> dict[str, str]:
    said = {}
    greedy = report.get("greedy_wer") or {}

    def wer(file: str, how: str = "greedy CTC") -> str:
        if file not in greedy:
            return ""
        return (
            f"; {how} {greedy[file]:.1f} % WER on {greedy['utterances']} utterances of "
            f"{code(greedy['set'])}"
        )

    if "largest_difference" in report:
        worst = report["largest_difference"]
        said["outputs beside the trained model's"] = f"largest difference {worst:.1g}"
    for file, figures in report.get("onnx", {}).items():
        part = f"encoder and CTC: {inputs} of equal lengths → `encoder_out`, `ctc_log_probs`"
        if file in (DECODER, DECODER_INT8):
            part = "decoder: `tokens`, `memory` of one utterance → `log_probs` of the next token"
        elif file in (LM, LM_INT8):
            part = "language model: `tokens` → `log_probs` of the next token"
        said[code(file)] = f"{part}; relative error {figures['relative_error']:.1g}{wer(file)}"
    if "ship" in greedy:
        search = "CTC and decoder" if DECODER in report["onnx"] else "greedy CTC"
        if lm := report.get("lm"):
            search += f" with the language model {code(lm['name'])} × {lm['weight']:g}"
        said["without ESPnet and torch (`ship/`, int8)"] = (
            f"{greedy['ship_cpu_s_per_audio_s']:.4f} CPU-seconds per second of audio, waveform "
            f"to text{wer('ship', search)}"
        )
    if report.get("onnx") and "processor" in report:
        said["figures of the ONNX files measured on"] = measured_on(report["processor"])
    return said


def _teachers(conf: Mapping[str, Any]) -> dict[str, str]:
    said = []
    for teacher in conf.get("teachers") or ():
        found = licence_of(teacher["exp"]) if teacher.get("exp") else None
        licence = code(found) if found else UNKNOWN
        weight = f"weight {teacher['weight']:g}, " if "weight" in teacher else ""
        said.append(f"{code(teacher['name'])} ({weight}licence: {licence})")
    return {"teachers": "; ".join(said)} if said else {}


def _size(config: Mapping[str, Any], part: str) -> str:
    conf = config.get(f"{part}_conf") or {}
    blocks, width = conf.get("num_blocks"), conf.get("output_size")
    more = [f"{blocks} blocks" if blocks else "", f"width {width}" if width else ""]
    return ", ".join([code(config.get(part)), *filter(None, more)])


def _heard(features: Any, dim: int | None) -> str:
    if features is None:
        return f"features, (frames, {dim})" if dim else "waveforms"
    shape = f", (frames, {dim})" if dim and features.feats_type != RAW else ""
    return f"{code(features.feats_type)}{shape}, of speech at {features.rate} Hz"


def _score(row: Mapping[str, Any], kind: str) -> dict[str, Any]:
    lm = f", LM {row['lm']}" if row["lm"] else ", no LM"
    return {
        "task": "automatic-speech-recognition",
        "set": row["set"],
        "metric": kind,
        "name": f"{kind.upper()} %{lm}",
        "value": row[kind],
    }
