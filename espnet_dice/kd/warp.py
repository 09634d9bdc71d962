"""Time warping (SpecAugment) and KD: a student in training hears time-warped features.

Teachers that are run beside it on features hear the same: what they say is of these frames, and of
speech that is new in every epoch (:func:`take_out`). Cached teachers heard the speech as it is, and
so do teachers of waveforms. A frame of the student then holds the speech of another frame of
theirs: their posteriors on the CTC branch are warped by the map that the features went through
(:func:`track`, :func:`follow`). Masks move nothing.

A teacher of the embedded corpus is 1.30 nats a frame from itself when paired by index (its entropy
is 0.37), 1.05 with mixtures of neighbouring distributions, 0.63 with logits between neighbours.
"""

import dataclasses

import torch

from espnet_dice.kd.teachers import Targets


class TrackedWarp(torch.nn.Module):
    """ESPnet's time warp, which also tells where each frame came from.

    The frame numbers are warped with the features, as one more column: whatever ESPnet draws, one
    map a batch or one an utterance, they went through it. The features are those of ESPnet alone.

    Args:
        warp: ESPnet's ``TimeWarp``, of the configured SpecAugment.
    """

    def __init__(self, warp: torch.nn.Module):
        super().__init__()
        self.warp = warp
        self._origin: torch.Tensor | None = None

    def forward(
        self, x: torch.Tensor, x_lengths: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, T, F) → warped (B, T, F), as ESPnet's ``TimeWarp``."""
        frames = torch.arange(x.size(1), device=x.device, dtype=torch.float32)
        frames = frames[None].expand(x.size(0), -1)
        # float32 throughout: bfloat16 counts to 256
        y, x_lengths = self.warp(torch.cat([x.float(), frames[..., None]], dim=-1), x_lengths)
        origin = y[..., -1]
        frames = frames[:, : y.size(1)]
        if x_lengths is not None:
            origin = torch.where(frames < x_lengths[:, None], origin, frames)
        self._origin = origin.detach()
        return y[..., :-1].to(x.dtype).contiguous(), x_lengths

    def take(self) -> torch.Tensor | None:
        """Where each frame of the last batch came from, in frames, (B, T); None if not warped."""
        origin, self._origin = self._origin, None
        return origin


def take_out(specaug: torch.nn.Module | None) -> torch.nn.Module | None:
    """The time warp of a SpecAugment, which goes without from now on; None where it has none."""
    warp = getattr(specaug, "time_warp", None)
    if warp is not None:
        specaug.time_warp = None
    return warp


def track(specaug: torch.nn.Module | None) -> None:
    """Make the time warp of a SpecAugment, if it has one, tell its map."""
    if getattr(specaug, "time_warp", None) is not None:
        specaug.time_warp = TrackedWarp(specaug.time_warp)


def follow(specaug: torch.nn.Module | None, found: list[Targets], n_frames: int) -> list[Targets]:
    """What teachers say on the CTC branch, warped as the batch that a tracked SpecAugment had last.

    Args:
        specaug: see :func:`track`.
        found: of each teacher, with CTC posteriors.
        n_frames: the student's encoder frames T'.
    """
    warp = getattr(specaug, "time_warp", None)
    origin = None if warp is None else warp.take()
    if origin is None:
        return found
    origin = at_encoder_rate(origin, n_frames)
    return [
        dataclasses.replace(
            t, ctc_log_probs=warp_posteriors(t.ctc_log_probs, t.ctc_lengths, origin)
        )
        for t in found
    ]


def at_encoder_rate(origin: torch.Tensor, n_frames: int) -> torch.Tensor:
    """Where each encoder frame came from, in encoder frames.

    Args:
        origin: where each feature frame came from, in feature frames, (B, T).
        n_frames: T', that ESPnet's subsampling makes of T: its frame j is centred on feature frame
            j · stride + offset, with half of what its convolutions lack as offset.

    Returns:
        (B, T').
    """
    size = origin.size(1)
    stride = max(1, size // n_frames)
    offset = max(0, size - 1 - stride * (n_frames - 1)) // 2
    centres = torch.arange(n_frames, device=origin.device) * stride + offset
    return (origin[:, centres.clamp(max=size - 1)] - offset) / stride


def warp_posteriors(
    log_probs: torch.Tensor, lengths: torch.Tensor, origin: torch.Tensor
) -> torch.Tensor:
    """A teacher's posteriors as if it had heard the warped speech.

    Between two frames the logits are linear in the position. A mixture of the two distributions
    would be less sure than a teacher that hears the warped speech: its spikes are one frame wide.

    Args:
        log_probs: log posteriors, (B, T', V).
        lengths: frames, (B,).
        origin: where each frame came from, in frames, (B, T''); outside an utterance its first or
            last frame counts.

    Returns:
        Log posteriors, (B, T'', V); an utterance keeps its number of frames.
    """
    last = (lengths.to(log_probs.device) - 1).clamp(min=0)[:, None]
    origin = torch.minimum(origin.clamp(min=0), last)
    before = origin.floor().long()
    after = torch.minimum(before + 1, last)
    share = (origin - before).unsqueeze(-1).to(log_probs.dtype)
    # 0 · -inf would be NaN
    log_probs = log_probs.clamp(min=torch.finfo(log_probs.dtype).min)
    mixed = (1 - share) * _frames(log_probs, before) + share * _frames(log_probs, after)
    return torch.log_softmax(mixed, dim=-1)


def _frames(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    return x.gather(1, at.unsqueeze(-1).expand(-1, -1, x.size(-1)))
