"""WavLM's Transformer: HuBERT's, with a gated bias for relative positions in each attention.

The blocks are transformers' own, forward pass included: they mask the keys behind an utterance's
end, and a bias depends on the distance of two frames alone. What before them mixes the utterances
of a batch, normalisation and convolutions over time, is :class:`stem.Stem`'s and ours.
"""

import warnings
from collections.abc import Iterator

import torch

from espnet_dice.hubert.models.backbone import Transformer, dropped
from espnet_dice.hubert.models.stem import FEATURE_GRAD_MULT, hubert
from espnet_dice.io.errors import ConfigError

STEM = (
    "conv_dim",
    "conv_kernel",
    "conv_stride",
    "conv_bias",
    "feat_extract_norm",
    "feat_extract_activation",
    "feat_proj_dropout",
    "hidden_size",
    "layer_norm_eps",
    "mask_time_prob",
    "mask_feature_prob",
)
# transformers' attention has a mask of booleans beside a bias of floats
warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask and attn_mask")


class WavLM(Transformer):
    """WavLM with the parameters of ``transformers.WavLMModel``, name by name.

    Args:
        config: ``transformers.WavLMConfig``; kept as ``config``.
        feature_grad_mult: factor on the gradient of the convolutions; 0 freezes them.

    Raises:
        ConfigError: the stride is not 320, or the numbers do not go together.
    """

    def __init__(self, config, feature_grad_mult: float = FEATURE_GRAD_MULT):
        from transformers import HubertConfig
        from transformers.models.wavlm.modeling_wavlm import (
            WavLMEncoder,
            WavLMEncoderStableLayerNorm,
        )

        from espnet_dice.hubert.models.students import NO_ENCODER

        stem = HubertConfig(**{k: getattr(config, k) for k in STEM}, **NO_ENCODER)
        kind = WavLMEncoderStableLayerNorm if config.do_stable_layer_norm else WavLMEncoder
        try:
            encoder = kind(config)
        except (ValueError, RuntimeError) as err:
            raise ConfigError(f"no WavLM of this size can be built: {err}") from err
        super().__init__(hubert(stem), encoder, config, feature_grad_mult)

    def blocks(
        self, x: torch.Tensor, valid: torch.Tensor | None, layers: int | None
    ) -> Iterator[torch.Tensor]:
        """The output of each block, (B, T, D)."""
        bias = None
        for i, block in enumerate(self.encoder.layers[:layers]):
            # the first block makes the bias of all
            if i == 0 or not dropped(self, self.config.layerdrop):
                x, bias = block(x, attention_mask=valid, position_bias=bias)[:2]
            yield x
