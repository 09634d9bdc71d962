"""The losses of DiceHuBERT and of what it is compared with, each a pure function of tensors.

Chi et al., Interspeech 2025 (arXiv 2507.02911). The label losses give one value a frame; which
frames count, and how much, is said by weights: masked 1 and unmasked 0 in the paper.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional


def _wide(x: torch.Tensor) -> torch.Tensor:
    """At least float32: half precision would lose the small terms of a sum over K clusters."""
    return x if x.dtype == torch.float64 else x.float()


def hard(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """-log p(z_t | X̃, t), the terms of Eq. 2.

    Args:
        logits: of the student, (…, K).
        ids: the nearest centroid of each frame, (…), int64.

    Returns:
        (…).
    """
    values = functional.cross_entropy(_wide(logits).flatten(0, -2), ids.flatten(), reduction="none")
    return values.view(ids.shape)


def soft_labels(distances: torch.Tensor, tau: float) -> torch.Tensor:
    """log p(i | H) = log softmax_i(-ρ(H, H_i) / τ), Eq. 3.

    Args:
        distances: ρ, L2 and not squared, (…, K).
        tau: τ > 0.
    """
    return torch.log_softmax(_wide(distances) / -tau, dim=-1)


def soft(logits: torch.Tensor, log_labels: torch.Tensor) -> torch.Tensor:
    """KL(soft label ‖ student) of each frame; the student's own temperature stays as it is.

    Args:
        logits: of the student, (…, K).
        log_labels: log p of Eq. 3, (…, K), without gradient.

    Returns:
        (…), in nats.
    """
    log_probs = torch.log_softmax(_wide(logits), dim=-1)
    return (log_labels.exp() * (log_labels - log_probs)).sum(-1)


def feature(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """MSE(H^T_l, H^S_l W_l) of each frame, one layer's share of Eq. 1.

    Args:
        student: H^S_l W_l, already of the teacher's width, (…, D_T).
        teacher: H^T_l, (…, D_T), without gradient.

    Returns:
        (…): the mean over the D_T dimensions.
    """
    return (_wide(student) - _wide(teacher)).square().mean(-1)


def features_pen(squares: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The L2 penalty on the convolutions' output: the mean square over frames and channels.

    HuBERT's own recipe adds it to the loss (fairseq: ``features_pen`` of ``HubertModel``, times
    ``loss_weights`` of ``HubertCriterion``). It is taken before norm and projection, and its
    gradient is multiplied by ``feature_grad_mult``. Padding is no frame.

    Args:
        squares: (sum of squares, number of values) of each part of a batch
            (:func:`espnet_dice.hubert.models.stem.squares`).

    Returns:
        A scalar.
    """
    return sum(total for total, _ in squares) / sum(number for _, number in squares)


def frame_weights(
    mask: torch.Tensor, valid: torch.Tensor | None, masked: float = 1.0, unmasked: float = 0.0
) -> torch.Tensor:
    """How much each frame counts.

    Args:
        mask: (B, T) bool, True where the student did not see the frame.
        valid: (B, T) bool, False where there is padding; None if there is none.
        masked, unmasked: weights of the two kinds.

    Returns:
        (B, T) float32.
    """
    weights = torch.where(mask, float(masked), float(unmasked))
    return weights if valid is None else weights * valid


def weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Σ w v / Σ w; 0 where no frame counts."""
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1.0)


def accuracy(logits: torch.Tensor, ids: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Share of the frames in ``where`` whose likeliest cluster is the label; NaN if there is none.

    Args:
        logits: (…, K).
        ids: (…).
        where: (…) bool.
    """
    right = (logits.argmax(-1) == ids) & where
    return right.sum() / where.sum()
