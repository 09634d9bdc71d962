"""torchaudio's wav2vec 2.0, HuBERT and WavLM: a file of a state dict, of its bundles or one's own.

They are transformers' models under other names. A state dict says neither how many attention heads
there are nor where the norms stand; torchaudio's bundles do, and follow one rule, which
:func:`arguments` applies to their widths. For a model of another width, ``<file>.json`` beside the
file says it, with the names of the arguments of ``torchaudio.models.wav2vec2_model``.
"""

import itertools
from pathlib import Path
from typing import Any

import torch

from espnet_dice.hubert.formats import contents, hf_models, parameters, preprocessors
from espnet_dice.hubert.formats.teacher_files import Checkpoint
from espnet_dice.hubert.models.frames import KERNELS, STRIDES
from espnet_dice.io.errors import ConfigError

EPS = 1e-5
"""Bundles normalise a waveform by a layer norm over its samples."""
SHAPES = [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]
HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16}
"""Attention heads by width, of torchaudio's bundles."""
MAX_DISTANCE = 800
"""Frames beyond which WavLM's bias does not change, in torchaudio's bundles."""
FIRST = "feature_extractor.conv_layers.0.conv.weight"
BLOCK = "encoder.transformer.layers."
WANTED: contents.Wanted = dict.fromkeys(
    (
        BLOCK + "0.layer_norm.weight",
        BLOCK + "0.feed_forward.intermediate_dense.weight",
        "encoder.transformer.layer_norm.weight",
        "encoder.feature_projection.projection.weight",
    )
)
INSIDE, MASK = "wav2vec2.", "mask_generator.mask_embedding"
"""The model in one of pre-training, and what that has beside it."""
BIAS = BLOCK + "0.attention.rel_attn_embed.weight"
ATTENTION = r"encoder\.transformer\.layers\.(\d+)\.attention\."
NAMES: parameters.Rules = (
    (r"encoder\.feature_projection\.(.+)", r"feature_projection.\1"),
    (ATTENTION + r"attention\.out_proj\.(.+)", r"encoder.layers.\1.attention.out_proj.\2"),
    (r"encoder\.transformer\.(.+)", r"encoder.\1"),
)
GIVEN = {
    "encoder_num_heads": int,
    "encoder_layer_norm_first": bool,
    "encoder_max_distance": int,
    "normalize_waveform": bool,
}


def load(found: Checkpoint, its: contents.Found) -> tuple[torch.nn.Module, bool, float]:
    """A model of ours with the parameters of a state dict.

    Args:
        found: the file.
        its: the parameters that :func:`contents.find` found in it.

    Returns:
        The model, whether it wants normalised waveforms, and what is added to their variance.

    Raises:
        ConfigError: naming what is missing, left over, or not known.
    """
    path = found.weights[0]
    given = found.config
    if wrong := [k for k, v in given.items() if type(v) is not GIVEN.get(k)]:
        known = ", ".join(f"{k} ({kind.__name__})" for k, kind in GIVEN.items())
        raise ConfigError(
            f"{found.config_file}: {', '.join(wrong)}: the arguments there are {known}"
        )
    state = {k: v for k, v in its.state.items() if not k.startswith("aux.")}
    made = arguments(state, given, path)
    kind = "wavlm" if BIAS in state else "hubert"
    model = hf_models.build(kind, config(made), str(path))
    parameters.load_strict(model, named(state) | mask(its), f"{path}{its.place}")
    normalize = given.get("normalize_waveform")
    if normalize is None:
        normalize = preprocessors.assumed(
            made["extractor_mode"] == "layer_norm",
            path,
            f'{found.config_file.name} beside it may say it: {{"normalize_waveform": …}}',
        )
    return model, normalize, EPS


def mask(its: contents.Found) -> parameters.State:
    """The mask embedding that a model in pre-training has, under transformers' name."""
    if not its.prefix.endswith(INSIDE):
        return {}
    found = its.around.get(its.prefix.removesuffix(INSIDE) + MASK)
    return {} if found is None else {"masked_spec_embed": found}


def arguments(state: parameters.State, given: dict[str, Any], path: Path) -> dict[str, Any]:
    """The arguments of torchaudio's factory that a state dict was made with.

    Args:
        state: parameters under torchaudio's names.
        given: those that are known, a part of :data:`GIVEN`.
        path: for messages.

    Raises:
        ConfigError: a parameter is missing, or the number of heads is not known.
    """
    conv = "feature_extractor.conv_layers.{}.conv.weight"
    position = "encoder.transformer.pos_conv_embed.conv."
    old = position + "weight_v"
    position = old if old in state else position + "parametrizations.weight.original1"
    dense = BLOCK + "0.feed_forward.intermediate_dense.weight"
    projection = "encoder.feature_projection.projection.weight"
    if missing := [k for k in (FIRST, position, dense, projection) if k not in state]:
        raise ConfigError(f"{path}: missing: {', '.join(missing)}")
    bias = state.get(BIAS)
    if state[position].dim() != 3 or (bias is not None and bias.dim() != 2):
        raise ConfigError(f"{path}: {position} or {BIAS} has another shape than torchaudio's")
    names = map(conv.format, itertools.count())
    shapes = [tuple(state[name].shape) for name in itertools.takewhile(state.__contains__, names)]
    kernels = tuple(shape[-1] for shape in shapes)
    if kernels != KERNELS:
        raise ConfigError(f"{path}: the stem has the kernels {kernels}, labels need {KERNELS}")
    width, groups, kernel = state[position].shape
    layered = "feature_extractor.conv_layers.1.layer_norm.weight" in state
    heads = bias.shape[1] if bias is not None else given.get("encoder_num_heads", HEADS.get(width))
    if heads is None:
        raise ConfigError(
            f"{path}: a state dict does not tell the attention heads of a model of width {width}; "
            f'write them into {path}.json: {{"encoder_num_heads": …}}'
        )
    made = {
        "extractor_mode": "layer_norm" if layered else "group_norm",
        "extractor_conv_layer_config": [
            (shape[0], shape[-1], stride) for shape, stride in zip(shapes, STRIDES, strict=True)
        ],
        "extractor_conv_bias": FIRST.replace("weight", "bias") in state,
        "encoder_embed_dim": width,
        "encoder_pos_conv_kernel": kernel,
        "encoder_pos_conv_groups": width // max(1, groups),
        "encoder_num_layers": len({k.split(".")[3] for k in state if k.startswith(BLOCK)}),
        "encoder_num_heads": heads,
        "encoder_ff_interm_features": len(state[dense]),
        "encoder_layer_norm_first": given.get("encoder_layer_norm_first", layered),
    }
    if bias is not None:
        made["encoder_num_buckets"] = len(bias)
        made["encoder_max_distance"] = given.get("encoder_max_distance", MAX_DISTANCE)
    return made


def config(conf: dict[str, Any]) -> dict[str, Any]:
    """transformers' configuration for the arguments of torchaudio's factories."""
    shapes = conf.get("extractor_conv_layer_config") or SHAPES
    made = {
        "conv_dim": [s[0] for s in shapes],
        "conv_kernel": [s[1] for s in shapes],
        "conv_stride": [s[2] for s in shapes],
        "conv_bias": conf.get("extractor_conv_bias", False),
        "feat_extract_norm": conf.get("extractor_mode", "group_norm").removesuffix("_norm"),
        "hidden_size": conf.get("encoder_embed_dim", 768),
        "num_hidden_layers": conf.get("encoder_num_layers", 12),
        "num_attention_heads": conf.get("encoder_num_heads", 12),
        "intermediate_size": conf.get("encoder_ff_interm_features", 3072),
        "num_conv_pos_embeddings": conf.get("encoder_pos_conv_kernel", 128),
        "num_conv_pos_embedding_groups": conf.get("encoder_pos_conv_groups", 16),
        "do_stable_layer_norm": conf.get("encoder_layer_norm_first", False),
    }
    if "encoder_num_buckets" in conf:
        made["num_buckets"] = conf["encoder_num_buckets"]
        made["max_bucket_distance"] = conf["encoder_max_distance"]
    return made


def named(state: parameters.State) -> parameters.State:
    """Parameters under transformers' names; WavLM's joint projections are taken apart."""
    split: parameters.State = {}
    for key, value in state.items():
        before, joint, what = key.partition("attention.in_proj_")
        if joint and before.endswith("attention."):
            for name, part in zip("qkv", value.chunk(3), strict=True):
                split[f"{before}{name}_proj.{what}"] = part
        else:
            split[key] = value
    return parameters.new_names(parameters.rename_keys(split, NAMES))
