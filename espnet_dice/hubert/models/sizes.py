"""Sizes of students: the paper's, and stems that make them quicker.

A faithful narrow student spends most of its time in the seven convolutions that it shares with its
teacher. The slim stems keep kernels and strides, so that labels still align, and have fewer
channels; no paper measured them. ``mel`` has log-mel filters and two convolutions instead
(:mod:`mel`); it is ours.
"""

from typing import Any

from espnet_dice.io.errors import ConfigError

SIZES: dict[str, dict[str, int]] = {
    # HuBERT-base, the teacher
    "base": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12},
    # Chi et al. 2025: width and FFN scaled. Heads of the narrow students are not given; 12 is the
    # literal reading, ESPnet's own configuration has 6
    "narrow_d2": {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12},
    "narrow_d4": {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 12},
    "shallow_2l": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 2},
    "shallow_3l": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 3},
}
STEMS: dict[str, list[int]] = {
    "full": [512] * 7,
    "slim": [256] * 7,
    "tapered": [128, 128, 256, 256, 384, 384, 384],
}
MEL = "mel"
MEL_STEM: dict[str, Any] = {
    "conv_dim": [256, 512],
    "conv_kernel": [3, 3],
    "conv_stride": [1, 2],
    "mel_norm": "utterance",
}
NOT_WITH_MEL = ("conv_bias", "feat_extract_norm", "feat_extract_activation")
TRAINING: dict[str, float] = {
    # HuBERT-base of fairseq; transformers' defaults are those of fine-tuning
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.1,
    "layerdrop": 0.05,
}


def expand(conf: dict[str, Any]) -> dict[str, Any]:
    """Keys of ``transformers.HubertConfig`` from those of a student's configuration.

    Args:
        conf: ``HubertConfig``'s keys; ``size`` and ``stem`` name what is taken from
            :data:`SIZES` and :data:`STEMS` or :data:`MEL_STEM` where the keys themselves are not
            given.

    Raises:
        ConfigError: a name is unknown, or a key does not go with the stem.
    """
    conf = dict(conf)
    found: dict[str, Any] = dict(TRAINING)
    if "size" in conf:
        found |= _chosen("size", conf.pop("size"), SIZES)
    if conf.get("stem") == MEL:
        del conf["stem"]
        for key in NOT_WITH_MEL:
            if key in conf:
                raise ConfigError(f"student_conf: {key} has no meaning with stem: {MEL}")
        found |= MEL_STEM
        if isinstance(conf.get("conv_dim"), list) and len(conf["conv_dim"]) != 2:
            raise ConfigError(
                f"student_conf: conv_dim {conf['conv_dim']}: stem: {MEL} has two convolutions"
            )
    elif "mel_norm" in conf:
        raise ConfigError(f"student_conf: mel_norm has a meaning with stem: {MEL} only")
    elif "stem" in conf:
        found["conv_dim"] = list(_chosen("stem", conf.pop("stem"), STEMS, MEL))
    return found | conf


def _chosen(key: str, name: Any, table: dict[str, Any], *others: str) -> Any:
    if name not in table:
        known = ", ".join((*table, *others))
        raise ConfigError(f"student_conf: {key} must be one of {known}, not {name!r}")
    return table[name]
