"""``encoder: dice_ssl`` on the way out: as ESPnet's own torchaudio HuBERT, or as it is.

Plain ESPnet has one encoder for HuBERT that needs neither fairseq nor a checkpoint:
``torchaudiohubert`` with ``finetuning: true``. It has HuBERT's last layer and nothing behind it.
It computes the same of an utterance by itself, as ``Speech2Text`` decodes; in a padded batch it
hears the padding. What it cannot compute stays ``dice_ssl``, which takes this package to load,
with the SSL model's architecture in place of the path of its checkpoint.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from espnet_dice.hubert import architecture as architectures
from espnet_dice.hubert.formats import teacher_files
from espnet_dice.hubert.models import students
from espnet_dice.hubert.models.stem import is_mel

OURS, PLAIN = "dice_ssl", "torchaudiohubert"
MODEL = "encoder.model."
THEIRS = "encoder.hubert_pretrain_model."
STEPS = "encoder.steps"
NAMES = {
    "feature_projection.": "wav2vec2.encoder.feature_projection.",
    "feature_extractor.": "wav2vec2.feature_extractor.",
    "encoder.": "wav2vec2.encoder.transformer.",
    "masked_spec_embed": "mask_generator.mask_embedding",
}
"""Parts of transformers' HuBERT and what they are in torchaudio's."""
# transformers' names of what torchaudio has only one kind of
FIXED = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "feat_proj_layer_norm": True,
    "conv_pos_batch_norm": False,
}


def leave(config: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The config of an exported recogniser whose encoder may be ours.

    Args:
        config: ESPnet's ``config.yaml`` of the training.

    Returns:
        The config; why plain ESPnet cannot load it, or None if it can.
    """
    config = dict(config)
    if config.get("encoder") != OURS:
        return config, None
    conf = dict(config.get("encoder_conf") or {})
    said = conf.get("architecture") or architectures.of(conf["source"])
    if said is not None:
        said = {"student_conf": {}, "normalize": False, **said}  # what a config need not say
    why = _why_not(conf, said)
    if why is None:
        config |= {"encoder": PLAIN, "encoder_conf": _torchaudio(conf, said)}
        if said["normalize"]:
            # the same but for the 1e-7 that is added to the variance of a waveform here
            config |= {"normalize": "utterance_mvn", "normalize_conf": {"norm_vars": True}}
    elif said is not None:
        config["encoder_conf"] = {**conf, "source": None, "architecture": said}
    else:
        if Path(conf["source"]).exists():
            conf["source"] = str(Path(conf["source"]).resolve())
        config["encoder_conf"] = conf
        why += f"; and its architecture is read from {conf['source']}, which must stay"
    return config, why


def rename(
    state: Mapping[str, torch.Tensor], plain: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Parameters for ESPnet's encoder, under its names.

    Args:
        state: of the recogniser with our encoder.
        plain: of the model that ESPnet builds; it has a head for pre-training as well, which is set
            to zero here.
    """
    named = {}
    for key, value in state.items():
        for ours, theirs in NAMES.items():
            if key.startswith(MODEL + ours):
                key = THEIRS + theirs + key.removeprefix(MODEL + ours)
                break
        if key != STEPS:
            named[key] = value
    unused = (f"{THEIRS}logit_generator.", "encoder.global_step")
    named |= {k: torch.zeros_like(v) for k, v in plain.items() if k.startswith(unused)}
    return named


def _why_not(conf: Mapping[str, Any], said: Mapping[str, Any] | None) -> str | None:
    """Why ESPnet's encoder cannot compute the same."""
    for key, plain in (("weighted_sum", False), ("subsample", 1), ("output_size", None)):
        if conf.get(key, plain) != plain:
            return f"encoder_conf: {key}: {conf[key]} is ours alone"
    if said is None or said["student"] != "hubert":
        return "its SSL model is no HuBERT"
    full = students.hubert_config(_student_conf(said))
    if is_mel(full):
        return "its SSL model has the stem mel"
    for key, value in FIXED.items():
        if getattr(full, key) != value:
            return f"its SSL model has {key} {getattr(full, key)}"
    return None


def _torchaudio(conf: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    full = students.hubert_config(_student_conf(said))
    shapes = zip(full.conv_dim, full.conv_kernel, full.conv_stride, strict=True)
    return {
        "finetuning": True,
        "extractor_mode": f"{full.feat_extract_norm}_norm",
        "extractor_conv_layer_config": [list(shape) for shape in shapes],
        "extractor_conv_bias": full.conv_bias,
        "encoder_embed_dim": full.hidden_size,
        "encoder_projection_dropout": full.feat_proj_dropout,
        "encoder_pos_conv_kernel": full.num_conv_pos_embeddings,
        "encoder_pos_conv_groups": full.num_conv_pos_embedding_groups,
        "encoder_num_layers": conf.get("layer") or full.num_hidden_layers,
        "encoder_num_heads": full.num_attention_heads,
        "encoder_attention_dropout": full.attention_dropout,
        "encoder_ff_interm_features": full.intermediate_size,
        "encoder_ff_interm_dropout": full.activation_dropout,
        "encoder_dropout": full.hidden_dropout,
        "encoder_layer_norm_first": full.do_stable_layer_norm,
        "encoder_layer_drop": full.layerdrop,
        "mask_prob": conf.get("mask_prob", 0.0),
        "mask_length": conf.get("mask_length", 10),
        "num_classes": 1,
        "final_dim": 1,
        "freeze_encoder_updates": conf.get("freeze_steps", 0),
    }


def _student_conf(said: Mapping[str, Any]) -> dict[str, Any]:
    from espnet_dice.hubert.models import sizes

    conf = sizes.expand(said["student_conf"])
    conf.pop("feature_grad_mult", None)
    return {k: v for k, v in conf.items() if k not in teacher_files.OF_NO_EFFECT}
