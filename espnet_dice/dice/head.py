"""The prediction head: how like a frame is to each cluster's learned embedding."""

import torch
from torch.nn import functional

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
