"""Sizes of students: the paper's, and stems that make them quicker.

A faithful narrow student spends most of its time in the seven convolutions that it shares with its
teacher. The slim stems keep kernels and strides, so that labels still align, and have fewer
channels; no paper measured them.
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
            :data:`SIZES` and :data:`STEMS` where the keys themselves are not given.

    Raises:
        ConfigError: a name is unknown.
    """
    conf = dict(conf)
    found: dict[str, Any] = dict(TRAINING)
    if "size" in conf:
        found |= _chosen("size", conf.pop("size"), SIZES)
    if "stem" in conf:
        found["conv_dim"] = list(_chosen("stem", conf.pop("stem"), STEMS))
    return found | conf


def _chosen(key: str, name: Any, table: dict[str, Any]) -> Any:
    if name not in table:
        raise ConfigError(f"student_conf: {key} must be one of {', '.join(table)}, not {name!r}")
    return table[name]
