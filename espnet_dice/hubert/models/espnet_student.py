"""A student whose blocks are ESPnet's: Transformer, Conformer, E-Branchformer or any other."""

import importlib
from typing import Any

import torch
from torch.nn import functional

from espnet_dice.hubert.models.backbone import dropped
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.hubert.models.stem import FEATURE_GRAD_MULT, Stem, hubert, trimmed
from espnet_dice.io.errors import ConfigError

# those of espnet2.tasks.ssl.encoder_choices, without the 6 s that importing it costs
ENCODERS = {
    "transformer": ("espnet2.asr.encoder.transformer_encoder", "TransformerEncoder"),
    "conformer": ("espnet2.asr.encoder.conformer_encoder", "ConformerEncoder"),
    "e_branchformer": ("espnet2.asr.encoder.e_branchformer_encoder", "EBranchformerEncoder"),
}
# ESPnet's own defaults subsample by 4. A Transformer without positions would see a bag of frames;
# ESPnet's convolutional positions drop the frames themselves, so sinusoids are the default
DEFAULTS: dict[str, dict[str, Any]] = {
    "transformer": {"input_layer": "wav2vec"},
    "conformer": {"input_layer": None, "rel_pos_type": "latest"},
    "e_branchformer": {"input_layer": None, "rel_pos_type": "latest"},
}
INPUT_LAYERS = (None, "linear", "wav2vec")


class EspnetStudent(Stem):
    """HuBERT's stem before the blocks of an ESPnet encoder.

    Args:
        config: of the stem.
        encoder: has ``embed``, ``encoders`` and perhaps ``after_norm``, as ESPnet's have.
        layerdrop: probability that a block is skipped in training.
        feature_grad_mult: factor on the gradient of the convolutions; 0 freezes them.

    Attributes:
        dims: width of each hidden state.
    """

    def __init__(
        self,
        config,
        encoder: torch.nn.Module,
        layerdrop: float = 0.0,
        feature_grad_mult: float = FEATURE_GRAD_MULT,
    ):
        super().__init__(hubert(config), feature_grad_mult)
        self.encoder = encoder
        self.layerdrop = layerdrop
        self.dims = [encoder.output_size()] * (len(encoder.encoders) + 1)

    def forward(
        self,
        speech: torch.Tensor,
        lengths: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        layers: int | None = None,
    ) -> list[torch.Tensor]:
        """Hidden states of a batch; see :meth:`stem.Stem.forward`.

        ESPnet's convolutions let padding in. So out of training utterances of different lengths go
        through the blocks apart, length by length: exact, and slower than a batch of equal lengths.
        In training (``pad: true`` only) they go together, as ESPnet does: batch norms mix them
        anyway.
        """
        speech, lengths = trimmed(speech, lengths)
        if lengths is None or self.training:
            return super().forward(speech, lengths, mask, layers)
        parts, order = [], []
        for n in sorted(set(lengths.tolist())):
            rows = (lengths == n).nonzero().flatten()
            shown = None if mask is None else mask[rows, : n_frames(n)]
            hidden = super().forward(speech[rows, :n], None, shown, layers)
            spare = n_frames(speech.size(1)) - n_frames(n)
            parts.append([functional.pad(x, (0, 0, 0, spare)) for x in hidden])
            order.append(rows)
        back = torch.cat(order).argsort()
        return [torch.cat(level)[back] for level in zip(*parts, strict=True)]

    def final(self, x: torch.Tensor) -> torch.Tensor:
        """What a head takes from the last hidden state: the encoder's last norm, if it has one."""
        norm = getattr(self.encoder, "after_norm", None)
        return x if norm is None else norm(x)

    def encode(
        self, x: torch.Tensor, valid: torch.Tensor | None, layers: int | None
    ) -> list[torch.Tensor]:
        """What each block gives of utterances of one length; see :meth:`forward`."""
        if valid is None:
            valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        attend = valid.unsqueeze(1)
        if self.encoder.embed is not None:
            x = self.encoder.embed(x)
        hidden = [_frames(x)]
        for block in list(self.encoder.encoders)[:layers]:
            if not dropped(self, self.layerdrop):
                x, _ = block(x, attend)
            hidden.append(_frames(x))
        return hidden


def build_encoder(name: str, conf: dict[str, Any]) -> torch.nn.Module:
    """One of ESPnet's encoders, on frames of its own width.

    Args:
        name: of ``espnet2.tasks.ssl.encoder_choices``.
        conf: its arguments; ``input_layer`` must not subsample.

    Raises:
        ConfigError: naming the key.
    """
    kind = encoder_class(name)
    conf = {**DEFAULTS.get(name, {}), **conf}
    if conf.get("input_layer", "conv2d") not in INPUT_LAYERS:
        raise ConfigError(
            f"student_conf: encoder_conf: input_layer {conf.get('input_layer', 'conv2d')!r} would "
            f"change the frame rate; choose one of {', '.join(map(str, INPUT_LAYERS))}"
        )
    if conf.get("interctc_layer_idx"):
        raise ConfigError("student_conf: encoder_conf: interctc_layer_idx has no meaning here")
    size = conf.setdefault("output_size", 256)
    try:
        return kind(input_size=conf.pop("input_size", size), **conf)
    except Exception as err:  # typeguard, assertions and ValueErrors of ESPnet alike
        said = " ".join(str(err).split()) or f"{type(err).__name__} with {conf}"
        raise ConfigError(f"student_conf: encoder_conf of {name}: {said}") from err


def encoder_class(name: str) -> type:
    """The class of an encoder of ESPnet; one that is registered counts too."""
    if name in ENCODERS:
        module, attribute = ENCODERS[name]
        return getattr(importlib.import_module(module), attribute)
    from espnet2.tasks.ssl import encoder_choices

    if name not in encoder_choices.classes:
        known = ", ".join(encoder_choices.classes)
        raise ConfigError(f"student_conf: encoder must be one of {known}, not {name!r}")
    return encoder_choices.get_class(name)


def _frames(x: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Relative positions travel beside the frames."""
    return x[0] if isinstance(x, tuple) else x
