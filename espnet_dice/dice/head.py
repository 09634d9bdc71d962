"""Prediction heads: the paper's cosine similarity to each cluster's embedding, and a plain one."""

from collections.abc import Iterable

import torch
from torch.nn import functional

from espnet_dice.io.errors import ConfigError

FINAL_DIM, TEMPERATURE = 256, 0.1


class CosineHead(torch.nn.Module):
    """Logits of the K clusters: cos(W x, e_k) / 0.1 (HuBERT, Hsu et al. 2021, Eq. 3).

    Both sides are normalised first, so that one matrix product does: nothing of the size
    frames × K × final_dim exists.

    Args:
        dim: width of the student's last layer.
        n_clusters: K.
        final_dim: of the common space. The paper does not give the student's; 256 is HuBERT's.
        temperature: what similarities are divided by.
    """

    def __init__(
        self,
        dim: int,
        n_clusters: int,
        final_dim: int = FINAL_DIM,
        temperature: float = TEMPERATURE,
    ):
        super().__init__()
        self.temperature = temperature
        self.project = torch.nn.Linear(dim, final_dim)
        self.embeddings = torch.nn.Parameter(torch.empty(n_clusters, final_dim))
        torch.nn.init.uniform_(self.embeddings)  # as fairseq does

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, dim) → (…, K) logits in float32.

        bfloat16 would round similarities of 1 / 0.1 = 10 to steps of 0.06, so autocast ends here;
        the product is small beside the student.
        """
        projected = self.project(x)
        with torch.autocast(projected.device.type, enabled=False):
            frames = functional.normalize(projected.float(), dim=-1)
            clusters = functional.normalize(self.embeddings.float(), dim=-1)
            return functional.linear(frames, clusters) / self.temperature


class LinearHead(torch.nn.Linear):
    """Logits of the K clusters: W x + b, for a plain cross-entropy.

    Not the paper's: MelHuBERT (arXiv 2211.09944) and Fast-HuBERT have it, the former with better
    results at little data.

    Args:
        dim: width of the student's layer.
        n_clusters: K.
    """

    def __init__(self, dim: int, n_clusters: int):
        super().__init__(dim, n_clusters)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, dim) → (…, K) logits in float32, also under autocast (see :class:`CosineHead`)."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


HEADS = ("cosine", "linear")


def build(
    kind: str,
    dim: int,
    n_clusters: int,
    final_dim: int = FINAL_DIM,
    temperature: float = TEMPERATURE,
) -> torch.nn.Module:
    """A head.

    Args:
        kind: ``cosine`` or ``linear``.
        dim, n_clusters, final_dim, temperature: see :class:`CosineHead`; the last two mean nothing
            to ``linear``.

    Raises:
        ConfigError: another kind.
    """
    check(kind)
    if kind == "linear":
        return LinearHead(dim, n_clusters)
    return CosineHead(dim, n_clusters, final_dim, temperature)


def check(kind: str, lr_factor: float = 1.0) -> None:
    """Refuse a kind of head that does not exist, or one that learns nothing.

    Raises:
        ConfigError: naming the key.
    """
    if kind not in HEADS:
        raise ConfigError(f"model_conf: head must be one of {', '.join(HEADS)}, not {kind!r}")
    if not lr_factor > 0:
        raise ConfigError(f"model_conf: head_lr_factor must be > 0, not {lr_factor}")


def set_apart(
    optimizer: torch.optim.Optimizer, parameters: Iterable[torch.nn.Parameter], factor: float
) -> None:
    """Give some of an optimizer's parameters groups with ``factor`` times the learning rate.

    A factor on the gradient would do nothing under Adam, which divides by the gradient's size.
    """
    chosen = {id(p) for p in parameters}
    for group in list(optimizer.param_groups):
        own = [p for p in group["params"] if id(p) in chosen]
        if own:
            group["params"] = [p for p in group["params"] if id(p) not in chosen]
            optimizer.add_param_group({**group, "params": own, "lr": factor * group["lr"]})
