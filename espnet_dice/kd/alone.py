"""An utterance of a batch as if it were alone: what its neighbours' lengths must not change.

The convolutional subsampling of ESPnet 202511 hears the padding of a batch: a padded utterance has
a frame or two more than alone, whose inputs are partly padding, and attention spreads them to all
others. A student is trained so, as ESPnet trains it; what is stored or measured must not depend on
a batch, in any version.
"""

import zlib
from collections.abc import Sequence

import torch

from espnet_dice import compat
from espnet_dice.kd.variance import log_mean_softmax


def encode(model, speech: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Encoder outputs of a batch, heard one by one.

    Args:
        model: an ESPnetASRModel.
        speech: features (B, T, F) or samples (B, N).
        lengths: (B,).

    Returns:
        (B, T', D), zero behind an utterance's end; frames of each, (B,).

    Raises:
        TooShortUttError: ESPnet's, where samples are too few.
    """
    rows = [_encode(model, x[:n]) for x, n in zip(speech, lengths.tolist(), strict=True)]
    memory = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return memory, torch.tensor([len(row) for row in rows], device=memory.device)


def _encode(model, speech: torch.Tensor) -> torch.Tensor:
    subsampling = compat.moved_module("nets.pytorch_backend.transformer.subsampling")
    length = torch.tensor([len(speech)], device=speech.device)
    try:
        # ESPnet's GlobalMVN normalises features in place
        encoded, frames = model.encode(speech[None].clone(), length)
    except subsampling.TooShortUttError as err:
        if speech.dim() == 1:
            raise
        # beside as many zeros as the convolution needs: ESPnet cuts a batch at its longest
        padded = torch.nn.functional.pad(speech, (0, 0, 0, err.limit - len(speech)))
        pair = torch.stack([padded, torch.zeros_like(padded)])
        encoded, frames = model.encode(pair, torch.cat([length, length.new_tensor([err.limit])]))
    encoded = encoded[0] if isinstance(encoded, tuple) else encoded
    return encoded[0, : max(int(frames[0]), 1)]


def log_mean_probs(
    logits: torch.Tensor,
    variances: torch.Tensor | None,
    lengths: torch.Tensor,
    n_samples: int,
    seeds: Sequence[int],
) -> torch.Tensor:
    """:func:`log_mean_softmax` with noise of each utterance's own.

    Args:
        logits: f, (B, L, V).
        variances: σ², (B, L, V), or None for no noise.
        lengths: steps of each utterance, (B,); those behind have no noise.
        n_samples: S; 0 is log softmax(f).
        seeds: of each utterance.

    Returns:
        (B, L, V).
    """
    log_probs = torch.log_softmax(logits, dim=-1)
    if variances is None or n_samples == 0:
        return log_probs
    rows = []
    for b, (n, seed) in enumerate(zip(lengths.tolist(), seeds, strict=True)):
        generator = torch.Generator(device=logits.device).manual_seed(seed)
        noisy = log_mean_softmax(logits[b, :n], variances[b, :n], n_samples, generator)
        rows.append(torch.cat([noisy, log_probs[b, n:]]))
    return torch.stack(rows)


def seeds(text: torch.Tensor, lengths: torch.Tensor) -> list[int]:
    """A seed for each utterance, from its token ids (B, L) of (B,) tokens."""
    rows = zip(text.cpu(), lengths.tolist(), strict=True)
    return [zlib.crc32(ids[:n].numpy().tobytes()) for ids, n in rows]
