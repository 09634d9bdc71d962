"""Hugging Face's HuBERT, wav2vec 2.0 and WavLM, and what other layouts are turned into.

wav2vec 2.0 computes what HuBERT computes, under the same names; WavLM has another attention.
``mel_hubert`` is our own export of a HuBERT with ``stem: mel``; the code beside it is not run.
"""

from typing import Any

import torch

from espnet_dice.hubert.formats import contents, parameters, preprocessors
from espnet_dice.hubert.formats.hub import PREPROCESSOR
from espnet_dice.hubert.formats.teacher_files import Checkpoint
from espnet_dice.io.errors import ConfigError

EPS = 1e-7
"""What Wav2Vec2FeatureExtractor adds to a waveform's variance."""
TYPES = ("hubert", "wav2vec2", "wavlm", "mel_hubert")


def load(found: Checkpoint, trust_pickle: bool) -> tuple[torch.nn.Module, bool, float]:
    """A model of ours with the parameters of a Hugging Face directory.

    Returns:
        The model, whether it wants normalised waveforms, and what is added to their variance.

    Raises:
        ConfigError: naming what in ``config.json`` cannot be a teacher, or which parameters do not
            fit.
    """
    kind, normalize = check(found)
    if normalize is None:
        normalize = preprocessors.assumed(
            found.layer_norm,
            found.directory,
            f'{PREPROCESSOR} there may say it: {{"do_normalize": …}}',
        )
    model = build(kind, found.config, str(found.config_file))
    held = parameters.read_all(found.weights, trust_pickle)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    path = found.weights[0]
    its = contents.get(held, wanted, path, f"a {kind} under transformers' names")
    parameters.load_strict(model, named(its.state), f"{path}{its.place}")
    return model, normalize, EPS


def check(found: Checkpoint) -> tuple[str, bool | None]:
    """Kind of model, and whether it wants normalised waveforms (None: not said), by its settings.

    Raises:
        ConfigError: they are not those of a teacher.
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
    return kind, found.preprocessor.normalizes()


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
    except KeyError as err:  # of a table of transformers, such as that of activations
        raise ConfigError(f"{where}: {err} is nothing that transformers knows") from err
    except Exception as err:  # the validation of huggingface_hub raises classes of its own
        raise ConfigError(f"{where}: {' '.join(str(err).split())}") from err


def named(state: parameters.State) -> parameters.State:
    """Parameters under the names of the bare model, as they are now.

    An adapter behind the last block goes; heads (``lm_head``, ``quantizer`` …) are beside the
    model, but for a ``final_proj`` that a class derived from HuBERT's has.
    """
    kept = {k: v for k, v in state.items() if not k.startswith(("adapter.", "final_proj."))}
    return parameters.new_names(kept)
