"""Batches of speech and labels that need no padding mask: all utterances cut to one length."""

import logging
from collections.abc import Collection, Sequence

import numpy as np
import torch

from espnet_dice.dice import crop
from espnet_dice.hubert.models.frames import RECEPTIVE, n_frames
from espnet_dice.hubert.models.mask import utterance_rng
from espnet_dice.io.errors import ConfigError, DataError

MAX_FRAMES = 780
"""15.6 s, the longest crop of HuBERT's recipe (250 000 samples)."""


class DiceCollate:
    """ESPnet's collate function: [(utterance, {speech, labels})] → (utterances, batch).

    In training all utterances are cut, on frame boundaries, to the shortest of the batch, or to
    ``max_frames`` where that is less; so there is no padding, and attention needs no mask. ESPnet
    sorts by length, so little is lost, and the next epoch cuts elsewhere. Validation, and training
    with ``pad``, keeps whole utterances, padded with zeros; the lengths say where they end.

    Args:
        train: training or validation.
        pad: keep whole utterances in training.
        max_frames: longest crop.
        random_crop: draw the crop's place; else take the middle.
        seed: of these draws.
        normalize: each waveform to mean 0 and variance 1, before it is cut, as the layer-norm
            HuBERTs (large) want.
        n_clusters: K, or K of each codebook, to refuse ids that are no cluster; None does not look.

    Attributes:
        epoch: set before each epoch, it and ``seed`` decide where an utterance is cut, whatever
            the number of loading processes; None: NumPy's global generator does.
    """

    def __init__(
        self,
        train: bool,
        pad: bool = False,
        max_frames: int = MAX_FRAMES,
        random_crop: bool = True,
        normalize: bool = False,
        n_clusters: int | Sequence[int] | None = None,
        seed: int = 0,
    ):
        if max_frames < 1:
            raise ConfigError(f"collate_fn_conf: max_frames must be at least 1, not {max_frames}")
        self.train = train
        self.pad = pad or not train
        self.max_frames = max_frames
        self.random_crop = random_crop
        self.normalize = normalize
        self.n_clusters = [n_clusters] if isinstance(n_clusters, int) else list(n_clusters or [])
        self.seed = seed
        self.epoch: int | None = None
        self._warned = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}(train={self.train}, pad={self.pad})"

    def __call__(
        self, data: Collection[tuple[str, dict[str, np.ndarray]]]
    ) -> tuple[list[str], dict[str, torch.Tensor]]:
        """Make a batch.

        Returns:
            The utterances, and ``speech`` (B, S) float32, ``speech_lengths`` (B,) and, where there
            are labels, ``labels`` (B, T), (B, T, C) or (B, T, W) int32, ``labels_lengths`` (B,).

        Raises:
            DataError: an utterance has no frame, or another number of labels than of frames.
        """
        utts = [utt for utt, _ in data]
        pairs = [self._checked(utt, parts) for utt, parts in data]
        if not self.pad:
            pairs = self._cut(utts, pairs)
        speech = [torch.from_numpy(s) for s, _ in pairs]
        batch = {
            "speech": torch.nn.utils.rnn.pad_sequence(speech, batch_first=True),
            "speech_lengths": torch.tensor([len(s) for s in speech]),
        }
        if pairs[0][1] is not None:
            labels = [torch.from_numpy(k) for _, k in pairs]
            batch["labels"] = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True)
            batch["labels_lengths"] = torch.tensor([len(k) for k in labels])
        return utts, batch

    def _checked(
        self, utt: str, parts: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        speech, labels = parts["speech"], parts.get("labels")
        if speech.ndim != 1:
            raise DataError(
                f"{utt}: {speech.shape[1]} channels; DiceHuBERT takes one: choose it with --channel"
            )
        frames = n_frames(len(speech))
        if frames == 0:
            raise DataError(
                f"{utt}: {len(speech)} samples are less than one frame ({RECEPTIVE}): remove it"
            )
        if self.normalize:
            # a silent utterance has variance 0
            speech = (speech - speech.mean()) / np.sqrt(speech.var() + 1e-7)
        if labels is None:
            return speech.astype(np.float32, copy=False), None
        if len(labels) != frames:
            raise DataError(
                f"{utt}: {frames} frames of speech, {len(labels)} labels: the labels were made "
                "from other audio, or at another frame rate; make them again"
            )
        for ids, k in zip(labels.reshape(frames, -1).T, self.n_clusters, strict=False):
            if ids.min() < 0 or ids.max() >= k:
                raise DataError(
                    f"{utt}: labels from {ids.min()} to {ids.max()}, clusters are 0 to {k - 1}: "
                    "the labels belong to another quantizer"
                )
        return speech.astype(np.float32, copy=False), labels.astype(np.int32)

    def _cut(self, utts, pairs):
        frames = [n_frames(len(speech)) for speech, _ in pairs]
        wanted = min(*frames, self.max_frames)
        kept = wanted * len(frames) / sum(min(n, self.max_frames) for n in frames)
        if kept < 0.5 and not self._warned:
            self._warned = True
            logging.warning(
                "a batch from %s (%d frames) to %s (%d) loses more than half of its speech: use "
                "batch_type numel, length or sorted",
                utts[int(np.argmin(frames))],
                min(frames),
                utts[int(np.argmax(frames))],
                max(frames),
            )
        seed = self._seed() if self.random_crop else 0
        cuts = []
        for utt, n, (speech, labels) in zip(utts, frames, pairs, strict=True):
            rng = utterance_rng(seed, utt) if self.random_crop else None
            cuts.append(crop.cut(speech, labels, crop.crop_start(n, wanted, rng), wanted))
        return cuts

    def _seed(self) -> int:
        if self.epoch is None:
            return int(np.random.randint(2**31))
        return int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0])
