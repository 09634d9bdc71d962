"""A student as a directory that ``transformers.HubertModel.from_pretrained`` loads.

s3prl's upstream ``hf_hubert_custom`` (the real SUPERB) takes the same directory. ``stem: mel`` is
no model of transformers: its directory carries the code (:mod:`mel_hubert`), for ``AutoModel`` with
``trust_remote_code=True``.
"""

from pathlib import Path

import torch

from espnet_dice.hubert.frozen import FrozenSSLModel
from espnet_dice.hubert.models.backbone import Backbone
from espnet_dice.hubert.models.frames import RECEPTIVE, SAMPLE_RATE
from espnet_dice.hubert.models.stem import is_mel
from espnet_dice.io.errors import ConfigError

TOLERANCE = 1e-4
LENGTHS = (RECEPTIVE, 3 * SAMPLE_RATE // 4)
"""Samples of the utterances on which outputs are compared: one frame, and 0.75 s."""


def can_export(model: FrozenSSLModel) -> bool:
    """Only HuBERT has a place there; other encoders leave as ONNX."""
    return isinstance(model.model, Backbone)


def carries_code(model: FrozenSSLModel) -> bool:
    """Whether transformers needs the code in the directory to load it."""
    return can_export(model) and is_mel(model.model.config)


def _classes(model: FrozenSSLModel) -> tuple[type, type]:
    """Configuration and model; the code of the latter is copied if it is not transformers' own."""
    if carries_code(model):
        from espnet_dice.hubert.models.mel_hubert import MelHubertConfig, MelHubertModel

        return MelHubertConfig, MelHubertModel
    from transformers import HubertConfig, HubertModel

    return HubertConfig, HubertModel


def write(model: FrozenSSLModel, directory: Path) -> float:
    """Write config.json, model.safetensors, preprocessor_config.json, perhaps code, and compare.

    Args:
        model: a loaded student (:func:`frozen.load`).
        directory: where to write; exists.

    Returns:
        The largest absolute difference of any hidden state from ``model``'s own.

    Raises:
        ConfigError: the student is no HuBERT, or what was written computes something else.
    """
    from transformers import Wav2Vec2FeatureExtractor

    if not can_export(model):
        raise ConfigError(
            f"{model.source}: Hugging Face has no class for {type(model.model).__name__}; "
            "export it as ONNX"
        )
    state = model.model.state_dict()
    values = {k: v for k, v in model.model.config.to_dict().items() if k != "model_type"}
    config_class, model_class = _classes(model)
    config = config_class.from_dict(values)
    with _quiet():
        theirs = model_class(config)
        theirs.load_state_dict(state, strict=True)
        theirs.save_pretrained(directory)
        Wav2Vec2FeatureExtractor(
            feature_size=1,
            sampling_rate=SAMPLE_RATE,
            do_normalize=model.normalize,
            # group-norm models were never trained with one
            return_attention_mask=config.feat_extract_norm == "layer" or carries_code(model),
        ).save_pretrained(directory)
    (directory / "model.safetensors").chmod((directory / "config.json").stat().st_mode)
    return check(model, directory)


def check(model: FrozenSSLModel, directory: Path) -> float:
    """Load the directory as a user of transformers would, and compare the hidden states.

    Raises:
        ConfigError: parameters are missing, or a difference is above 1e-4.
    """
    from transformers import Wav2Vec2FeatureExtractor

    with _quiet():
        theirs, said = _classes(model)[1].from_pretrained(
            directory, output_loading_info=True, local_files_only=True
        )
        prepare = Wav2Vec2FeatureExtractor.from_pretrained(directory, local_files_only=True)
    wrong = [f"{k}: {sorted(v)[:3]}" for k, v in said.items() if k.endswith("keys") and v]
    if wrong:
        raise ConfigError(f"{directory}: parameters do not fit: {'; '.join(wrong)}")
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for samples in LENGTHS:
        wave = 0.1 * torch.randn(samples, generator=generator)
        ready = prepare(wave.numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.no_grad():
            wanted = theirs.eval()(ready.input_values, output_hidden_states=True).hidden_states
        for a, b in zip(model.hidden([wave])[0], wanted, strict=True):
            worst = max(worst, float((a - b[0]).abs().max()))
    if not worst <= TOLERANCE:
        raise ConfigError(f"{directory} computes something else: difference {worst:.3g}")
    return worst


class _quiet:
    """Without transformers' progress bars, which are on although a file takes no time."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self.were_on = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging

        if self.were_on:
            logging.enable_progress_bar()
