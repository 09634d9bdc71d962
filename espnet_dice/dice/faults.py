"""What is wrong with a batch: labels that do not fit, a loss that is not finite."""

from collections.abc import Sequence

import torch

from espnet_dice.dice.loss_terms import StudentOutputs
from espnet_dice.io.errors import ConfigError, DataError


def check_labels(
    labels: torch.Tensor | None,
    labels_lengths: torch.Tensor | None,
    frames: Sequence[int],
    utts: Sequence[str],
    soft: bool,
) -> None:
    """Refuse labels that are no labels of a batch.

    Args:
        labels, labels_lengths: of the batch, see :meth:`DiceHubertModel.forward`.
        frames: of each utterance.
        utts: their names.
        soft: whether a loss needs records.

    Raises:
        DataError: there are none, or not as many as frames.
        ConfigError: hard ids where records are needed.
    """
    if labels is None:
        raise DataError(f"{utts[0]}: there are no labels: give PATH,labels,dice_labels")
    if soft and labels.dim() == 2:
        raise ConfigError("dice_soft needs the data type dice_labels; dice_ids are hard ids")
    if labels_lengths is None:
        return
    for utt, wanted, found in zip(utts, frames, labels_lengths.tolist(), strict=True):
        if wanted != found:
            raise DataError(
                f"{utt}: {wanted} frames of speech, {found} labels: they were made from other "
                "audio, or at another frame rate; make them again"
            )


def not_finite(
    student: torch.nn.Module,
    seen: StudentOutputs,
    parts: dict[str, torch.Tensor],
    utts: Sequence[str],
) -> str:
    """What can be said of a loss that is NaN or infinite: its parts, utterances, a way out."""
    said = ", ".join(f"{name} {part.item():g}" for name, part in parts.items())
    state = seen.hidden[-1]
    bad = ~torch.isfinite(state).all(-1).all(-1)
    named = [utt for utt, b in zip(utts, bad.tolist(), strict=True) if b] or utts
    silent = [u for u, row in zip(utts, seen.speech, strict=True) if not row.any()]
    lost = [n for n, p in student.named_parameters() if not torch.isfinite(p).all()]
    text = f"the loss is not finite ({said}; the student computes in {state.dtype})"
    text += f", utterances: {' '.join(named[:20])}{' …' if len(named) > 20 else ''}"
    if lost:
        text += f"; parameters were lost before: {len(lost)}, {lost[0]} for one"
    if silent:
        text += f"; silent: {' '.join(silent[:20])}"
    if state.dtype == torch.float16:
        return text + ": float16 overflows; use a GPU with bfloat16, or use_amp: false"
    return text + ": look at these, lower the learning rate, or set grad_clip"
