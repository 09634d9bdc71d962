"""Plain, slow float64 references that nobody tunes: loops over the equations as printed."""

import math

import numpy as np


def softmax(x):
    e = [math.exp(v - max(x)) for v in x]
    return np.array([v / sum(e) for v in e])


def mean_softmax(logits, variances, noise):
    """(V,), (V,), (S, V): mean over draws of softmax(f + σ ε)."""
    draws = [softmax(logits + np.sqrt(variances) * eps) for eps in noise]
    return np.mean(draws, axis=0)


def certainty_weights(teachers, weights):
    """r_k (1 - H_k / log V), over their sum; teachers: probabilities of one token, (V,) each."""
    shares = []
    for probs, r in zip(teachers, weights, strict=True):
        entropy = -sum(p * math.log(p) for p in probs if p > 0)
        shares.append(r * max(1 - entropy / math.log(len(probs)), 1e-6))
    return [s / sum(shares) for s in shares]


def token_kd(student, teacher, lengths, temperature, weight=None):
    """-T² Σ w p̂_T log p_T; student, teacher: probabilities (B, L, V); weight: (B, L) or 1."""
    total = 0.0
    for b, n in enumerate(lengths):
        for i in range(n):
            p = student[b, i] ** (1 / temperature)
            q = teacher[b, i] ** (1 / temperature)
            p, q = p / p.sum(), q / q.sum()
            w = 1.0 if weight is None else weight[b, i]
            total -= w * sum(q[v] * math.log(p[v]) for v in range(len(p)))
    return temperature**2 * total


def uncertainty_matching(student, teacher, lengths, vector, norm):
    """student, teacher: variances (B, L, V)."""
    total = 0.0
    for b, n in enumerate(lengths):
        for i in range(n):
            s, t = (
                np.array([noise_entry(float(x), vector) for x in y[b, i]])
                for y in (student, teacher)
            )
            if norm == "nmse":
                total += sum((s - t) ** 2) / max(sum(t**2), 0.1**2 * len(t))
            elif norm == "l2":
                s, t = (x / max(math.sqrt(sum(x**2)), 0.1 * math.sqrt(len(x))) for x in (s, t))
                total += sum((s - t) ** 2)
            elif norm == "mean":
                s, t = (
                    x / (x.mean() if abs(x.mean()) > 0.1 else -0.1 if x.mean() < 0 else 0.1)
                    for x in (s, t)
                )
                total += np.mean((s - t) ** 2)
            elif norm == "standardize":
                s, t = ((x - x.mean()) / max(x.std(), 0.1) for x in (s, t))
                total += np.mean((s - t) ** 2)
            else:
                total += np.mean((s - t) ** 2)
    return total


def noise_entry(x, vector):
    """σ², σ or log σ²; logarithmic above 1000, a tangent below 0.01 for σ and log σ²."""
    if x > 1e3:
        x = 1e3 * (1 + math.log(x / 1e3))
    if vector == "variance":
        return x
    if vector == "std":
        return math.sqrt(x) if x > 0.01 else 0.1 + (x - 0.01) * 5
    return math.log(x) if x > 0.01 else math.log(0.01) + (x - 0.01) * 100


def smoothed_nll(log_probs, tokens, lengths, smoothing):
    """Σ KL(smoothed one-hot ‖ p) / B, ESPnet's label smoothing over V - 1 other tokens."""
    total = 0.0
    n_batch, _, n_vocab = log_probs.shape
    for b, n in enumerate(lengths):
        for i in range(n):
            target = np.full(n_vocab, smoothing / (n_vocab - 1))
            target[tokens[b][i]] = 1 - smoothing
            for v in range(n_vocab):
                if target[v] > 0:
                    total += target[v] * (math.log(target[v]) - log_probs[b, i, v])
    return total / n_batch
