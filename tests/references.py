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


def token_kd(student, teacher, lengths, temperature):
    """-T² Σ p̂_T log p_T; student, teacher: probabilities (B, L, V)."""
    total = 0.0
    for b, n in enumerate(lengths):
        for i in range(n):
            p = student[b, i] ** (1 / temperature)
            q = teacher[b, i] ** (1 / temperature)
            p, q = p / p.sum(), q / q.sum()
            total -= sum(q[v] * math.log(p[v]) for v in range(len(p)))
    return temperature**2 * total


def uncertainty_matching(student, teacher, lengths, vector, norm):
    """student, teacher: variances (B, L, V)."""
    to_vector = {"variance": lambda x: x, "std": np.sqrt, "log_variance": np.log}[vector]
    total = 0.0
    for b, n in enumerate(lengths):
        for i in range(n):
            s, t = to_vector(student[b, i]), to_vector(teacher[b, i])
            if norm == "nmse":
                total += sum((s - t) ** 2) / sum(t**2)
            elif norm == "l2":
                s, t = s / math.sqrt(sum(s**2)), t / math.sqrt(sum(t**2))
                total += sum((s - t) ** 2)
            elif norm == "mean":
                total += np.mean((s / np.mean(s) - t / np.mean(t)) ** 2)
            elif norm == "standardize":
                s, t = (s - s.mean()) / s.std(), (t - t.mean()) / t.std()
                total += np.mean((s - t) ** 2)
            else:
                total += np.mean((s - t) ** 2)
    return total


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
