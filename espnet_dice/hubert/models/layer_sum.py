"""A learned weighted sum of a frozen model's layers."""

import torch


class LayerSum(torch.nn.Module):
    """Σ_l softmax(w)_l x_l with w learned, as in SUPERB (Yang et al. 2021).

    Args:
        layers: how many there are; each weighs the same at first.
    """

    def __init__(self, layers: int):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(layers))

    def shares(self) -> torch.Tensor:
        """Weight of each layer, (L,), 1 together."""
        return torch.softmax(self.weights, 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(L, …, D) → (…, D)."""
        return (self.shares() @ x.flatten(1)).view(x.shape[1:])
