"""Students by configuration: ``student`` names the kind, ``student_conf`` gives the numbers.

========  ==========================================================================
hubert    HuBERT of any size: ``size``, ``stem``, every key of transformers.HubertConfig
espnet    HuBERT's stem and one of ESPnet's encoders: ``encoder``, ``encoder_conf``
conv      convolutions only: ``hidden_size``, ``num_hidden_layers``, ``kernel_size`` …
========  ==========================================================================

All of them take ``stem`` or ``conv_dim`` (with ``stem: mel`` also ``mel_norm``) and
``feature_grad_mult``, have a frame every 320 samples, and share :meth:`backbone.Backbone.forward`,
``dims`` and ``final``.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch

from espnet_dice.hubert.models import sizes
from espnet_dice.hubert.models.stem import FEATURE_GRAD_MULT, check_frames
from espnet_dice.io.errors import ConfigError

STEM_KEYS = ("conv_dim", "conv_bias", "feat_extract_norm", "feat_proj_dropout", "layer_norm_eps")
STEM_KEYS += ("mel_norm",)
"""Keys of HubertConfig that concern the stem, for students with another encoder."""
NO_ENCODER = {
    "num_hidden_layers": 0,
    "num_attention_heads": 1,
    "intermediate_size": 1,
    "num_conv_pos_embeddings": 1,
    "num_conv_pos_embedding_groups": 1,
}


def build(name: str, conf: dict[str, Any] | None = None) -> torch.nn.Module:
    """A student with fresh parameters. Imports transformers (6 s).

    Args:
        name: ``hubert``, ``espnet`` or ``conv``.
        conf: its keys; those that are missing have the defaults of the kind.

    Raises:
        ConfigError: naming the key that is unknown or wrong.
    """
    if name not in KINDS:
        raise ConfigError(f"student must be one of {', '.join(KINDS)}, not {name!r}")
    conf = sizes.expand(conf or {})
    mult = conf.pop("feature_grad_mult", FEATURE_GRAD_MULT)
    if not isinstance(mult, (int, float)) or mult < 0:
        raise ConfigError(f"student_conf: feature_grad_mult must be >= 0, not {mult!r}")
    return KINDS[name](conf, float(mult))


def hubert_config(values: dict[str, Any]):
    """A checked ``transformers.HubertConfig``.

    Raises:
        ConfigError: naming the key.
    """
    from transformers import HubertConfig

    known = [*HubertConfig().to_dict(), "mel_norm"]
    for key in values:
        if key not in known:
            raise ConfigError(f"student_conf: no such key: {key}")
    try:
        config = HubertConfig(**values)
    except Exception as err:  # the validation of huggingface_hub raises classes of its own
        said = " ".join(str(err).split())
        raise ConfigError(f"student_conf: {said}") from err
    check_frames(config)
    heads, width = config.num_attention_heads, config.hidden_size
    if width % heads:
        raise ConfigError(
            f"student_conf: hidden_size {width} must be a multiple of num_attention_heads {heads}"
        )
    if width % config.num_conv_pos_embedding_groups:
        raise ConfigError(
            f"student_conf: hidden_size {width} must be a multiple of "
            f"num_conv_pos_embedding_groups {config.num_conv_pos_embedding_groups}"
        )
    return config


def stem_config(conf: dict[str, Any], width: int):
    """The config of a stem whose encoder is not HuBERT's; takes its keys out of ``conf``.

    Args:
        conf: of the student.
        width: of the frames.

    Raises:
        ConfigError: naming the key.
    """
    keys = STEM_KEYS + (("conv_kernel", "conv_stride") if "mel_norm" in conf else ())
    stem = {key: conf.pop(key) for key in keys if key in conf}
    return hubert_config({"hidden_size": width, **stem, **NO_ENCODER})


def take(conf: dict[str, Any], kind: type[torch.nn.Module], **given: Any) -> torch.nn.Module:
    """Build ``kind`` from what is left in ``conf``.

    Raises:
        ConfigError: a key is not an argument of ``kind``.
    """
    known = list(inspect.signature(kind.__init__).parameters)[1:]
    for key in conf:
        if key not in known or key in given:
            allowed = ", ".join((*(k for k in known if k not in given), "stem", *STEM_KEYS))
            raise ConfigError(f"student_conf: no such key: {key}; there are {allowed}")
    return kind(**given, **conf)


def _hubert(conf: dict[str, Any], mult: float) -> torch.nn.Module:
    from espnet_dice.hubert.models.backbone import Backbone

    return Backbone(hubert_config(conf), mult)


def _espnet(conf: dict[str, Any], mult: float) -> torch.nn.Module:
    from espnet_dice.hubert.models.espnet_student import EspnetStudent, build_encoder

    conf = _without_training_defaults(conf)
    encoder_conf = conf.pop("encoder_conf", {})
    encoder = build_encoder(conf.pop("encoder", "conformer"), encoder_conf)
    config = stem_config(conf, encoder.output_size())
    layerdrop = encoder_conf.get("layer_drop_rate", 0.0)
    return take(
        conf,
        EspnetStudent,
        config=config,
        encoder=encoder,
        layerdrop=layerdrop,
        feature_grad_mult=mult,
    )


def _conv(conf: dict[str, Any], mult: float) -> torch.nn.Module:
    from espnet_dice.hubert.models.conv_student import ConvStudent

    conf = _without_training_defaults(conf, keep=("hidden_dropout", "layerdrop"))
    config = stem_config(conf, conf.pop("hidden_size", 384))
    return take(conf, ConvStudent, config=config, feature_grad_mult=mult)


def _without_training_defaults(conf: dict[str, Any], keep: tuple[str, ...] = ()) -> dict[str, Any]:
    """What :func:`sizes.expand` adds is HuBERT's; of it the stem's dropout and ``keep`` stay."""
    keep += ("feat_proj_dropout",)
    return {k: v for k, v in conf.items() if k in keep or sizes.TRAINING.get(k) != v}


KINDS: dict[str, Callable[[dict[str, Any], float], torch.nn.Module]] = {
    "hubert": _hubert,
    "espnet": _espnet,
    "conv": _conv,
}
