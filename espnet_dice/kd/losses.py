"""The distillation losses, each a pure function of tensors.

Kim et al., Interspeech 2021, section 2.3. The paper gives them in words; what it leaves open is an
option here. Sums run over the tokens of a batch that are not padding and are divided by ``denom``
(ESPnet's habit: the batch size, or the number of tokens where ``length_normalized_loss`` is set).
"""

import math

import torch

UNC_VECTORS = ("variance", "std", "log_variance")
UNC_NORMS = ("nmse", "l2", "mean", "standardize", "none")

FLOOR = 0.1
"""Noise vectors shorter than this count as this long where they are divided by.

A ReLU head says exactly 0, and a constant vector has no spread: a squared error relative to that
is infinite, and relative to a tiny number it hides every other loss. Noise of σ² = 0.1 on logits
moves a log-probability by σ²/2 = 0.05 nats. The length is the root mean square over V (or the mean,
or the standard deviation) in the vector's own unit.
"""
FLAT = FLOOR**2
"""Below this σ² the slopes of √ and log stay what they are here (5 and 100), down to a finite 0."""
HUGE = 1e3
"""Above this σ², where noise alone chooses the token, σ² counts as HUGE · (1 + log(σ² / HUGE)).

Squares of what an exp head can say have no float32; the slope falls and never is 0.
"""


def with_temperature(log_probs: torch.Tensor, temperature: float) -> torch.Tensor:
    """log softmax(log p / T): the distribution at another temperature. (…, V) → (…, V).

    For p = softmax(f) this is log softmax(f / T), since logits are known up to a constant.
    """
    if temperature == 1.0:
        return log_probs
    return torch.log_softmax(log_probs / temperature, dim=-1)


def soft_cross_entropy(
    student: torch.Tensor,
    teacher: torch.Tensor,
    valid: torch.Tensor,
    temperature: float = 1.0,
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """-Σ T² · p̂_T · log p_T over valid positions (token KD; CTC KD on frames).

    The one-hot target of the cross-entropy is replaced by the teacher's distribution. T = 1 is the
    literal reading of the paper; T² keeps the gradient's size (Hinton et al. 2015).

    Args:
        student: log p, (B, L, V).
        teacher: log p̂, (B, L, V), without gradient.
        valid: (B, L) bool; what is False never contributes.
        temperature: T > 0.
        weight: of each position, (B, L); None is 1.

    Returns:
        Scalar, the sum over valid positions.
    """
    student = with_temperature(student, temperature)
    # a NaN in padding would come back as NaN · 0 in the gradient
    teacher = teacher.masked_fill(~valid.unsqueeze(-1), 0.0)
    teacher = with_temperature(teacher, temperature).exp()
    per_token = -(teacher * student).sum(dim=-1)
    if weight is not None:
        per_token = per_token * weight
    return temperature**2 * per_token.masked_fill(~valid, 0.0).sum()


def uncertainty_vector(variances: torch.Tensor, vector: str = "variance") -> torch.Tensor:
    """The token-level noise vector that is matched: σ², σ or log σ² (open in the paper).

    Exact for σ² from :data:`FLAT` to :data:`HUGE` (σ² itself: from 0); beyond, finite and rising.
    """
    most = torch.finfo(variances.dtype).max
    x = variances.clamp(max=HUGE) + HUGE * torch.log(variances.clamp(HUGE, most) / HUGE)
    below = x.clamp(max=FLAT) - FLAT
    if vector == "variance":
        return x
    if vector == "std":
        return torch.sqrt(x.clamp(min=FLAT)) + below / (2 * FLAT**0.5)
    if vector == "log_variance":
        return torch.log(x.clamp(min=FLAT)) + below / FLAT
    raise ValueError(f"unc_vector must be one of {UNC_VECTORS}, not {vector!r}")


def uncertainty_matching(
    student: torch.Tensor,
    teacher: torch.Tensor,
    valid: torch.Tensor,
    vector: str = "variance",
    norm: str = "nmse",
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Σ over valid tokens of the normalised squared error of the noise vectors s and t.

    The paper says "normalised MSE" and no more. ``norm`` chooses:

    - ``nmse``: |s - t|² / |t|²
    - ``l2``: |s/|s| - t/|t||²
    - ``mean``: mean over V of (s/mean(s) - t/mean(t))²
    - ``standardize``: mean over V of (z(s) - z(t))², z = zero mean, unit variance over V
    - ``none``: mean over V of (s - t)²

    A divisor below :data:`FLOOR` is :data:`FLOOR`. Computed in float32 at least.

    Args:
        student: σ², (B, L, V).
        teacher: σ², (B, L, V), without gradient.
        valid: (B, L) bool; what is False never contributes.
        vector: see :func:`uncertainty_vector`.
        norm: as above.
        weight: of each token, (B, L); None is 1.

    Returns:
        Scalar, the sum over valid tokens.
    """
    # padding may hold anything; ones keep its gradient finite before it is masked away
    keep = valid.unsqueeze(-1)
    dtype = torch.promote_types(student.dtype, torch.float32)
    s, t = (
        uncertainty_vector(torch.where(keep, x, torch.ones_like(x)).to(dtype), vector)
        for x in (student, teacher)
    )
    if norm == "nmse":
        per_token = ((s - t) / _length(t)).square().mean(-1)
    elif norm == "l2":
        per_token = (s / _length(s) - t / _length(t)).square().mean(-1)
    elif norm == "mean":
        per_token = (_over_mean(s) - _over_mean(t)).square().mean(-1)
    elif norm == "standardize":
        per_token = (_standardize(s) - _standardize(t)).square().mean(-1)
    elif norm == "none":
        per_token = (s - t).square().mean(-1)
    else:
        raise ValueError(f"unc_norm must be one of {UNC_NORMS}, not {norm!r}")
    if weight is not None:
        per_token = per_token * weight
    return per_token.masked_fill(~valid, 0.0).sum()


def mix(
    first: torch.Tensor, second: torch.Tensor, weight: float, convex: bool = True
) -> torch.Tensor:
    """(1 - w)·first + w·second, or first + w·second; exactly ``first`` at w = 0.

    Used for L from L_NLL and L_KD (w = α) and for L_KD from L_tok and L_unc (w = β). Whether the
    paper's weighting is convex is open.
    """
    if weight == 0.0:
        return first
    if not convex:
        return first + weight * second
    if weight == 1.0:
        return second
    return (1.0 - weight) * first + weight * second


def over_teachers(losses: list[torch.Tensor], weights: list[float]) -> torch.Tensor:
    """Σ_k r_k · L_k over teachers k. Scalars in, scalar out."""
    return sum(r * loss for r, loss in zip(weights, losses, strict=True))


def certainty_weights(
    teachers: list[torch.Tensor], weights: list[float], valid: torch.Tensor
) -> list[torch.Tensor]:
    """r_k of each token, larger for the teacher that is surer of it (ours).

    r_k(t) = r_k c_k(t) / Σ_j r_j c_j(t), c = 1 - H(p̂) / log V: one less the
    normalised entropy.
    Where no teacher is sure of anything (c below 1e-6) they weigh r_k.

    Args:
        teachers: log p̂ of each, (B, L, V).
        weights: r_k.
        valid: (B, L) bool; elsewhere the weights are r_k.

    Returns:
        (B, L) for each teacher; they sum to Σ r_k = 1.
    """
    shares = []
    for log_probs, r in zip(teachers, weights, strict=True):
        # what is padded may be NaN; a uniform distribution is none
        uniform = -math.log(log_probs.size(-1))
        log_probs = log_probs.masked_fill(~valid.unsqueeze(-1), uniform)
        entropy = torch.special.entr(log_probs.exp()).sum(-1)
        certainty = 1 + entropy / uniform
        shares.append(r * certainty.clamp(min=1e-6))
    total = sum(shares)
    return [share / total for share in shares]


def _length(x: torch.Tensor) -> torch.Tensor:
    """Root mean square over V, at least FLOOR."""
    return torch.sqrt(x.square().mean(dim=-1, keepdim=True).clamp(min=FLOOR**2))


def _over_mean(x: torch.Tensor) -> torch.Tensor:
    mean = x.mean(dim=-1, keepdim=True)
    floor = torch.where(mean < 0, -FLOOR, FLOOR)
    return x / torch.where(mean.abs() < FLOOR, floor, mean)


def _standardize(x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / _length(centred)
