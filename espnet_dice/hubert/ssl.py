"""``encoder: dice_ssl``: an SSL model as the encoder of a recogniser, teacher or student.

It takes waveforms (``input_size: 1``, no frontend, no normalisation, no SpecAugment) and has a
frame every 20 ms, or with ``subsample: 2`` every 40 ms, as ESPnet's conv2d has on features.
"""

import contextlib
from typing import Any

import numpy as np
import torch
from espnet2.asr.encoder.abs_encoder import AbsEncoder

from espnet_dice import compat
from espnet_dice.hubert import architecture as architectures
from espnet_dice.hubert import frozen
from espnet_dice.hubert.models import mask
from espnet_dice.hubert.models.frames import RECEPTIVE
from espnet_dice.hubert.models.layer_sum import LayerSum
from espnet_dice.hubert.models.stem import frame_lengths
from espnet_dice.io.errors import ConfigError

FREEZE = ("none", "stem", "all")


class SSLEncoder(AbsEncoder):
    """A pre-trained model, perhaps with an adapter behind it.

    Args (``encoder_conf``):
        input_size: 1: samples.
        source: what :func:`espnet_dice.hubert.frozen.load` takes: a Hugging Face directory or
            name, an experiment ``exp/dice_<tag>`` or its export, an ESPnet experiment ….
        architecture: instead of ``source``, a model with fresh parameters (see
            :mod:`espnet_dice.hubert.architecture`); exported recognisers say this.
        layer: the last block that is used, from 1; those above it are dropped. None: all.
        weighted_sum: the output is Σ softmax(w)_l h_l over all hidden states, as in SUPERB, not the
            last one (after the model's last norm, if it has one).
        freeze: ``stem``: the convolutions stay as they are, as is usual when HuBERT is tuned;
            ``all``: the whole model does, and has no dropout; ``none``: all is tuned (the
            convolutions with the model's own ``feature_grad_mult``).
        freeze_steps: batches for which the whole model stays as it is at first.
        mask_prob: in training, share of the frames that spans hide behind the model's own mask
            embedding, in place of SpecAugment; 0: none.
        mask_length: frames of a span.
        subsample: frames that become one, by stacking, before a linear layer to ``output_size``.
        output_size: width; None: the model's own, and without ``subsample`` no linear layer.

    Raises:
        ConfigError: naming the key that is wrong, or what is wrong with the source.
    """

    def __init__(
        self,
        input_size: int = 1,
        source: str | None = None,
        architecture: dict[str, Any] | None = None,
        layer: int | None = None,
        weighted_sum: bool = False,
        freeze: str = "stem",
        freeze_steps: int = 0,
        mask_prob: float = 0.0,
        mask_length: int = mask.MASK_LENGTH,
        subsample: int = 1,
        output_size: int | None = None,
    ):
        super().__init__()
        _check(input_size, source, architecture, freeze, freeze_steps, mask_prob, subsample)
        self.source, self.architecture = source, architecture
        model, self.normalize, self.eps = self._fetch()
        if layer is not None:
            architectures.cut(model, layer, source or "architecture")
        self.model = model.requires_grad_(freeze != "all")
        if freeze == "stem" or not getattr(self.model, "feature_grad_mult", 1):
            self.model.feature_extractor.requires_grad_(False)
        if mask_prob > 0 and not hasattr(self.model, "masked_spec_embed"):
            raise ConfigError(
                f"encoder_conf: mask_prob: {source} has no mask embedding; set it to 0"
            )
        self.freeze = freeze
        self.freeze_steps = freeze_steps
        if freeze_steps:
            self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.mask_prob, self.mask_length = mask_prob, mask_length
        dims = self.model.dims
        if weighted_sum and len(set(dims)) > 1:
            raise ConfigError(f"encoder_conf: weighted_sum: the layers' widths differ: {dims}")
        self.mix = LayerSum(len(dims)) if weighted_sum else None
        self.subsample = subsample
        self.adapter = None
        if subsample > 1 or output_size is not None:
            self.adapter = torch.nn.Linear(dims[-1] * subsample, output_size or dims[-1])
        self._output_size = output_size or dims[-1]

    def output_size(self) -> int:
        """Width of a frame."""
        return self._output_size

    def forward(
        self,
        xs_pad: torch.Tensor,
        ilens: torch.Tensor,
        prev_states: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Frames of a batch; an utterance has the same whatever its neighbours.

        Args:
            xs_pad: samples at 16 kHz as they are in the file, (B, S).
            ilens: of each utterance, (B,).
            prev_states: not used.

        Returns:
            (B, T, D), zero behind an utterance's end; frames of each utterance, (B,); None.

        Raises:
            ConfigError: features, not waveforms.
            TooShortUttError: ESPnet's, where an utterance is shorter than one frame.
        """
        if xs_pad.dim() != 2:
            raise ConfigError(
                f"encoder dice_ssl takes waveforms, (batch, samples), not {tuple(xs_pad.shape)}: "
                "--feats_type raw, input_size: 1, and no frontend"
            )
        _check_lengths(ilens)
        speech = xs_pad.float()
        if self.normalize:
            speech = frozen.normalized(speech, ilens, self.eps)
        lengths = frame_lengths(ilens)
        x = _without_padding(self._output(self._hidden(speech, ilens, lengths)), lengths)
        if self.subsample > 1:
            x, lengths = _stacked(x, lengths, self.subsample)
        if self.adapter is not None:
            x = _without_padding(self.adapter(x), lengths)
        return x, lengths, None

    def of_equal_lengths(self, speech: torch.Tensor) -> torch.Tensor:
        """(B, S) → (B, T, D): what :meth:`forward` gives of a batch without padding, as a graph."""
        if self.normalize:
            speech = frozen.normalized(speech, None, self.eps)
        x = self._output(self.model(speech))
        if self.subsample > 1:
            by = self.subsample
            frames = (x.size(1) + by - 1) // by  # ONNX divides negative numbers towards zero
            x = torch.nn.functional.pad(x, (0, 0, 0, by - 1))[:, : frames * by]
            x = x.reshape(x.size(0), frames, by * x.size(2))
        return x if self.adapter is None else self.adapter(x)

    def train(self, mode: bool = True) -> "SSLEncoder":
        """A model that is not trained stays as it is used."""
        super().train(mode)
        if self.freeze == "all":
            self.model.eval()
        return self

    def reload_pretrained_parameters(self) -> None:
        """ESPnet's ``init`` overwrites every parameter of a recogniser, and then calls this."""
        found = self._fetch()[0].state_dict()
        self.model.load_state_dict({name: found[name] for name in self.model.state_dict()})

    def _fetch(self) -> tuple[torch.nn.Module, bool, float]:
        """The whole model, whether it wants normalised waveforms, and the ε of that."""
        if self.architecture is not None:
            return architectures.build(self.architecture)
        found = frozen.load(self.source)
        return found.model, found.normalize, found.eps

    def _output(self, hidden: list[torch.Tensor]) -> torch.Tensor:
        """Of all hidden states, what this encoder gives."""
        return self.model.final(hidden[-1]) if self.mix is None else self.mix(torch.stack(hidden))

    def _hidden(
        self, speech: torch.Tensor, samples: torch.Tensor, frames: torch.Tensor
    ) -> list[torch.Tensor]:
        hide = self._draw_mask(frames) if self.training and self.mask_prob > 0 else None
        frozen = self.freeze == "all"
        if self.freeze_steps and self.training:
            frozen = frozen or int(self.steps) < self.freeze_steps
            self.steps += 1
            self.model.train(not frozen)
        with torch.no_grad() if frozen else contextlib.nullcontext():
            return self.model(speech, samples, hide)

    def _draw_mask(self, frames: torch.Tensor) -> torch.Tensor:
        # seeded by torch, whose seed ESPnet sets and keeps in checkpoints
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        rows = [
            mask.span_mask(int(n), rng, self.mask_prob, self.mask_length) for n in frames.tolist()
        ]
        return mask.pad_masks(rows, int(frames.max())).to(frames.device)


def _check(input_size, source, architecture, freeze, freeze_steps, mask_prob, subsample) -> None:
    if input_size != 1:
        raise ConfigError(
            f"encoder dice_ssl takes waveforms: input_size must be 1, not {input_size} "
            "(--feats_type raw)"
        )
    if (source is None) == (architecture is None):
        raise ConfigError(
            "encoder_conf: source: name the SSL model (a Hugging Face directory or name, "
            "exp/dice_<tag> …), or else give architecture, not both"
        )
    if freeze not in FREEZE:
        raise ConfigError(
            f"encoder_conf: freeze must be one of {', '.join(FREEZE)}, not {freeze!r}"
        )
    if freeze_steps < 0 or (freeze_steps and freeze == "all"):
        raise ConfigError("encoder_conf: freeze_steps must be >= 0, and 0 with freeze: all")
    if not 0 <= mask_prob <= 1:
        raise ConfigError(f"encoder_conf: mask_prob must be in [0, 1], not {mask_prob}")
    if subsample < 1:
        raise ConfigError(f"encoder_conf: subsample must be >= 1, not {subsample}")


def _check_lengths(samples: torch.Tensor) -> None:
    if int(samples.min()) < RECEPTIVE:
        error = compat.moved_module("nets.pytorch_backend.transformer.subsampling").TooShortUttError
        shortest = int(samples.min())
        raise error(
            f"{shortest} samples are less than one frame ({RECEPTIVE})", shortest, RECEPTIVE
        )


def _without_padding(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    frames = torch.arange(x.size(1), device=x.device)
    return x * (frames < lengths.unsqueeze(-1)).unsqueeze(-1)


def _stacked(x: torch.Tensor, lengths: torch.Tensor, by: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T, D) → (B, ⌈T/by⌉, by · D); zeros fill up the last one."""
    x = torch.nn.functional.pad(x, (0, 0, 0, -x.size(1) % by))
    return x.reshape(x.size(0), -1, by * x.size(2)), (lengths + by - 1) // by
