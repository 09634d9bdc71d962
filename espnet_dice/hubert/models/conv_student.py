"""A student of convolutions only: no attention, cost linear in the length."""

import torch
from torch.nn import functional

from espnet_dice.hubert.models.backbone import dropped
from espnet_dice.hubert.models.stem import FEATURE_GRAD_MULT, Stem, hubert
from espnet_dice.io.errors import ConfigError


class ConvBlock(torch.nn.Module):
    """Depthwise convolution, norm, two pointwise layers, residual (ConvNeXt, Liu et al. 2022)."""

    def __init__(self, width: int, inner: int, kernel_size: int, dropout: float):
        super().__init__()
        self.depthwise = torch.nn.Conv1d(
            width, width, kernel_size, padding=kernel_size // 2, groups=width
        )
        self.norm = torch.nn.LayerNorm(width)
        self.up = torch.nn.Linear(width, inner)
        self.down = torch.nn.Linear(inner, width)
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        """(B, T, D) → (B, T, D); behind an utterance's end the convolution sees zeros."""
        seen = x if valid is None else x * valid.unsqueeze(-1)
        y = self.depthwise(seen.transpose(1, 2)).transpose(1, 2)
        return x + self.dropout(self.down(functional.gelu(self.up(self.norm(y)))))


class ConvStudent(Stem):
    """HuBERT's stem before residual convolution blocks.

    Args:
        config: of the stem; its ``hidden_size`` is the width of the blocks.
        num_hidden_layers: blocks. They see ``num_hidden_layers * (kernel_size - 1) + 1`` frames.
        kernel_size: frames that a block sees; odd.
        intermediate_size: inner width; default four times the width.
        hidden_dropout: after each block.
        layerdrop: probability that a block is skipped in training.
        feature_grad_mult: factor on the gradient of the stem's convolutions; 0 freezes them.

    Attributes:
        dims: width of each hidden state.
    """

    def __init__(
        self,
        config,
        num_hidden_layers: int = 12,
        kernel_size: int = 31,
        intermediate_size: int | None = None,
        hidden_dropout: float = 0.1,
        layerdrop: float = 0.05,
        feature_grad_mult: float = FEATURE_GRAD_MULT,
    ):
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ConfigError(f"student_conf: kernel_size must be odd, not {kernel_size}")
        super().__init__(hubert(config), feature_grad_mult)
        width = config.hidden_size
        self.layerdrop = layerdrop
        self.blocks = torch.nn.ModuleList(
            ConvBlock(width, intermediate_size or 4 * width, kernel_size, hidden_dropout)
            for _ in range(num_hidden_layers)
        )
        self.norm = torch.nn.LayerNorm(width)
        self.dims = [width] * (num_hidden_layers + 1)

    def encode(
        self, x: torch.Tensor, valid: torch.Tensor | None, layers: int | None
    ) -> list[torch.Tensor]:
        """What each block gives; see :meth:`stem.Stem.forward`."""
        hidden = [x]
        for block in self.blocks[:layers]:
            if not dropped(self, self.layerdrop):
                x = block(x, valid)
            hidden.append(x)
        return hidden

    def final(self, x: torch.Tensor) -> torch.Tensor:
        """What a head takes from the last hidden state: its norm."""
        return self.norm(x)
