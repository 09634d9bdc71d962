"""What hard labels are worth: how evenly clusters are used, and what they know of phones.

Purity and PNMI as HuBERT has them (Hsu et al. 2021, arXiv 2106.07447, section V-C).
"""

import numpy as np


def perplexity(counts: np.ndarray) -> float:
    """exp of the entropy of cluster use: K where all are used alike, 1 where one has it all.

    Args:
        counts: frames of each cluster, (K,).
    """
    p = counts[counts > 0] / counts.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def agreement(joint: np.ndarray) -> dict[str, float]:
    """Phone purity, cluster purity, and PNMI = I(phone; cluster) / H(phone).

    Args:
        joint: frames of each phone (or character) in each cluster, (phones, K).

    Returns:
        ``phone_purity``: share of frames whose phone is their cluster's most frequent one;
        ``cluster_purity``: the other way round; ``pnmi``: share of the phones' entropy that the
        cluster takes away, 1 where there is but one phone.
    """
    p = joint / joint.sum()
    phones, clusters = p.sum(1, keepdims=True), p.sum(0, keepdims=True)
    some = p > 0
    information = (p[some] * np.log(p[some] / (phones * clusters)[some])).sum()
    q = phones[phones > 0]
    entropy = -(q * np.log(q)).sum()
    return {
        "phone_purity": float(p.max(0).sum()),
        "cluster_purity": float(p.max(1).sum()),
        "pnmi": float(information / entropy) if entropy > 0 else 1.0,
    }
