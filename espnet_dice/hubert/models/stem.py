"""From samples to the frames that go into the first block: convolutions, projection, mask.

The modules are those of ``transformers.HubertModel``, under its names, so that parameters go from
and to Hugging Face's checkpoints as they are; with ``stem: mel`` the convolutions are
:mod:`mel`'s. The forward pass is our own: an utterance in a padded batch gets what it would get
alone.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from espnet_dice.hubert.models import mel
from espnet_dice.hubert.models.frames import KERNELS, RECEPTIVE, SAMPLE_RATE, STRIDE, STRIDES
from espnet_dice.io.errors import ConfigError, DataError

FEATURE_GRAD_MULT = 0.1
"""What HuBERT multiplies the gradient of the convolutions with (Hsu et al., 2021; fairseq)."""


def warm_up() -> None:
    """Import before forking what building a model imports (transformers, torch._dynamo: 3 s)."""
    from transformers.models.hubert import modeling_hubert  # noqa: F401


def hubert(config):
    """A ``transformers.HubertModel`` with fresh parameters. Imports transformers (6 s).

    Args:
        config: ``transformers.HubertConfig``; one with ``mel_norm`` has the stem of :mod:`mel`.

    Raises:
        ConfigError: its frames are not those of :mod:`frames`, or its numbers do not go together.
    """
    from transformers.models.hubert.modeling_hubert import HubertModel

    check_frames(config)
    config._attn_implementation = "sdpa"
    try:
        model = HubertModel(config)
    except (ValueError, RuntimeError) as err:
        raise ConfigError(f"no HuBERT of this size can be built: {err}") from err
    conv = model.encoder.pos_conv_embed.conv
    if hasattr(conv, "parametrizations"):
        # fairseq's initialisation, which transformers lost; assigning sets the weight norm's parts
        std = 2 / (config.num_conv_pos_embeddings * config.hidden_size) ** 0.5
        conv.weight = torch.nn.init.normal_(torch.empty_like(conv.weight), std=std)
    if is_mel(config):
        model.feature_extractor = mel.MelStem(config.conv_dim, config.mel_norm)
    return model


def is_mel(config) -> bool:
    """Whether a config's stem is that of :mod:`mel`."""
    return getattr(config, "mel_norm", None) is not None


def check_frames(config) -> None:
    """Refuse a stem with other frames than labels have.

    Args:
        config: ``transformers.HubertConfig``.

    Raises:
        ConfigError: naming the stride, or the receptive field; or what no stem of :mod:`mel` has.
    """
    kernels, strides = config.conv_kernel, config.conv_stride
    if is_mel(config):
        if (tuple(kernels), tuple(strides)) != (mel.KERNELS, mel.STRIDES):
            raise ConfigError(
                f"with stem: mel conv_kernel is {mel.KERNELS} and conv_stride {mel.STRIDES}"
            )
        if config.mel_norm not in mel.NORMS:
            raise ConfigError(
                f"mel_norm must be one of {', '.join(mel.NORMS)}, not {config.mel_norm!r}"
            )
        return
    stride = seen = 1
    for kernel, step in zip(kernels, strides, strict=True):
        seen += (kernel - 1) * stride
        stride *= step
    if stride != STRIDE:
        raise ConfigError(
            f"the stem has a stride of {stride} samples, labels one of {STRIDE} "
            f"({1000 * STRIDE / SAMPLE_RATE:g} ms): their frames would not meet"
        )
    if (tuple(kernels), tuple(strides)) != (KERNELS, STRIDES):
        raise ConfigError(
            f"kernels {tuple(kernels)} and strides {tuple(strides)} (a frame sees {seen} samples) "
            f"must be {KERNELS} and {STRIDES} ({RECEPTIVE} samples)"
        )


class Stem(torch.nn.Module):
    """Convolutions, projection to the model's width, and the embedding of masked frames.

    Args:
        model: what :func:`hubert` made; its modules are taken.
        feature_grad_mult: factor on the gradient of the convolutions; 0 freezes them.
    """

    _squares: list[tuple[torch.Tensor, torch.Tensor]] | None = None

    def __init__(self, model, feature_grad_mult: float = FEATURE_GRAD_MULT):
        super().__init__()
        self.config: Any = model.config
        self.feature_grad_mult = feature_grad_mult
        self.feature_extractor = model.feature_extractor
        self.feature_projection = model.feature_projection
        if hasattr(model, "masked_spec_embed"):
            self.masked_spec_embed = model.masked_spec_embed
        if not feature_grad_mult:
            self.feature_extractor.requires_grad_(False)

    def forward(
        self,
        speech: torch.Tensor,
        lengths: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        layers: int | None = None,
    ) -> list[torch.Tensor]:
        """Hidden states of a batch.

        Args:
            speech: (B, S) float32, 16 kHz.
            lengths: samples of each utterance, (B,). None, or all equal: no padding, so attention
                needs no mask and takes its fast kernel. Else every utterance gets what it would
                get alone; what stands behind its end means nothing.
            mask: (B, T) bool, True where the mask embedding stands for the frame.
            layers: stop after this block; None runs all.

        Returns:
            [0] is the input of the first block, [l] the output of block l (1-based, after the
            whole block), each (B, T, D): ``hidden_states`` of transformers. In a model with norms
            before the blocks the last is not normalised yet; see ``final``.

        Raises:
            DataError: an utterance is shorter than one frame.
        """
        return self.encode(*self.stem(speech, lengths, mask), layers)

    def encode(
        self, x: torch.Tensor, valid: torch.Tensor | None, layers: int | None
    ) -> list[torch.Tensor]:
        """Hidden states of the stem's frames; a subclass has the blocks.

        Args:
            x: (B, T, D), zero behind an utterance's end.
            valid: (B, T) bool, True where a frame belongs to its utterance; None: all do.
            layers: stop after this block.
        """
        raise NotImplementedError

    def stem(
        self,
        speech: torch.Tensor,
        lengths: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Frames of a batch.

        Args:
            speech: (B, S) float32.
            lengths: samples of each utterance, (B,); None: all have S.
            mask: (B, T) bool, True where a frame is replaced by the mask embedding.

        Returns:
            (B, T, D), and (B, T) bool, True where a frame belongs to its utterance, or None if
            all do. Frames behind the end of an utterance are zero.

        Raises:
            DataError: an utterance is shorter than one frame.
        """
        speech, lengths = trimmed(speech, lengths)
        x = self._convolve(speech, lengths)
        if x.requires_grad and self.feature_grad_mult != 1:
            x.register_hook(lambda grad: grad * self.feature_grad_mult)
        x = x.transpose(1, 2)
        valid = None
        if lengths is not None:
            frames = torch.arange(x.size(1), device=x.device)
            valid = frames < frame_lengths(lengths).unsqueeze(-1)
        if self._squares is not None:
            self._squares.append(squares(x, valid))
        x = self.feature_projection(x)
        if mask is not None:
            if mask.shape != x.shape[:2]:
                raise ValueError(f"a mask of {tuple(mask.shape)} for {tuple(x.shape[:2])} frames")
            x = torch.where(mask.unsqueeze(-1), self.masked_spec_embed.to(x.dtype), x)
        return (x, None) if valid is None else (x * valid.unsqueeze(-1), valid)

    @contextlib.contextmanager
    def measured(self) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
        """Gives :func:`squares` of the convolutions' output, for each batch that comes by inside.

        The gradient through it is multiplied by ``feature_grad_mult`` as every other is.
        """
        self._squares = found = []
        try:
            yield found
        finally:
            self._squares = None

    def _convolve(self, speech: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """(B, S) → (B, C, T).

        HuBERT's convolutions are not padded: a frame sees its own 400 samples only.
        """
        if isinstance(self.feature_extractor, mel.MelStem):
            return self.feature_extractor(speech, lengths)
        x = speech.unsqueeze(1)
        for i, layer in enumerate(self.feature_extractor.conv_layers):
            if i == 0 and lengths is not None and self.config.feat_extract_norm == "group":
                x = layer.activation(self._group_norm(layer, layer.conv(x), lengths))
            else:
                x = layer(x)
        return x

    def _group_norm(self, layer, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The norm runs over time, so each utterance is normalised over its own frames alone."""
        rows = [
            layer.layer_norm(row[None, :, : (n - KERNELS[0]) // STRIDES[0] + 1])
            for row, n in zip(x, lengths.tolist(), strict=True)
        ]
        return torch.cat([functional.pad(row, (0, x.size(2) - row.size(2))) for row in rows])


def squares(x: torch.Tensor, valid: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of the squares of values, and how many these are, both scalars.

    Args:
        x: (B, T, C).
        valid: (B, T) bool, True where a frame counts; None: all do.
    """
    each = x.float().square().sum(-1)
    if valid is None:
        return each.sum(), each.new_full((), x.numel())
    return (each * valid).sum(), valid.sum() * x.size(-1)


def trimmed(
    speech: torch.Tensor, lengths: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Speech without what lies behind the longest utterance; lengths None if all are equal.

    Raises:
        DataError: an utterance is shorter than one frame.
    """
    if lengths is None:
        shortest = longest = speech.size(1)
    else:
        shortest, longest = (int(n) for n in lengths.aminmax())
    if shortest < RECEPTIVE:
        row = 0 if lengths is None else int(lengths.argmin())
        raise DataError(
            f"utterance {row + 1} of the batch has {shortest} samples, less than one frame "
            f"({RECEPTIVE}): remove it"
        )
    if lengths is not None and shortest == longest:
        lengths = None
    return speech[:, :longest], lengths


def frame_lengths(lengths: torch.Tensor) -> torch.Tensor:
    """Frames of each utterance from its samples, both (B,)."""
    return torch.div(lengths - RECEPTIVE, STRIDE, rounding_mode="floor") + 1
