"""How sure a model is of each token of a text, teacher-forced.

All of it is known without the right answer but ``p`` and ``p_noisy``, so the rest can warn in use.
"""

import torch

from espnet_dice.kd.variance import log_mean_softmax


def token_uncertainty(
    logits: torch.Tensor,
    variances: torch.Tensor | None,
    ids: torch.Tensor,
    n_samples: int = 50,
    generator: torch.Generator | None = None,
) -> dict[str, torch.Tensor]:
    """Measures of each step, (…,) each.

    Args:
        logits: f, (…, V).
        variances: σ², (…, V), or None.
        ids: the tokens of the text, (…,).
        n_samples: noise draws in p̂; 0 is softmax(f).
        generator: of the noise.

    Returns:
        ``p``: softmax(f) of the text's token; ``top``: the likeliest token; ``confidence``: its
        probability; ``entropy``: of softmax(f), in nats. With variances also ``p_noisy`` and
        ``confidence_noisy``, the same of p̂; ``variance``: mean of σ² over the V token types;
        ``variance_top``: σ² of the likeliest token.
    """
    log_probs = torch.log_softmax(logits, dim=-1)
    at = ids.unsqueeze(-1)
    best, top = log_probs.max(dim=-1)
    found = {
        "p": log_probs.gather(-1, at).squeeze(-1).exp(),
        "top": top,
        "confidence": best.exp(),
        "entropy": -(log_probs.exp() * log_probs).sum(-1),
    }
    if variances is None:
        return found
    noisy = log_mean_softmax(logits, variances, n_samples, generator)
    return found | {
        "p_noisy": noisy.gather(-1, at).squeeze(-1).exp(),
        "confidence_noisy": noisy.max(dim=-1).values.exp(),
        "variance": variances.mean(-1),
        "variance_top": variances.gather(-1, top.unsqueeze(-1)).squeeze(-1),
    }
