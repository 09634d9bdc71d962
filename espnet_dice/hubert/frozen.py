"""Frozen SSL models, teachers and students: their hidden states are clustered, copied and probed.

A source is a directory in Hugging Face's format (HuBERT, wav2vec 2.0, WavLM) or the name of a model
on its hub, an experiment of ours (``exp/dice_<tag>``), an experiment of ESPnet's hubert1 or ssl1
recipes (its directory, or one of its ``.pth`` files), or a file of torchaudio's, fairseq's or
s3prl's. Importing this module imports torch; loading imports transformers (6 s).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from espnet_dice.hubert.formats import any_format, teacher_files
from espnet_dice.hubert.models import onednn
from espnet_dice.hubert.models.frames import RECEPTIVE, n_frames
from espnet_dice.io.errors import ConfigError, DataError

HF_EPS, ESPNET_EPS = 1e-7, 1e-5
"""What is added to a waveform's variance: Wav2Vec2FeatureExtractor's, ESPnet's CNNFrontend's."""


class FrozenSSLModel(torch.nn.Module):
    """A frozen model; works on any device, computes in float32.

    Args:
        model: has the forward pass of :class:`backbone.Backbone`.
        key: what it was read from, see :func:`teacher_files.key_of`.
        source: its name for messages.
        normalize: whether it wants waveforms of mean 0 and variance 1.
        eps: added to the variance.

    Attributes:
        layers: number of blocks.
        dim: width of its last hidden state; ``dims``: of each.
        size: number of parameters.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        key: str,
        source: str,
        normalize: bool = False,
        eps: float = HF_EPS,
    ):
        super().__init__()
        self.training = False
        self.model = model.float().eval().requires_grad_(False)
        self.key = key
        self.source = source
        self.normalize = normalize
        self.eps = eps
        self.dims: list[int] = list(model.dims)
        self.dim = self.dims[-1]
        self.layers = len(self.dims) - 1
        self.size = sum(p.numel() for p in model.parameters())
        convolutions = [p for p in model.parameters() if p.dim() == 3]
        self._width = max((p.size(0) for p in convolutions), default=0)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.model.parameters()).device

    def train(self, mode: bool = True) -> "FrozenSSLModel":
        """A frozen model stays as it is, also inside a model that is being trained."""
        return self

    @torch.no_grad()
    def forward(
        self,
        speech: torch.Tensor,
        lengths: torch.Tensor | None = None,
        layers: int | None = None,
    ) -> list[torch.Tensor]:
        """Hidden states of a batch, (B, T, D) each.

        Args:
            speech: (B, S), as it is in the file: normalisation happens here.
            lengths: samples of each utterance, (B,); None: all have S.
            layers: stop after this block.
        """
        if layers is not None:
            check_layer(self, layers)
        with torch.autocast(speech.device.type, enabled=False):
            speech = speech.float()
            if self.normalize:
                speech = normalized(speech, lengths, self.eps)
            return self.model(speech, lengths, None, layers)

    def hidden(
        self, waves: Sequence[np.ndarray | torch.Tensor], layers: int | None = None
    ) -> list[list[torch.Tensor]]:
        """Hidden states of utterances, in one forward pass.

        Args:
            waves: (samples,) each.
            layers: stop after this block.

        Returns:
            For each utterance its hidden states, from the input of block 1 on, (frames, D) each.

        Raises:
            DataError: an utterance is shorter than one frame.
        """
        rows = [torch.as_tensor(w, dtype=torch.float32) for w in waves]
        for i, row in enumerate(rows):
            check_wave(row, i)
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        speech = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self.device)
        with onednn.worth_it(self._width):
            batch = self(speech, lengths, layers)
        return [[x[i, : n_frames(len(row))] for x in batch] for i, row in enumerate(rows)]


class LayerFeatures:
    """A layer of a teacher, or several beside each other, as k-means and labels see them.

    Args:
        teacher: the model.
        layer: 1-based: the output of the whole block; 0 is the input of the first one. Of several
            layers a feature has the values of the first, then those of the second, and so on; the
            teacher is run once.

    Attributes:
        key: identifies teacher and layers.
        dims: width of each layer.
        dim: of a feature, their sum.
        heights: of each layer, its number by that of all, up to 1.

    Raises:
        ConfigError: the teacher has no such layer.
    """

    def __init__(self, teacher: FrozenSSLModel, layer: int | Sequence[int]):
        self.layers = tuple(layer) if isinstance(layer, Sequence) else (layer,)
        for one in self.layers:
            check_layer(teacher, one)
        self.teacher = teacher
        self.key = teacher_files.layer_key(teacher.key, layer)
        self.dims = tuple(teacher.dims[one] for one in self.layers)
        self.dim = sum(self.dims)
        self.heights = tuple(one / teacher.layers for one in self.layers)

    def features(self, wave: np.ndarray | torch.Tensor) -> torch.Tensor:
        """(samples,) → (frames, dim) float32 on the teacher's device.

        Raises:
            DataError: the utterance is shorter than one frame.
        """
        return self.batch([wave])[0]

    def batch(self, waves: Sequence[np.ndarray | torch.Tensor]) -> list[torch.Tensor]:
        """The same for several utterances in one forward pass, equal to it to float error."""
        found = self.teacher.hidden(waves, max(self.layers))
        if len(self.layers) == 1:
            return [hidden[-1] for hidden in found]
        return [torch.cat([hidden[one] for one in self.layers], dim=-1) for hidden in found]


def load(source: str | Path, trust_pickle: bool = False) -> FrozenSSLModel:
    """Read a teacher.

    Args:
        source: see above.
        trust_pickle: also read files that hold more than tensors and plain settings by running
            what they say, which can be any code.

    Raises:
        ConfigError: there is no model, it is of another kind, its frames or its sampling rate are
            not those of labels, or its parameters do not fit.
        StaleError: an experiment that is not finished.
    """
    onednn.remember(onednn.PASS)
    found = teacher_files.find(source)
    built = any_format.build(found, trust_pickle)
    return FrozenSSLModel(built.model, found.key(), str(source), built.normalize, built.eps)


def check_layer(teacher: FrozenSSLModel, layer: int) -> None:
    """Refuse a layer that does not exist.

    Raises:
        ConfigError: naming those that there are.
    """
    if not isinstance(layer, int) or not 0 <= layer <= teacher.layers:
        raise ConfigError(
            f"{teacher.source} has no layer {layer}: its layers are 0 to {teacher.layers} "
            "(1-based, each after the whole block; 0 is the input of the first)"
        )


def check_wave(wave: torch.Tensor, index: int = 0) -> None:
    """Refuse what is no waveform of at least one frame.

    Raises:
        DataError: naming the utterance by its place.
    """
    if wave.dim() != 1:
        raise DataError(f"utterance {index + 1}: shape {tuple(wave.shape)}, expected (samples,)")
    if len(wave) < RECEPTIVE:
        raise DataError(
            f"utterance {index + 1}: {len(wave)} samples are less than one frame ({RECEPTIVE}): "
            "remove it"
        )


def normalized(
    speech: torch.Tensor, lengths: torch.Tensor | None, eps: float = HF_EPS
) -> torch.Tensor:
    """Each row with mean 0 and variance 1 over its own samples, and zeros behind them.

    Args:
        speech: (B, S).
        lengths: (B,); None: all have S.
        eps: added to the variance.
    """
    if lengths is None:
        mean = speech.mean(-1, keepdim=True)
        var = speech.var(-1, keepdim=True, unbiased=False)
        return (speech - mean) / torch.sqrt(var + eps)
    own = torch.arange(speech.size(1), device=speech.device) < lengths.unsqueeze(-1)
    n = lengths.unsqueeze(-1)
    centred = (speech - (speech * own).sum(-1, keepdim=True) / n) * own
    return centred / torch.sqrt(centred.square().sum(-1, keepdim=True) / n + eps)
