"""Linear maps and norms fitted to what they are to say, for :mod:`~espnet_dice.dice.cut`."""

from collections.abc import Iterable

import torch
from torch.nn import functional

RIDGE = 1e-3
"""Of a regression: the mean of its inputs' variances times this is added to each."""


def fitted(linear: torch.nn.Linear, x: torch.Tensor, y: torch.Tensor) -> torch.nn.Linear:
    """A linear map, given its ridge regression from x to y, (frames, values) each."""
    weight, bias = solved([(x, y)])
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)
    return linear


def solved(
    parts: Iterable[tuple[torch.Tensor, torch.Tensor]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a ridge regression; x may have some frames more than y at its end."""
    n, sums, square, product = 0, (0, 0), 0, 0
    for x, y in parts:
        x, y = x[: len(y)].double(), y.double()
        n, sums = n + len(y), (sums[0] + x.sum(0), sums[1] + y.sum(0))
        square, product = square + x.T @ x, product + x.T @ y
    means = sums[0] / n, sums[1] / n
    square = square - n * torch.outer(means[0], means[0])
    square += RIDGE * square.trace() / len(square) * eye(square)
    weight = torch.linalg.solve(square, product - n * torch.outer(*means)).T
    return weight, means[1] - weight @ means[0]


def normed(norm: torch.nn.LayerNorm, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The norm of x, its gain and offset of each value fitted to y, (frames, values) each."""
    plain = functional.layer_norm(x, norm.normalized_shape, eps=norm.eps)
    apart = plain - plain.mean(0)
    gain = (apart * (y - y.mean(0))).mean(0) / apart.square().mean(0).clamp(min=norm.eps)
    norm.weight.copy_(gain)
    norm.bias.copy_(y.mean(0) - gain * plain.mean(0))
    return norm(x)


def put(linear: torch.nn.Linear, outputs: slice, values: torch.Tensor) -> None:
    """Give some outputs of a linear map their weights and, in the last column, their biases."""
    linear.weight[outputs] = values[:, :-1].float()
    linear.bias[outputs] = values[:, -1].float()


def windows(x: torch.Tensor, conv: torch.nn.Conv1d) -> torch.Tensor:
    """(1, C, T) → (T', C k): what a convolution multiplies with its flattened weights."""
    padded = functional.pad(x, (conv.padding[0],) * 2)
    parts = padded.unfold(2, conv.kernel_size[0], conv.stride[0])
    return parts[0].transpose(0, 1).flatten(1)


def most(says: torch.Tensor, n: int) -> torch.Tensor:
    """The n units that say most, in order; of equal ones the first."""
    return says.argsort(descending=True, stable=True)[:n].sort().values


def share(x: torch.Tensor, y: torch.Tensor) -> float:
    """The share of y's variance that x has, (frames, values) each."""
    return float(1 - (x - y).square().sum() / (y - y.mean(0)).square().sum())


def rows(states: Iterable[torch.Tensor]) -> torch.Tensor:
    """(1, T, D) each → (frames, D)."""
    return torch.cat([x[0] for x in states])


def eye(square: torch.Tensor) -> torch.Tensor:
    """The identity of a square matrix's size and dtype."""
    return torch.eye(len(square), dtype=square.dtype)
