"""``model: dice_hubert``: a student that predicts its teacher's labels where it cannot see.

Chi et al., Interspeech 2025 (arXiv 2507.02911): HuBERT's own pre-training, one iteration on, with a
smaller model. L = Σ_i w_i L_i with the terms that the config lists under ``loss``.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel

from espnet_dice.dice import entries, faults, losses, start
from espnet_dice.dice import head as kinds
from espnet_dice.dice.head import FINAL_DIM, TEMPERATURE
from espnet_dice.dice.heads import LAST, Place, places
from espnet_dice.dice.loss_terms import LossContext, StudentOutputs
from espnet_dice.hubert.models import mask, schedule
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.io.errors import ConfigError, DiceError

PENALTY = "dice_features_pen"


class DiceHubertModel(AbsESPnetModel):
    """A student, the heads that predict clusters, and the terms of the loss.

    Args:
        student: from :func:`students.build`.
        loss: list of {name, weight, conf}; names are those of :data:`loss_terms.TERMS`.
        n_clusters: K, of several codebooks of each; None without label losses.
        labels: directory of the training labels, for ``dice_soft``.
        teacher: source of the teacher, for ``dice_feature``.
        normalized: whether waveforms come with mean 0 and variance 1.
        heights: relative height of the teacher's layer of each codebook, for ``heads: matched``.
        head: ``cosine``, the paper's (:class:`head.CosineHead`), or ``linear``, ours
            (:class:`head.LinearHead`).
        final_dim, temperature: of the cosine head.
        heads: which layer predicts which codebook, see :func:`heads.places`. The default is the
            paper's for one codebook, one head on the last layer; all else is ours. A label loss is
            the mean over heads. A head on the last layer comes after the student's last norm, where
            it has one.
        head_lr_factor: of the learning rate of the heads; 1 in the paper.
        mask_prob, mask_length: see :mod:`mask`; ``mask_prob`` 0 masks nothing.
        masked_weight, unmasked_weight: of the frames in label losses; 1 and 0 in the paper. These,
            ``mask_prob`` and the losses' weights may be schedules (:mod:`schedule`, ours). In
            validation every one has its last value: all epochs are measured alike.
        updates: that the shares in schedules are of.
        init: ``teacher``: training begins with what fits of the teacher's parameters
            (:func:`start.from_teacher`, ours); ``pca``: with a student cut from a wider teacher
            (:mod:`cut`, ours); None, the paper's: with fresh ones.
        init_layers: which of the teacher's blocks, from 1.
        features_pen: weight of the L2 penalty on the output of the student's convolutions
            (:func:`losses.features_pen`). 10 in HuBERT's recipe (fairseq, ``loss_weights: [10]``):
            there the penalty is multiplied by the number of masked frames and added to the sum of
            their losses, here it is added to their mean. 0: none.
    """

    def __init__(
        self,
        student: torch.nn.Module,
        loss: Sequence[dict[str, Any]],
        n_clusters: int | Sequence[int] | None = None,
        labels: str | None = None,
        teacher: str | None = None,
        normalized: bool = False,
        heights: Sequence[float] | None = None,
        head: str = "cosine",
        final_dim: int = FINAL_DIM,
        temperature: float = TEMPERATURE,
        heads: str | Sequence[dict[str, int]] = LAST,
        head_lr_factor: float = 1.0,
        mask_prob: float | dict[str, float] = mask.MASK_PROB,
        mask_length: int = mask.MASK_LENGTH,
        masked_weight: float | dict[str, float] = 1.0,
        unmasked_weight: float | dict[str, float] = 0.0,
        updates: int | None = None,
        features_pen: float = 0.0,
        init: str | None = None,
        init_layers: Sequence[int] | None = None,
    ):
        super().__init__()
        if not features_pen >= 0:
            raise ConfigError(f"model_conf: features_pen must be >= 0, not {features_pen}")
        kinds.check(head, head_lr_factor)
        start.check(init)
        listed = entries.parse(loss)
        frames = {"masked_weight": masked_weight, "unmasked_weight": unmasked_weight}
        self.schedules = entries.schedules(listed, {"mask_prob": mask_prob, **frames}, updates)
        schedule.follow(self, self.schedules)
        self.init, self.init_layers, self.source = init, init_layers, teacher
        self.normalized = normalized
        context = LossContext(student.dims, labels, teacher, normalized)
        self.student = student
        self.features_pen = features_pen
        self.terms = torch.nn.ModuleDict(
            {name: entries.term(name, context, conf) for name, _, conf in listed}
        )
        self.places: list[Place] = []
        self.head_lr_factor = head_lr_factor
        if any(term.from_labels for term in self.terms.values()):
            if n_clusters is None:
                raise ConfigError("label losses need the number of clusters (--labels)")
            self._check_frames_count()
            clusters = [n_clusters] if isinstance(n_clusters, int) else list(n_clusters)
            self.places = places(heads, len(clusters), len(student.dims) - 1, heights)
        self.heads = torch.nn.ModuleList(
            kinds.build(head, student.dims[p.layer], clusters[p.codebook], final_dim, temperature)
            for p in self.places
        )
        self.mask_length = mask_length

    def begin(self, speech: Callable[[int], Sequence[torch.Tensor]]) -> None:
        """Do what belongs to the beginning of a training only: start from the teacher, if asked.

        Blocks that no loss reaches are warned of.

        Args:
            speech: utterances of the training set with so many frames, (samples,) each.

        Raises:
            DiceError: there is no teacher, or it does not go with the student.
        """
        last = len(self.student.dims) - 1
        highest = max((place.layer for place in self.places), default=last)
        if highest < last and all(term.from_labels for term in self.terms.values()):
            logging.warning(
                "model_conf: heads: none is above layer %d: the student's blocks from %d to %d "
                "learn nothing; heads: last has one at the last layer",
                highest,
                highest + 1,
                last,
            )
        if self.init is None:
            return
        if self.source is None:
            raise ConfigError(f"model_conf: init: {self.init} needs a teacher (--teacher)")
        about = (self.source, self.init_layers, self.normalized, speech)
        start.begin(self.init, self.student, *about)

    def forward(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        labels: torch.Tensor | None = None,
        labels_lengths: torch.Tensor | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Loss, statistics and weight of a batch, as ESPnet's trainer wants them.

        The loss is a mean over the frames that count, and the weight is their number: ESPnet's
        distributed trainer then makes it the mean over the frames of all processes.

        Args:
            speech: (B, S) samples at 16 kHz.
            speech_lengths: (B,).
            labels: hard ids (B, T), of several codebooks (B, T, C), or records (B, T, W).
            labels_lengths: (B,).
            kwargs: ``utt_id``, for masks and messages.

        Raises:
            DataError: there are no labels, or not as many as frames.
            DiceError: the loss is NaN or infinite.
        """
        samples = speech_lengths.tolist()
        speech = speech[:, : max(samples)]
        utts = kwargs.get("utt_id") or []
        if len(utts) != len(samples):
            utts = [str(i) for i in range(len(samples))]
        lengths = None if min(samples) == max(samples) else speech_lengths
        frames = [n_frames(n) for n in samples]
        now = schedule.now(self, self.schedules)
        masks = self._masks(frames, utts, now["mask_prob"]).to(speech.device)
        # where masking is to begin later, the mask embedding belongs to every step all the same
        hidden_frames = masks if self.schedules["mask_prob"].most > 0 else None
        # before the student: behind it a GPU that is read, or written to, is waited for
        if self.heads:
            faults.check_labels(labels, labels_lengths, frames, utts, "dice_soft" in self.terms)
        valid = None
        if lengths is not None:
            ends = torch.tensor(frames, device=speech.device)
            valid = torch.arange(max(frames), device=speech.device) < ends[:, None]
        weights = losses.frame_weights(masks, valid, now["masked_weight"], now["unmasked_weight"])
        with self.student.measured() if self.features_pen else nullcontext() as squares:
            hidden = self.student(speech, lengths, hidden_frames)
        predicted = self.predict(hidden)
        seen = StudentOutputs(speech, lengths, hidden, weights, valid, predicted, labels)
        weight = weights.sum() if predicted else weights.new_full((), sum(frames))
        penalty = losses.features_pen(squares) * (weight > 0) if squares else None
        loss, stats = self._loss(seen, utts, penalty, now)
        if predicted:
            shown = ~masks if valid is None else ~masks & valid
            codebook, logits = predicted[-1]
            stats["acc_m"] = losses.accuracy(logits, seen.ids(codebook), masks)
            stats["acc_u"] = losses.accuracy(logits, seen.ids(codebook), shown)
            for place, (codebook, logits) in zip(self.places, predicted, strict=True):
                if len(predicted) > 1:
                    right = losses.accuracy(logits, seen.ids(codebook), masks)
                    stats[f"acc_m_{place.name}"] = right
        stats["masked"] = masks.sum() / sum(frames)
        # ESPnet's trainer divides the loss in place by accum_grad: statistics stay what they are
        return force_gatherable((loss.clone(), stats, weight.detach()), loss.device)

    def collect_feats(self, speech, speech_lengths, **kwargs) -> dict[str, torch.Tensor]:
        """ESPnet's collect_stats has nothing to collect: the waveform is the input."""
        return {"feats": speech, "feats_lengths": speech_lengths}

    def predict(self, hidden: Sequence[torch.Tensor]) -> list[tuple[int, torch.Tensor]]:
        """Of each head its codebook and its logits, (B, T, K).

        Args:
            hidden: the student's states.
        """
        found = []
        for place, head in zip(self.places, self.heads, strict=True):
            state = hidden[place.layer]
            if place.layer == len(hidden) - 1:
                state = self.student.final(state)
            found.append((place.codebook, head(state)))
        return found

    def _check_frames_count(self) -> None:
        for update in schedule.corners(self.schedules):
            at = {name: one.at(update) for name, one in self.schedules.items()}
            if at["masked_weight"] * at["mask_prob"] <= 0 and at["unmasked_weight"] <= 0:
                when = f" at update {update}" if hasattr(self, schedule.UPDATES) else ""
                raise ConfigError(
                    f"model_conf: no frame counts{when}: masked_weight and mask_prob, or "
                    "unmasked_weight, must be > 0"
                )

    def _masks(self, frames: list[int], utts: list[str], mask_prob: float) -> torch.Tensor:
        # ESPnet seeds torch for every epoch; validation has the same masks in every epoch
        seed = int(torch.randint(2**31, ())) if self.training else 0
        drawn = [
            mask.span_mask(n, mask.utterance_rng(seed, utt), mask_prob, self.mask_length)
            for n, utt in zip(frames, utts, strict=True)
        ]
        return mask.pad_masks(drawn, max(frames))

    def _loss(
        self,
        seen: StudentOutputs,
        utts: list[str],
        penalty: torch.Tensor | None,
        now: dict[str, float],
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        # a loss that does not count is not computed: a feature loss has a teacher to run
        parts = {name: term(seen) for name, term in self.terms.items() if now[name]}
        total = sum(now[name] * part for name, part in parts.items())
        # what has no part in this step belongs to it all the same: processes wait for each gradient
        rest = [p for name, term in self.terms.items() if not now[name] for p in term.parameters()]
        total = total + sum(0 * p.sum() for p in rest)
        if not any(self.terms[name].from_labels for name in parts):
            total = total + sum(0 * logits.sum() for _, logits in seen.predicted)
        if penalty is not None:
            parts[PENALTY] = penalty
            total = total + self.features_pen * penalty
        # costs no time: ESPnet's reporter reads every statistic from the device at each step
        if not torch.isfinite(total):
            raise DiceError(faults.not_finite(self.student, seen, parts, utts))
        stats = {"loss": total.detach()}
        if len(parts) > 1:
            stats |= {name.replace("dice", "loss"): p.detach() for name, p in parts.items()}
        if self.training:
            stats |= {
                name.replace("dice", "weight"): total.new_full((), now[name])
                for name, one in self.schedules.items()
                if one.moves
            }
        return total, stats
