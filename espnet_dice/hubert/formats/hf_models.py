"""Hugging Face's HuBERT, wav2vec 2.0 and WavLM, and what other layouts are turned into.

wav2vec 2.0 computes what HuBERT computes, under the same names; WavLM has another attention.
"""

from typing import Any

import torch

from espnet_dice.hubert.formats import parameters
from espnet_dice.hubert.formats.checkpoints import Checkpoint
from espnet_dice.hubert.formats.hub import PREPROCESSOR
from espnet_dice.hubert.models.frames import SAMPLE_RATE
from espnet_dice.io.errors import ConfigError

EPS = 1e-7
"""What Wav2Vec2FeatureExtractor adds to a waveform's variance."""
TYPES = ("hubert", "wav2vec2", "wavlm")


def load(found: Checkpoint, trust_pickle: bool) -> tuple[torch.nn.Module, bool, float]:
    """A model of ours with the parameters of a Hugging Face directory.

    Returns:
        The model, whether it wants normalised waveforms, and what is added to their variance.

    Raises:
        ConfigError: naming what in ``config.json`` cannot be a teacher, or which parameters do not
            fit.
    """
    kind = found.config.get("model_type")
    if kind not in TYPES:
        raise ConfigError(
            f"{found.config_file}: model_type {kind!r}; a teacher is {' or '.join(TYPES)}"
        )
    if found.config.get("adapter_attn_dim") is not None:
        raise ConfigError(
            f"{found.config_file}: adapter_attn_dim: its blocks are not wav2vec 2.0's"
        )
    rate = found.preprocessor.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise ConfigError(
            f"{found.directory / PREPROCESSOR}: the model takes {rate} Hz; labels are made at "
            f"{SAMPLE_RATE} Hz"
        )
    model = build(kind, found.config, str(found.config_file))
    state = named(parameters.read_state(found.weights, trust_pickle), kind)
    parameters.fill(model, state, found.weights[0])
    # transformers normalises where a preprocessor does not say that it must not
    normalize = found.preprocessor.get("do_normalize", bool(found.preprocessor))
    return model, bool(normalize), EPS


def build(kind: str, config: dict[str, Any], where: str) -> torch.nn.Module:
    """A model with fresh parameters.

    Args:
        kind: one of :data:`TYPES`.
        config: ``config.json``.
        where: it comes from, for messages.

    Raises:
        ConfigError: its frames are not those of labels, or its numbers do not go together.
    """
    from transformers import HubertConfig, WavLMConfig

    from espnet_dice.hubert.models.backbone import Backbone
    from espnet_dice.hubert.models.wavlm import WavLM

    kinds = (WavLM, WavLMConfig) if kind == "wavlm" else (Backbone, HubertConfig)
    values = {k: v for k, v in config.items() if k != "model_type"}
    try:
        return kinds[0](kinds[1](**values))
    except Exception as err:  # the validation of huggingface_hub raises classes of its own
        raise ConfigError(f"{where}: {' '.join(str(err).split())}") from err


def named(state: parameters.State, kind: str = "hubert") -> parameters.State:
    """Parameters of any model of a kind under the names of its bare model.

    Heads (``lm_head``, ``quantizer`` …) go, the prefix (``hubert.`` …) goes, and the weight norm of
    old files gets its new names. So does an adapter behind the last block.
    """
    own = parameters.below(state, f"{kind}.") or state
    kept = {k: v for k, v in own.items() if not k.startswith("adapter.")}
    return parameters.new_weight_norm(kept)
