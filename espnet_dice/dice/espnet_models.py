"""Models of ESPnet's hubert1 and ssl1 recipes as teachers: their keys, mapped to ours.

hubert1 trains torchaudio's HuBERT, which is transformers' under other names. ssl1 trains a stem of
ESPnet's own before one of its encoders: what :class:`espnet_student.EspnetStudent` is.
"""

from typing import Any

import torch

from espnet_dice.dice import checkpoints
from espnet_dice.io.errors import ConfigError

TORCHAUDIO = ("torchaudio_hubert",)
CNN_FRONTEND = "wav2vec_cnn"
SHAPES = [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]
NORMALIZE_EPS = 1e-5
"""``normalize_audio`` of ESPnet's CNNFrontend is a layer norm over the samples."""
# longest first: the projection and the Transformer both lie below ``encoder.``
TORCHAUDIO_NAMES = {
    "wav2vec2.encoder.feature_projection.": "feature_projection.",
    "wav2vec2.encoder.transformer.": "encoder.",
    "wav2vec2.feature_extractor.": "feature_extractor.",
    "mask_generator.mask_embedding": "masked_spec_embed",
}
SSL_NAMES = {
    "frontend.layers.": "feature_extractor.conv_layers.",
    "frontend.final_norm.": "feature_projection.layer_norm.",
    "preencoder.linear_out.": "feature_projection.projection.",
    "util_modules.mask.mask_embedding": "masked_spec_embed",
    "encoder.": "encoder.",
}


def convert(
    found: checkpoints.Checkpoint, state: dict[str, torch.Tensor]
) -> tuple[torch.nn.Module, bool, float]:
    """A model of ours with an ESPnet model's parameters.

    Returns:
        The model, whether it wants normalised waveforms, and what is added to their variance.

    Raises:
        ConfigError: naming what in ``config.yaml`` cannot be a teacher.
    """
    config = found.config
    encoder = config.get("encoder")
    _refuse(found, "normalize", config.get("normalize"), (None,))
    if encoder in TORCHAUDIO:
        _refuse(found, "frontend", config.get("frontend"), (None,))
        _refuse(found, "preencoder", config.get("preencoder"), (None,))
        model, own, normalize = *_torchaudio(found, state), False
    elif config.get("frontend") == CNN_FRONTEND:
        model, own = _ssl(found, state)
        normalize = bool((config.get("frontend_conf") or {}).get("normalize_audio", False))
    else:
        raise ConfigError(
            f"{found.config_file}: encoder {encoder!r} with frontend {config.get('frontend')!r}; "
            f"a teacher has the encoder {TORCHAUDIO[0]} (hubert1), or the frontend {CNN_FRONTEND} "
            "(ssl1)"
        )
    checkpoints.fill(model, own, found.weights[0])
    return model, normalize, NORMALIZE_EPS


def _refuse(found: checkpoints.Checkpoint, key: str, value: Any, allowed: tuple) -> None:
    if value not in allowed:
        wanted = " or ".join("null" if a is None else str(a) for a in allowed)
        raise ConfigError(f"{found.config_file}: {key}: {value}; a teacher has {wanted}")


def _renamed(
    state: dict[str, torch.Tensor], names: dict[str, str], prefix: str = ""
) -> dict[str, torch.Tensor]:
    """Parameters under our names; those of losses and heads are left out."""
    renamed = {}
    for key, value in state.items():
        for theirs, ours in names.items():
            if key.startswith(prefix + theirs):
                renamed[ours + key.removeprefix(prefix + theirs)] = value
                break
    return renamed


def _torchaudio(found: checkpoints.Checkpoint, state: dict[str, torch.Tensor]):
    """HuBERT of torchaudio; the defaults are those of ESPnet's TorchAudioHuBERTPretrainEncoder."""
    from transformers import HubertConfig

    from espnet_dice.dice.backbone import Backbone

    conf = found.config.get("encoder_conf") or {}
    shapes = conf.get("extractor_conv_layer_config") or SHAPES
    mode = conf.get("extractor_mode", "group_norm")
    config = {
        "conv_dim": [s[0] for s in shapes],
        "conv_kernel": [s[1] for s in shapes],
        "conv_stride": [s[2] for s in shapes],
        "conv_bias": conf.get("extractor_conv_bias", False),
        "feat_extract_norm": mode.removesuffix("_norm"),
        "hidden_size": conf.get("encoder_embed_dim", 768),
        "num_hidden_layers": conf.get("encoder_num_layers", 12),
        "num_attention_heads": conf.get("encoder_num_heads", 12),
        "intermediate_size": conf.get("encoder_ff_interm_features", 3072),
        "num_conv_pos_embeddings": conf.get("encoder_pos_conv_kernel", 128),
        "num_conv_pos_embedding_groups": conf.get("encoder_pos_conv_groups", 16),
        "do_stable_layer_norm": conf.get("encoder_layer_norm_first", False),
    }
    try:
        model = Backbone(HubertConfig(**config))
    except Exception as err:  # the validation of huggingface_hub raises classes of its own
        said = " ".join(str(err).split())
        raise ConfigError(f"{found.config_file}: encoder_conf: {said}") from err
    named = _renamed(state, TORCHAUDIO_NAMES, "encoder.hubert_pretrain_model.")
    return model, checkpoints.hf_names(named)


def _ssl(found: checkpoints.Checkpoint, state: dict[str, torch.Tensor]):
    """ESPnet's CNNFrontend, a linear layer, and an encoder of ESPnet."""
    from espnet_dice.dice import students
    from espnet_dice.dice.espnet_student import EspnetStudent, encoder_class

    config = found.config
    front = config.get("frontend_conf") or {}
    _refuse(found, "frontend_conf: conv_mode", front.get("conv_mode"), ("standard",))
    _refuse(found, "preencoder", config.get("preencoder"), ("linear",))
    shapes = front.get("shapes") or SHAPES
    encoder_conf = dict(config.get("encoder_conf") or {})
    if encoder_conf.get("input_layer", "conv2d") not in (None, "linear", "wav2vec"):
        raise ConfigError(
            f"{found.config_file}: encoder_conf: input_layer "
            f"{encoder_conf.get('input_layer', 'conv2d')} changes the frame rate"
        )
    width = config["preencoder_conf"]["output_size"]
    stem = students.hubert_config(
        {
            **students.NO_ENCODER,
            "hidden_size": width,
            "conv_dim": [s[0] for s in shapes],
            "conv_kernel": [s[1] for s in shapes],
            "conv_stride": [s[2] for s in shapes],
            "conv_bias": front.get("bias", False),
            "feat_extract_norm": front.get("norm_mode", "group_norm").removesuffix("_norm"),
            "feat_proj_layer_norm": front.get("normalize_output", False),
        }
    )
    try:
        encoder = encoder_class(config["encoder"])(input_size=width, **encoder_conf)
    except Exception as err:  # typeguard, assertions and ValueErrors of ESPnet alike
        raise ConfigError(f"{found.config_file}: encoder_conf: {err}") from err
    return EspnetStudent(stem, encoder), _renamed(state, SSL_NAMES)
