"""Hard and soft labels as losses of ESPnet's own SSL task.

    loss:
    -   name: dice_soft
        conf: {num_classes: 500, labels: exp/labels/train, tau: 5.0}

Labels come as data named ``text``, of type ``dice_labels`` (or ``dice_ids`` for ``dice_hard``). The
encoder, the masks and the crops are then ESPnet's, with what there is to say about them; the head
and the loss are those of :class:`model.DiceHubertModel`.
"""

from typing import Any

import torch
from espnet2.ssl.loss.abs_loss import AbsSSLLoss

from espnet_dice.dice import losses
from espnet_dice.dice.head import FINAL_DIM, TEMPERATURE, CosineHead
from espnet_dice.dice.loss_terms import SoftLabels, hard_ids
from espnet_dice.labels.targets import SOFT_TAU


class Hard(AbsSSLLoss):
    """``dice_hard``: Eq. 2 over masked frames.

    Args:
        encoder_output_size: width of the encoder; ESPnet gives it.
        num_classes: K.
        final_dim, temperature: of the head.
        layer: which of the encoder's outputs.
        codebook: which of the label store's.
    """

    def __init__(
        self,
        encoder_output_size: int,
        num_classes: int,
        final_dim: int = FINAL_DIM,
        temperature: float = TEMPERATURE,
        layer: int = -1,
        codebook: int = 0,
    ):
        super().__init__()
        self.util_attributes = ["mask"]
        self.required_inputs = [
            "encoder_output",
            "encoder_output_lengths",
            "text",
            "text_lengths",
            "mask_info",
        ]
        self.layer = layer
        self.codebook = codebook
        self.head = CosineHead(encoder_output_size, num_classes, final_dim, temperature)

    def forward(
        self,
        encoder_output: list[torch.Tensor],
        encoder_output_lengths: torch.Tensor | None = None,
        text: torch.Tensor | None = None,
        text_lengths: torch.Tensor | None = None,
        mask_info: dict[str, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Loss and statistics; ``sample_size``, the masked frames, is what ESPnet weights it by.

        Args:
            encoder_output: of each layer, (B, T, D).
            encoder_output_lengths: (B,).
            text: ids (B, T), of several codebooks (B, T, C), or records (B, T, W).
            text_lengths: (B,).
            mask_info: ``mask_m``, (B, T) bool, True where the encoder did not see the frame.
        """
        logits = self.head(encoder_output[self.layer])
        frames = min(logits.size(1), text.size(1))
        logits, text = logits[:, :frames], text[:, :frames]
        ends = text_lengths
        if encoder_output_lengths is not None:
            ends = torch.minimum(ends, encoder_output_lengths.to(ends))
        valid = torch.arange(frames, device=text.device) < ends[:, None]
        masked = mask_info["mask_m"][:, :frames].to(text.device) & valid
        # ESPnet pads labels with -1
        text = text.clamp(min=0)
        ids = hard_ids(text, self.codebook)
        loss = losses.weighted_mean(self.frame_losses(logits, text), masked.float())
        stats = {
            "loss_m": loss.detach(),
            "acc_m": losses.accuracy(logits, ids, masked),
            "acc_u": losses.accuracy(logits, ids, valid & ~masked),
            "sample_size": int(masked.sum()),
        }
        return loss, stats

    def frame_losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, T, K) logits and labels → (B, T)."""
        return losses.hard(logits, hard_ids(labels, self.codebook))


class Soft(Hard):
    """``dice_soft``: KL to the soft labels of Eq. 3 over masked frames.

    Args:
        labels: directory of the label store, for its codebook.
        tau: τ.
        kwargs: as for ``dice_hard``.
    """

    def __init__(
        self,
        encoder_output_size: int,
        num_classes: int,
        labels: str,
        tau: float = SOFT_TAU,
        **kwargs,
    ):
        super().__init__(encoder_output_size, num_classes, **kwargs)
        self.tau = tau
        self._soft = SoftLabels(labels)

    def frame_losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, T, K) logits and records (B, T, W) → (B, T)."""
        return losses.soft(logits, self._soft(labels, self.tau, self.codebook))
