"""HuBERT with the stem of :mod:`mel` for transformers: the code that an export carries.

    model = AutoModel.from_pretrained(directory, trust_remote_code=True)

``save_pretrained`` copies this file and ``mel.py``; both import nothing of this package but each
other, by a relative import.
"""

import torch
from transformers import HubertConfig, HubertModel

from .mel import SHIFT, WINDOW, MelStem


class MelHubertConfig(HubertConfig):
    """HubertConfig, and ``mel_norm``: ``utterance``, ``corpus`` or ``none`` (:class:`MelStem`)."""

    model_type = "mel_hubert"

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Samples between two frames."""
        return 2 * SHIFT


class Heard(MelStem):
    """A stem that is told the lengths of a batch beside its call, which has no place for them."""

    lengths: torch.Tensor | None = None

    def forward(self, speech: torch.Tensor) -> torch.Tensor:
        """(B, S) → (B, C, T)."""
        return super().forward(speech, self.lengths)


class MelHubertModel(HubertModel):
    """HubertModel with another stem; an utterance in a padded batch has the frames it has alone.

    Args:
        config: with ``mel_norm``, and two values in ``conv_dim``.
    """

    config_class = MelHubertConfig

    def __init__(self, config: MelHubertConfig):
        super().__init__(config)
        self.feature_extractor = Heard(config.conv_dim, config.mel_norm)

    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs,
    ):
        """See ``HubertModel``; without ``attention_mask`` nothing is padding."""
        stem = self.feature_extractor
        stem.lengths = None if attention_mask is None else attention_mask.sum(-1)
        try:
            return super().forward(input_values, attention_mask=attention_mask, **kwargs)
        finally:
            stem.lengths = None

    def _get_feat_extract_output_lengths(self, input_lengths):
        return (input_lengths - WINDOW) // (2 * SHIFT) + 1

    @torch.no_grad()
    def _init_weights(self, module: torch.nn.Module) -> None:
        if isinstance(module, MelStem):  # transformers builds models without values
            module.tabulate()
        else:
            super()._init_weights(module)


MelHubertConfig.register_for_auto_class()
MelHubertModel.register_for_auto_class("AutoModel")
