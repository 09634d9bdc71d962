"""The terms of a training loss, by the names that configs give them: ``dice_hard`` and so on.

A term holds what a loss needs beside the batch (a codebook, a frozen teacher, projections) and
calls the pure functions of :mod:`losses`. Codebook and teacher are loaded at first use and are no
part of the state dict, so a trained student is built without either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from espnet_dice.dice import losses
from espnet_dice.dice.teacher_cache import TeacherCache
from espnet_dice.io.errors import ConfigError
from espnet_dice.labels.targets import SOFT_TAU


@dataclass(frozen=True)
class StudentOutputs:
    """A batch and what the student made of it.

    Attributes:
        speech: (B, S).
        lengths: samples of each utterance, (B,), or None where all are equal.
        hidden: the student's states, [0] the input of block 1, [l] after block l.
        weights: how much each frame counts in a label loss, (B, T).
        valid: (B, T) bool, or None where there is no padding.
        predicted: of each head, which codebook it predicts, and its logits (B, T, K); empty
            without label losses.
        labels: (B, T) ids of one codebook, (B, T, C) of several, (B, T, W) records, or None.
    """

    speech: torch.Tensor
    lengths: torch.Tensor | None
    hidden: list[torch.Tensor]
    weights: torch.Tensor
    valid: torch.Tensor | None
    predicted: Sequence[tuple[int, torch.Tensor]] = ()
    labels: torch.Tensor | None = None

    def ids(self, codebook: int) -> torch.Tensor:
        """The hard labels of a codebook, (B, T) int64."""
        return hard_ids(self.labels, codebook)


def hard_ids(labels: torch.Tensor, codebook: int = 0) -> torch.Tensor:
    """(B, T) ids, (B, T, C) of several codebooks, or (B, T, W) records → (B, T) int64.

    The first columns of a record are the hard labels.
    """
    return (labels if labels.dim() == 2 else labels[..., codebook]).long()


@dataclass(frozen=True)
class LossContext:
    """What a term may be built from.

    Attributes:
        dims: widths of the student's states.
        store: directory of the training labels, or None.
        teacher: source of the teacher that runs beside the student, or None.
        normalized: whether waveforms come with mean 0 and variance 1.
    """

    dims: Sequence[int]
    store: str | None = None
    teacher: str | None = None
    normalized: bool = False


class Hard(torch.nn.Module):
    """``dice_hard``: -log p(z_t) over masked frames (Eq. 2), the mean over heads."""

    from_labels = True

    def __init__(self, context: LossContext):
        super().__init__()

    def forward(self, seen: StudentOutputs) -> torch.Tensor:
        """The loss, a scalar."""
        found = [
            losses.weighted_mean(losses.hard(logits, seen.ids(codebook)), seen.weights)
            for codebook, logits in seen.predicted
        ]
        return torch.stack(found).mean()


class Soft(torch.nn.Module):
    """``dice_soft``: KL to the soft label of Eq. 3 over masked frames, the mean over heads.

    Args:
        tau: temperature τ of the labels. The paper's ablation has 1, 5 and 10.
    """

    from_labels = True

    def __init__(self, context: LossContext, tau: float = SOFT_TAU):
        super().__init__()
        if not tau > 0:
            raise ConfigError(f"loss: dice_soft: tau must be > 0, not {tau}")
        self.tau = tau
        self._soft = SoftLabels(context.store)

    def forward(self, seen: StudentOutputs) -> torch.Tensor:
        """The loss, a scalar in nats."""
        found = [
            losses.weighted_mean(
                losses.soft(logits, self._soft(seen.labels, self.tau, codebook)), seen.weights
            )
            for codebook, logits in seen.predicted
        ]
        return torch.stack(found).mean()


class SoftLabels:
    """Soft labels from a store's records and its codebooks, which are read at first use."""

    def __init__(self, store: str | None):
        self._store = store
        self._tables: list[dict[str, torch.Tensor]] = []

    def __call__(self, records: torch.Tensor, tau: float, codebook: int = 0) -> torch.Tensor:
        """Records (…, W) → log p(i | H) of a codebook, (…, K)."""
        from espnet_dice.labels import codebooks, codec

        tables = self._on(records.device)
        own = codebooks.own_records(records, tables, codebook)
        return losses.soft_labels(codec.distances(own, tables[codebook]), tau)

    def _on(self, device: torch.device) -> list[dict[str, torch.Tensor]]:
        if not self._tables:
            from espnet_dice.labels.store import Reader

            if self._store is None:
                raise ConfigError("dice_soft needs the label store's directory (--labels)")
            self._tables = [book.as_dict() for book in Reader(self._store).codebook.books]
        if self._tables[0]["own_step"].device != device:
            self._tables = [{k: t.to(device) for k, t in one.items()} for one in self._tables]
        return self._tables


class Feature(torch.nn.Module):
    """``dice_feature``: Σ_l α_l · MSE(H^T_l, H^S_l W_l) over all frames (Eq. 1).

    The teacher hears what the student hears, unmasked. Which layers are matched, and α_l, the paper
    leaves open: every block of the student has the teacher's block at the same relative height,
    with α_l = 1 / pairs.

    Args:
        layers: pairs [student's block, teacher's block], 1-based, 0 being the input of block 1.
        alphas: α_l of each pair.
        teacher_dim: D_T; asked of the teacher where it is not given.
        keep_gb: memory for what the teacher has said of crops that come back, on a CPU only; see
            :mod:`teacher_cache`. 0 keeps nothing.
    """

    from_labels = False

    def __init__(
        self,
        context: LossContext,
        layers: Sequence[Sequence[int]] | None = None,
        alphas: Sequence[float] | None = None,
        teacher_dim: int | None = None,
        keep_gb: float = 0.0,
    ):
        super().__init__()
        self._context = context
        self._teacher: list[Any] = []  # in a list, so that it is no part of this module
        if keep_gb < 0:
            raise ConfigError(f"loss: dice_feature: keep_gb must be ≥ 0, not {keep_gb:g}")
        self._keep = int(keep_gb * 1e9)
        self._cache: TeacherCache | None = None
        if layers is None or teacher_dim is None:
            teacher = self._load("cpu")
            teacher_dim = teacher.dim
            layers = layers or matched_layers(len(context.dims) - 1, teacher.layers)
            _check_layers(layers, len(context.dims) - 1, teacher.layers)
        self.layers = [(int(s), int(t)) for s, t in layers]
        self.alphas = list(alphas) if alphas else [1 / len(self.layers)] * len(self.layers)
        if len(self.alphas) != len(self.layers):
            raise ConfigError(
                f"loss: dice_feature: {len(self.alphas)} alphas for {len(self.layers)} layers"
            )
        self.teacher_dim = teacher_dim
        self.projections = torch.nn.ModuleList(
            torch.nn.Linear(context.dims[s], teacher_dim, bias=False) for s, _ in self.layers
        )

    def resolved(self) -> dict[str, Any]:
        """What must stand in a config for this module to be built without its teacher."""
        layers = [list(pair) for pair in self.layers]
        return {"layers": layers, "alphas": self.alphas, "teacher_dim": self.teacher_dim}

    def forward(self, seen: StudentOutputs) -> torch.Tensor:
        """The loss, a scalar."""
        wanted = self._wanted(seen.speech, seen.lengths)
        weights = torch.ones_like(seen.weights) if seen.valid is None else seen.valid.float()
        total = seen.speech.new_zeros(())
        for (s, t), alpha, project in zip(self.layers, self.alphas, self.projections, strict=True):
            values = losses.feature(project(seen.hidden[s]), wanted[t])
            total = total + alpha * losses.weighted_mean(values, weights)
        return total

    @torch.no_grad()
    def _wanted(
        self, speech: torch.Tensor, lengths: torch.Tensor | None
    ) -> Sequence[torch.Tensor] | dict[int, torch.Tensor]:
        teacher = self._load(speech.device)
        layers = [t for _, t in self.layers]
        if not self._keep or speech.device.type != "cpu":
            return teacher(speech, lengths, layers=max(layers))
        if self._cache is None:
            self._cache = TeacherCache(
                lambda wave: teacher.hidden([wave], max(layers))[0], layers, self._keep
            )
        return self._cache(speech, lengths)

    def _load(self, device: torch.device | str) -> Any:
        if not self._teacher:
            source = self._context.teacher
            if source is None:
                raise ConfigError("dice_feature needs a teacher (--teacher)")
            from espnet_dice.hubert import frozen

            loaded = frozen.load(source)
            if self._context.normalized and not loaded.normalize:
                raise ConfigError(
                    f"collate_fn_conf: normalize: the teacher {source} hears waveforms as they "
                    "are: set it to false"
                )
            self._teacher.append(loaded)
        return self._teacher[0].to(device)


TERMS = {"dice_hard": Hard, "dice_soft": Soft, "dice_feature": Feature}


def matched_layers(student: int, teacher: int) -> list[list[int]]:
    """Pairs of blocks at the same relative height, the last with the last.

    Args:
        student, teacher: numbers of blocks.
    """
    return [[s, max(1, round(s * teacher / student))] for s in range(1, student + 1)]


def _check_layers(layers: Sequence[Sequence[int]], student: int, teacher: int) -> None:
    for pair in layers:
        if len(pair) != 2 or not (0 <= pair[0] <= student and 0 <= pair[1] <= teacher):
            raise ConfigError(
                f"loss: dice_feature: layers: {pair} is no pair [student's block, teacher's block]:"
                f" the student has {student}, the teacher {teacher}"
            )
