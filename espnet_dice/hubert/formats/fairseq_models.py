"""fairseq's HuBERT and wav2vec 2.0, WavLM as its authors gave it, and s3prl's conversions.

All have fairseq's names of parameters and settings, some in objects of fairseq's, argparse's
or omegaconf's classes, whose stand-ins (:mod:`espnet_dice.io.untrusted.inert`) say as much.
Settings that are not there have the defaults of that code.
"""

import ast
from pathlib import Path
from typing import Any

import torch

from espnet_dice.hubert.formats import contents, hf_models, parameters, preprocessors
from espnet_dice.hubert.formats.teacher_files import Checkpoint
from espnet_dice.hubert.models.frames import SAMPLE_RATE
from espnet_dice.io.errors import ConfigError
from espnet_dice.io.untrusted.inert import fields, opened

EPS = 1e-5
"""fairseq normalises a waveform by a layer norm over its samples."""
CONVOLUTIONS = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"
MOST_CONVOLUTIONS = 32
NORMS = {"default": "group", "layer_norm": "layer"}
BLOCK = r"encoder\.layers\.(\d+)\."
OURS = r"encoder.layers.\1."
CONV = r"feature_extractor\.conv_layers\.(\d+)\."
OUR_CONV = r"feature_extractor.conv_layers.\1."
NAMES: parameters.Rules = (
    (CONV + r"0\.(.+)", OUR_CONV + r"conv.\2"),
    (CONV + r"2\.(?:1\.)?(.+)", OUR_CONV + r"layer_norm.\2"),
    (r"layer_norm\.(.+)", r"feature_projection.layer_norm.\1"),
    (r"post_extract_proj\.(.+)", r"feature_projection.projection.\1"),
    (r"mask_emb", "masked_spec_embed"),
    (r"encoder\.pos_conv\.0\.(.+)", r"encoder.pos_conv_embed.conv.\1"),
    (BLOCK + r"self_attn\.([qkv]_proj|out_proj)\.(.+)", OURS + r"attention.\2.\3"),
    (BLOCK + r"self_attn\.relative_attention_bias\.(.+)", OURS + r"attention.rel_attn_embed.\2"),
    (BLOCK + r"self_attn\.grep_linear\.(.+)", OURS + r"attention.gru_rel_pos_linear.\2"),
    (BLOCK + r"self_attn\.grep_a", OURS + r"attention.gru_rel_pos_const"),
    (BLOCK + r"self_attn_layer_norm\.(.+)", OURS + r"layer_norm.\2"),
    (BLOCK + r"fc1\.(.+)", OURS + r"feed_forward.intermediate_dense.\2"),
    (BLOCK + r"fc2\.(.+)", OURS + r"feed_forward.output_dense.\2"),
)
HEADS = ("final_proj.", "label_embs_concat", "target_glu.", "quantizer.", "project_q.", "proj.")
WAVLM = "encoder.layers.0.self_attn.grep_a"
WANTED: contents.Wanted = dict.fromkeys(
    (
        "feature_extractor.conv_layers.0.0.weight",
        "post_extract_proj.weight",
        "encoder.pos_conv.0.bias",
        "encoder.layers.0.self_attn.q_proj.weight",
        "encoder.layers.0.fc1.weight",
    )
)


def is_one(held: Any) -> bool:
    """Whether a file has settings as these layouts have them."""
    return isinstance(held, dict) and any(key in held for key in ("cfg", "args", "model_cfg"))


def load(found: Checkpoint, held: dict[str, Any]) -> tuple[torch.nn.Module, bool, float]:
    """A model of ours with the parameters of a checkpoint.

    Args:
        found: the file.
        held: what is in it, for which :func:`is_one` is true.

    Returns:
        The model, whether it wants normalised waveforms, and what is added to their variance.

    Raises:
        ConfigError: naming the setting that no teacher has, or parameters that do not fit.
    """
    path = found.weights[0]
    model_conf, task_conf = settings(held, path)
    its = contents.get(held, WANTED, path, "fairseq's models")
    kind = "wavlm" if WAVLM in its.state else "hubert"
    rate = _value(task_conf, "sample_rate", int, SAMPLE_RATE, path)
    if rate != SAMPLE_RATE:
        raise ConfigError(f"{path}: the model takes {rate} Hz; labels are made at {SAMPLE_RATE} Hz")
    made = config(model_conf, kind, path)
    model = hf_models.build(kind, made, str(path))
    parameters.load_strict(model, named(its.state), f"{path}{its.place}")
    normalize = _value(task_conf, "normalize", bool, None, path)
    if normalize is None:
        normalize = preprocessors.assumed(
            made["feat_extract_norm"] == "layer",
            path,
            "its settings may say it: task: normalize",
        )
    return model, normalize, EPS


def settings(held: dict[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the model and of its task; of a fine-tuned one, what its pre-training adds.

    Raises:
        ConfigError: there are none.
    """
    if "model_cfg" in held:
        model, task = fields(held["model_cfg"]), fields(held.get("task_cfg"))
    else:
        # old files have all in one namespace, as WavLM's have in one dictionary
        whole = fields(held.get("cfg")) or fields(held.get("args"))
        model = fields(whole.get("model")) or whole
        task = fields(whole.get("task")) or whole
    if tuned := fields(model.get("w2v_args")):  # a fine-tuned model's pre-training
        model = fields(tuned.get("model")) or tuned
        task = (fields(tuned.get("task")) or tuned) | task
    if "encoder_layers" not in model:
        raise ConfigError(
            f"{path}: it has no settings of a HuBERT, wav2vec 2.0 or WavLM; {contents.listed(held)}"
        )
    return model, task


def config(conf: dict[str, Any], kind: str, path: Path) -> dict[str, Any]:
    """transformers' configuration for fairseq's settings.

    Args:
        conf: fairseq's.
        kind: one of :data:`hf_models.TYPES`.
        path: for messages.

    Raises:
        ConfigError: naming the setting that no teacher has.
    """
    for key, only in {
        "layer_type": ("transformer",),
        "activation_fn": ("gelu",),
        "pos_conv_depth": (1,),
        "conv_pos_batch_norm": (False,),
        "relative_position_embedding": (True,) if kind == "wavlm" else (False,),
        "extractor_mode": tuple(NORMS),
    }.items():
        if key in conf and opened(conf[key]) not in only:
            wanted = " or ".join(map(str, only))
            raise ConfigError(f"{path}: {key}: {opened(conf[key])}; a teacher has {wanted}")
    layers = _convolutions(_value(conf, "conv_feature_layers", str, CONVOLUTIONS, path), path)
    numbers = {
        "hidden_size": ("encoder_embed_dim", 768),
        "num_hidden_layers": ("encoder_layers", 12),
        "num_attention_heads": ("encoder_attention_heads", 12),
        "intermediate_size": ("encoder_ffn_embed_dim", 3072),
        "num_conv_pos_embeddings": ("conv_pos", 128),
        "num_conv_pos_embedding_groups": ("conv_pos_groups", 16),
    }
    if kind == "wavlm":
        numbers |= {
            "num_buckets": ("num_buckets", 320),
            "max_bucket_distance": ("max_distance", 1280),
        }
    made = {k: _value(conf, key, int, default, path) for k, (key, default) in numbers.items()}
    return made | {
        "conv_dim": [layer[0] for layer in layers],
        "conv_kernel": [layer[1] for layer in layers],
        "conv_stride": [layer[2] for layer in layers],
        "conv_bias": _value(conf, "conv_bias", bool, False, path),
        "feat_extract_norm": NORMS[_value(conf, "extractor_mode", str, "default", path)],
        "do_stable_layer_norm": _value(conf, "layer_norm_first", bool, False, path),
    }


def named(state: parameters.State) -> parameters.State:
    """Parameters under transformers' names; those of heads and losses are left out."""
    kept = {k: v for k, v in state.items() if not k.startswith(HEADS)}
    return parameters.new_names(parameters.rename_keys(kept, NAMES))


def _value(conf: dict[str, Any], key: str, kind: type, default: Any, path: Path) -> Any:
    value = opened(conf[key]) if key in conf else None
    if value is None:
        return default
    if type(value) is not kind:
        raise ConfigError(f"{path}: {key}: {value!r:.80} is not of type {kind.__name__}")
    return value


def _convolutions(text: str, path: Path) -> list[tuple[int, int, int]]:
    """fairseq's ``[(512,10,5)] + [(512,3,2)] * 4``, which fairseq runs as Python, computed."""
    try:
        layers = _lists(ast.parse(text, mode="eval").body)
        if all(isinstance(x, tuple) and [type(n) for n in x] == [int] * 3 for x in layers):
            return layers
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass
    raise ConfigError(
        f"{path}: conv_feature_layers: {text[:80]!r}: no list of (width, kernel, stride)"
    )


def _lists(node: ast.expr) -> list:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _lists(node.left) + _lists(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        times = ast.literal_eval(node.right)
        found = _lists(node.left)
        if type(times) is not int or times * len(found) > MOST_CONVOLUTIONS:
            raise ValueError("too many")
        return found * times
    found = ast.literal_eval(node)
    if not isinstance(found, list):
        raise ValueError("no list")
    return found
