"""An utterance's text with what may be thought of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Transcription:
    """A text, how sure the model is of it, and whether there was anything to transcribe.

    Attributes:
        text: as ``transcribe`` gives it alone.
        tokens: of the text.
        probabilities: softmax of the attention decoder at each of the tokens, given those before it
            (teacher-forced on the text); CTC and language model have no part in it. None where the
            model has no such decoder, or the text is empty.
        confidence: geometric mean of these and of the probability that the text ends there; None
            where they are.
        speech: whether something stands above the noise floor, see :class:`level.Level`. Where
            nothing does, the text is made up, however sure the model is.
        level_db, range_db: the figures behind it.
    """

    text: str
    tokens: tuple[str, ...]
    probabilities: tuple[float, ...] | None
    confidence: float | None
    speech: bool
    level_db: float
    range_db: float


def geometric_mean(probabilities: Sequence[float]) -> float:
    """Of one or more; a probability that float32 rounds to 0 counts as its smallest number."""
    return float(np.exp(np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)).mean()))


def forced_probabilities(
    model: Any, features: np.ndarray, ids: Sequence[int]
) -> tuple[float, ...] | None:
    """Probabilities of a text's tokens and of its end.

    Args:
        model: ESPnetASRModel in eval mode.
        features: (frames, dim), or (samples,).
        ids: of the tokens, without <eos>.

    Returns:
        One more than there are tokens; None where there is no attention decoder, or no token.
    """
    import torch

    from espnet_dice.kd.teachers import forced
    from espnet_dice.kd.token_uncertainty import token_uncertainty

    has_attention = model.decoder is not None and not getattr(model, "use_transducer_decoder", None)
    if not has_attention or not ids:
        return None
    device = next(model.parameters()).device
    speech = torch.tensor(features, device=device)[None]  # a copy: GlobalMVN works in place
    text = torch.tensor([list(ids)], device=device)
    with torch.no_grad():
        memory, lens = model.encode(speech, torch.tensor([speech.size(1)], device=device))
        memory = memory[0] if isinstance(memory, tuple) else memory
        logits, _ = forced(model, memory, lens, text, torch.tensor([len(ids)], device=device))
        target = torch.cat([text[0], torch.tensor([model.eos], device=device)])
        return tuple(token_uncertainty(logits[0], None, target)["p"].tolist())
