"""What a batch's teachers cost a student: token KD, uncertainty matching, KD on the CTC branch.

Kim et al., Interspeech 2021, section 2.3, summed over teachers k with weights r_k.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from espnet_dice.kd import losses
from espnet_dice.kd.teachers import Targets, Teacher, ctc_pair


@dataclass(frozen=True)
class Taught:
    """The options of the three losses, which are scalars: sums over what is valid.

    Attributes:
        teachers: with their weights r_k.
        by_certainty: see :func:`losses.certainty_weights`; else the weights are r_k.
        temperature: T of token KD and of KD on the CTC branch.
        vector, norm: of :func:`losses.uncertainty_matching`.
    """

    teachers: Sequence[Teacher]
    by_certainty: bool
    temperature: float
    vector: str
    norm: str

    def tokens(
        self, log_probs: torch.Tensor, found: list[Targets], valid: torch.Tensor
    ) -> torch.Tensor:
        """Token KD: the student's log p, (B, L, V), and its valid tokens, (B, L)."""
        theirs = [t.log_probs for t in found]
        by_token, weights = self._weights(theirs, valid)
        each = [
            losses.soft_cross_entropy(log_probs, t, valid, self.temperature, w)
            for t, w in zip(theirs, by_token, strict=True)
        ]
        return losses.over_teachers(each, weights)

    def uncertainty(
        self, variances: torch.Tensor, found: list[Targets], valid: torch.Tensor
    ) -> torch.Tensor:
        """Uncertainty matching: the student's σ², (B, L, V), and its valid tokens, (B, L)."""
        by_token, weights = self._weights([t.log_probs for t in found], valid)
        each = [
            losses.uncertainty_matching(variances, t.variances, valid, self.vector, self.norm, w)
            for t, w in zip(found, by_token, strict=True)
        ]
        return losses.over_teachers(each, weights)

    def frames(
        self, log_probs: torch.Tensor, lengths: torch.Tensor, found: list[Targets]
    ) -> torch.Tensor:
        """KD on the CTC branch: the student's log posteriors, (B, T', V), and its frames, (B,).

        Raises:
            DataError: a teacher has another frame rate.
        """
        pairs = [
            ctc_pair(log_probs, lengths, target, teacher)
            for target, teacher in zip(found, self.teachers, strict=True)
        ]
        n = min(valid.size(1) for *_, valid in pairs)
        pairs = [tuple(x[:, :n] for x in pair) for pair in pairs]
        valid = torch.stack([v for *_, v in pairs]).all(0)
        by_frame, weights = self._weights([theirs for _, theirs, _ in pairs], valid)
        each = [
            losses.soft_cross_entropy(*pair, self.temperature, w)
            for pair, w in zip(pairs, by_frame, strict=True)
        ]
        return losses.over_teachers(each, weights)

    def _weights(self, log_probs, valid) -> tuple[list, list[float]]:
        """Weights of each position, or None, and of each teacher: their products sum to 1."""
        fixed = [t.weight for t in self.teachers]
        if not self.by_certainty:
            return [None] * len(fixed), fixed
        return losses.certainty_weights(log_probs, fixed, valid), [1.0] * len(fixed)
