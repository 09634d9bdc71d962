"""Models of ESPnet's hubert1 and ssl1 recipes as teachers: their keys, mapped to ours.

hubert1 trains torchaudio's HuBERT, which is transformers' under other names. ssl1 trains a stem of
ESPnet's own before one of its encoders: what :class:`espnet_student.EspnetStudent` is.
"""

from typing import Any

import torch

from espnet_dice.hubert.formats import contents, hf_models, parameters, torchaudio_models
from espnet_dice.hubert.formats.teacher_files import Checkpoint
from espnet_dice.hubert.models.frames import SAMPLE_RATE
from espnet_dice.io.errors import ConfigError

TORCHAUDIO = ("torchaudio_hubert",)
CNN_FRONTEND = "wav2vec_cnn"
NORMALIZE_EPS = 1e-5
"""``normalize_audio`` of ESPnet's CNNFrontend is a layer norm over the samples."""
MASK = "masked_spec_embed"
SSL_NAMES: parameters.Rules = (
    (r"frontend\.layers\.(.+)", r"feature_extractor.conv_layers.\1"),
    (r"frontend\.final_norm\.(.+)", r"feature_projection.layer_norm.\1"),
    (r"preencoder\.linear_out\.(.+)", r"feature_projection.projection.\1"),
    (r"util_modules\.mask\.mask_embedding", MASK),
)
SSL_WANTED: contents.Wanted = dict.fromkeys(
    (
        "frontend.layers.0.conv.weight",
        "preencoder.linear_out.weight",
        "util_modules.mask.mask_embedding",
    )
)
RATES = (None, SAMPLE_RATE, str(SAMPLE_RATE), "16k")
SSL_OWN = ("feature_extractor.", "feature_projection.", "encoder.", MASK)


def load(found: Checkpoint, trust_pickle: bool) -> tuple[torch.nn.Module, bool, float]:
    """A model of ours with an ESPnet model's parameters.

    Returns:
        The model, whether it wants normalised waveforms, and what is added to their variance.

    Raises:
        ConfigError: naming what in ``config.yaml`` cannot be a teacher.
    """
    config = found.config
    path = found.weights[0]
    held = parameters.read(path, trust_pickle)
    encoder = config.get("encoder")
    _refuse(found, "normalize", config.get("normalize"), (None,))
    if encoder in TORCHAUDIO:
        _refuse(found, "frontend", config.get("frontend"), (None,))
        _refuse(found, "preencoder", config.get("preencoder"), (None,))
        its = contents.get(held, torchaudio_models.WANTED, path, "ESPnet's hubert1")
        # ESPnet gives torchaudio's model the samples as they are, whatever its norms
        model, own, normalize = *_torchaudio(found, its), False
    elif config.get("frontend") == CNN_FRONTEND:
        its = contents.get(held, SSL_WANTED, path, "ESPnet's ssl1")
        model, own = _ssl(found, its.state)
        normalize = bool((config.get("frontend_conf") or {}).get("normalize_audio", False))
    else:
        raise ConfigError(
            f"{found.config_file}: encoder {encoder!r} with frontend {config.get('frontend')!r}; "
            f"a teacher has the encoder {TORCHAUDIO[0]} (hubert1), or the frontend {CNN_FRONTEND} "
            "(ssl1)"
        )
    parameters.load_strict(model, own, f"{path}{its.place}")
    return model, normalize, NORMALIZE_EPS


def _refuse(found: Checkpoint, key: str, value: Any, allowed: tuple) -> None:
    if value not in allowed:
        wanted = " or ".join("null" if a is None else str(a) for a in allowed)
        raise ConfigError(f"{found.config_file}: {key}: {value}; a teacher has {wanted}")


def _torchaudio(found: Checkpoint, its: contents.Found):
    """HuBERT of torchaudio; the defaults are those of ESPnet's TorchAudioHuBERTPretrainEncoder."""
    conf = torchaudio_models.config(found.config.get("encoder_conf") or {})
    model = hf_models.build("hubert", conf, f"{found.config_file}: encoder_conf")
    return model, torchaudio_models.named(its.state) | torchaudio_models.mask(its)


def _ssl(found: Checkpoint, state: parameters.State):
    """ESPnet's CNNFrontend, a linear layer, and an encoder of ESPnet."""
    from espnet_dice.hubert.models import students
    from espnet_dice.hubert.models.espnet_student import EspnetStudent, encoder_class

    config = found.config
    front = config.get("frontend_conf") or {}
    _refuse(found, "frontend_conf: fs", front.get("fs"), RATES)
    _refuse(found, "frontend_conf: conv_mode", front.get("conv_mode"), ("standard",))
    _refuse(found, "preencoder", config.get("preencoder"), ("linear",))
    shapes = front.get("shapes") or torchaudio_models.SHAPES
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
    own = parameters.rename_keys(state, SSL_NAMES)
    return EspnetStudent(stem, encoder), {k: v for k, v in own.items() if k.startswith(SSL_OWN)}
