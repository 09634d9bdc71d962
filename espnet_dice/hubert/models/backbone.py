"""HuBERT's Transformer: teachers, and the students that export to Hugging Face without guessing."""

from collections.abc import Iterator

import torch
from torch.nn import functional

from espnet_dice.hubert.models.stem import FEATURE_GRAD_MULT, Stem, hubert


class Transformer(Stem):
    """Positions, norms and blocks behind the stem; a subclass says how a block is run.

    Args:
        model: what :func:`stem.hubert` made; the stem's modules are taken.
        encoder: transformers' encoder; its modules are used.
        config: of the whole; kept as ``config``.
        feature_grad_mult: factor on the gradient of the convolutions; 0 freezes them.

    Attributes:
        dims: width of each hidden state, the input of the first block included.
    """

    def __init__(self, model, encoder, config, feature_grad_mult: float = FEATURE_GRAD_MULT):
        super().__init__(model, feature_grad_mult)
        self.config = config
        self.encoder = encoder
        self.dims = [config.hidden_size] * (config.num_hidden_layers + 1)

    def blocks(
        self, x: torch.Tensor, valid: torch.Tensor | None, layers: int | None
    ) -> Iterator[torch.Tensor]:
        """The output of each block, (B, T, D).

        Args:
            x: (B, T, D), the input of the first.
            valid: (B, T) bool, True where a frame belongs to its utterance; None: all do.
            layers: stop after this block.
        """
        raise NotImplementedError

    def encode(
        self, x: torch.Tensor, valid: torch.Tensor | None, layers: int | None
    ) -> list[torch.Tensor]:
        """Positions, and what each block gives; see :meth:`stem.Stem.forward`."""
        x = x + self._positions(x, valid)
        if not self.config.do_stable_layer_norm:
            x = self.encoder.layer_norm(x)
        x = self.encoder.dropout(x)
        return [x, *self.blocks(x, valid, layers)]

    def final(self, x: torch.Tensor) -> torch.Tensor:
        """What a head takes from the last hidden state: (…, D) → (…, D).

        In a model with norms before its blocks this is the norm after the last one, else nothing.
        """
        return self.encoder.layer_norm(x) if self.config.do_stable_layer_norm else x

    def _positions(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        """Convolutional position embedding; behind an utterance's end it sees zeros."""
        embed = self.encoder.pos_conv_embed
        norm = getattr(embed, "batch_norm", None)
        if norm is not None:
            x = norm(x.transpose(1, 2)).transpose(1, 2)
            x = x if valid is None else x * valid.unsqueeze(2)
        return embed.activation(over_frames(embed.conv, x))


def over_frames(conv: torch.nn.Conv1d, x: torch.Tensor) -> torch.Tensor:
    """A convolution of stride 1, as many frames out as in: (B, T, D) → (B, T, D).

    Frame t hears ``width`` frames from t - width // 2 on. It is computed as that of images of one
    row, channels last: with groups this wide a ``Conv1d`` takes a CPU two to three times as long,
    a fifth of a small model's step.
    """
    (width,) = conv.kernel_size
    x = functional.pad(x, (0, 0, width // 2, (width - 1) // 2))
    row = x.transpose(1, 2).unsqueeze(2)  # as it lies in memory
    if x.device.type != "cpu":
        row = row.contiguous()
    y = functional.conv2d(row, conv.weight.unsqueeze(2), conv.bias, groups=conv.groups)
    return y.squeeze(2).transpose(1, 2)


class Backbone(Transformer):
    """HuBERT with the parameters of ``transformers.HubertModel``, name by name.

    Both kinds are there: norm after each block and a group norm in the stem (base), norm before
    each block and layer norms in the stem (large, ``do_stable_layer_norm``).

    Args:
        config: ``transformers.HubertConfig``; kept as ``config``.
        feature_grad_mult: factor on the gradient of the convolutions; 0 freezes them.

    Raises:
        ConfigError: the stride is not 320, or the numbers do not go together.
    """

    def __init__(self, config, feature_grad_mult: float = FEATURE_GRAD_MULT):
        model = hubert(config)
        super().__init__(model, model.encoder, config, feature_grad_mult)

    def blocks(
        self, x: torch.Tensor, valid: torch.Tensor | None, layers: int | None
    ) -> Iterator[torch.Tensor]:
        """The output of each block, (B, T, D)."""
        attend = None if valid is None else valid[:, None, None, :]
        # with dropout torch's attention on a CPU is a plain one, too, and looks for rows that are
        # masked whole: 4 % of a small model's step
        drops = self.training and self.config.attention_dropout > 0
        plain = drops and valid is None and x.device.type == "cpu"
        self.config._attn_implementation = "eager" if plain else "sdpa"
        for block in self.encoder.layers[:layers]:
            if not dropped(self, self.config.layerdrop):
                x = block(x, attention_mask=attend)
            yield x


def dropped(module: torch.nn.Module, layerdrop: float) -> bool:
    """Whether to skip a block (LayerDrop, Fan et al. 2020); drawn in training only."""
    return module.training and layerdrop > 0 and bool(torch.rand([]) < layerdrop)
