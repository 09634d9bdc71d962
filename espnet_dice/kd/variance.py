"""Aleatoric uncertainty of a token: variance head, noisy logits, their mean distribution.

Kim et al., "Multi-domain Knowledge Distillation via Uncertainty-Matching for End-to-End ASR
Models", Interspeech 2021, section 2.2; the noise model is Kendall & Gal, NeurIPS 2017, Eq. 12.
"""

import math

import torch

ACTIVATIONS = {
    "softplus": torch.nn.functional.softplus,
    "relu": torch.relu,
    "exp": torch.exp,
}

# sqrt has an infinite slope at 0, where ReLU puts its dead units
EPS = 1e-8


class VarianceHead(torch.nn.Module):
    """σ² = φ(W h + b): one variance per token type, from what the logits are made from.

    Args:
        input_size: size D of the representation before the logit layer.
        vocab_size: number V of token types.
        activation: φ, one of :data:`ACTIVATIONS`. The paper asks for any non-negative function and
            names ReLU, which can die at an exact 0; softplus is our default.
    """

    def __init__(self, input_size: int, vocab_size: int, activation: str = "softplus"):
        super().__init__()
        if activation not in ACTIVATIONS:
            names = ", ".join([*ACTIVATIONS, "none"])
            raise ValueError(f"variance must be one of {names}, not {activation!r}")
        self.linear = torch.nn.Linear(input_size, vocab_size)
        self.activation = activation

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(…, D) → (…, V) variances, ≥ 0."""
        return ACTIVATIONS[self.activation](self.linear(hidden))


def noisy_logits(
    logits: torch.Tensor, variances: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """g = f + σ ⊙ ε (Kendall & Gal 2017, Eq. 12; the KD paper names g only).

    Args:
        logits: f, (…, V).
        variances: σ², (…, V).
        noise: ε ~ N(0, I), (S, …, V).

    Returns:
        (S, …, V).
    """
    return logits + torch.sqrt(variances.clamp(min=EPS)) * noise


def log_mean_softmax(
    logits: torch.Tensor,
    variances: torch.Tensor | None,
    n_samples: int,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """log of the mean over S draws of softmax(f + σ ⊙ ε).

    The mean is of probabilities, taken as a log-mean-exp; the number of draws is open in the paper.

    Args:
        logits: f, (…, V).
        variances: σ², (…, V), or None for no noise.
        n_samples: S; 0 is log softmax(f).
        generator: where the noise comes from; the global one if None.

    Returns:
        (…, V), normalised over V.
    """
    if variances is None or n_samples == 0:
        return torch.log_softmax(logits, dim=-1)
    return log_mean(log_softmax_draws(logits, variances, n_samples, generator))


def log_softmax_draws(
    logits: torch.Tensor,
    variances: torch.Tensor,
    n_samples: int,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """log softmax(f + σ ⊙ ε) of S draws: arguments as of :func:`log_mean_softmax` → (S, …, V)."""
    noise = torch.randn(
        (n_samples, *logits.shape), generator=generator, device=logits.device, dtype=logits.dtype
    )
    return torch.log_softmax(noisy_logits(logits, variances, noise), dim=-1)


def log_mean(draws: torch.Tensor) -> torch.Tensor:
    """log of the mean distribution: log-probabilities (S, …, V) → (…, V)."""
    return torch.logsumexp(draws, dim=0) - math.log(len(draws))
