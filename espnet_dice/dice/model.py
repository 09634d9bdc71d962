"""``model: dice_hubert``: a student that predicts its teacher's labels where it cannot see.

Chi et al., Interspeech 2025 (arXiv 2507.02911): HuBERT's own pre-training, one iteration on, with a
smaller model. L = Σ_i w_i L_i with the terms that the config lists under ``loss``.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel

from espnet_dice.dice import head as kinds
from espnet_dice.dice import losses
from espnet_dice.dice.head import FINAL_DIM, TEMPERATURE
from espnet_dice.dice.heads import LAST, Place, places
from espnet_dice.dice.terms import TERMS, Context, Seen
from espnet_dice.hubert.models import mask
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.io.errors import ConfigError, DataError, DiceError

PENALTY = "dice_features_pen"


class DiceHubertModel(AbsESPnetModel):
    """A student, the heads that predict clusters, and the terms of the loss.

    Args:
        student: from :func:`students.build`.
        loss: list of {name, weight, conf}; names are those of :data:`terms.TERMS`.
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
        masked_weight, unmasked_weight: of the frames in label losses; 1 and 0 in the paper.
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
        mask_prob: float = mask.MASK_PROB,
        mask_length: int = mask.MASK_LENGTH,
        masked_weight: float = 1.0,
        unmasked_weight: float = 0.0,
        features_pen: float = 0.0,
    ):
        super().__init__()
        if not features_pen >= 0:
            raise ConfigError(f"model_conf: features_pen must be >= 0, not {features_pen}")
        if not head_lr_factor > 0:
            raise ConfigError(f"model_conf: head_lr_factor must be > 0, not {head_lr_factor}")
        entries = parse(loss)
        context = Context(student.dims, labels, teacher, normalized)
        self.student = student
        self.term_weights = {name: weight for name, weight, _ in entries}
        self.term_weights[PENALTY] = self.features_pen = features_pen
        self.terms = torch.nn.ModuleDict(
            {name: _term(name, context, conf) for name, _, conf in entries}
        )
        self.places: list[Place] = []
        self.head_lr_factor = head_lr_factor
        if any(term.from_labels for term in self.terms.values()):
            if n_clusters is None:
                raise ConfigError("label losses need the number of clusters (--labels)")
            if masked_weight * mask_prob <= 0 and unmasked_weight <= 0:
                raise ConfigError(
                    "model_conf: no frame counts: masked_weight and mask_prob, or unmasked_weight, "
                    "must be > 0"
                )
            clusters = [n_clusters] if isinstance(n_clusters, int) else list(n_clusters)
            self.places = places(heads, len(clusters), len(student.dims) - 1, heights)
        self.heads = torch.nn.ModuleList(
            kinds.build(head, student.dims[p.layer], clusters[p.codebook], final_dim, temperature)
            for p in self.places
        )
        self.mask_prob = mask_prob
        self.mask_length = mask_length
        self.masked_weight = masked_weight
        self.unmasked_weight = unmasked_weight

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
        masks = self._masks(frames, utts).to(speech.device)

        hidden_frames = masks if self.mask_prob > 0 else None
        with self.student.measured() if self.features_pen else nullcontext() as squares:
            hidden = self.student(speech, lengths, hidden_frames)
        valid = None
        if lengths is not None:
            ends = torch.tensor(frames, device=speech.device)
            valid = torch.arange(max(frames), device=speech.device) < ends[:, None]
        weights = losses.frame_weights(masks, valid, self.masked_weight, self.unmasked_weight)
        predicted = []
        if self.heads:
            self._check_labels(labels, labels_lengths, frames, utts)
            predicted = self._predict(hidden)
        seen = Seen(speech, lengths, hidden, weights, valid, predicted, labels)
        weight = weights.sum() if predicted else weights.new_tensor(sum(frames))
        penalty = losses.features_pen(squares) * (weight > 0) if squares else None
        loss, stats = self._loss(seen, utts, penalty)
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
        return force_gatherable((loss, stats, weight.detach()), loss.device)

    def collect_feats(self, speech, speech_lengths, **kwargs) -> dict[str, torch.Tensor]:
        """ESPnet's collect_stats has nothing to collect: the waveform is the input."""
        return {"feats": speech, "feats_lengths": speech_lengths}

    def _predict(self, hidden: Sequence[torch.Tensor]) -> list[tuple[int, torch.Tensor]]:
        """Of each head its codebook and its logits, (B, T, K)."""
        found = []
        for place, head in zip(self.places, self.heads, strict=True):
            state = hidden[place.layer]
            if place.layer == len(hidden) - 1:
                state = self.student.final(state)
            found.append((place.codebook, head(state)))
        return found

    def _masks(self, frames: list[int], utts: list[str]) -> torch.Tensor:
        # ESPnet seeds torch for every epoch; validation has the same masks in every epoch
        seed = int(torch.randint(2**31, ())) if self.training else 0
        drawn = [
            mask.span_mask(n, mask.utterance_rng(seed, utt), self.mask_prob, self.mask_length)
            for n, utt in zip(frames, utts, strict=True)
        ]
        return mask.pad_masks(drawn, max(frames))

    def _check_labels(self, labels, labels_lengths, frames, utts) -> None:
        if labels is None:
            raise DataError(f"{utts[0]}: there are no labels: give PATH,labels,dice_labels")
        if "dice_soft" in self.terms and labels.dim() == 2:
            raise ConfigError("dice_soft needs the data type dice_labels; dice_ids are hard ids")
        if labels_lengths is None:
            return
        for utt, wanted, found in zip(utts, frames, labels_lengths.tolist(), strict=True):
            if wanted != found:
                raise DataError(f"{utt}: {wanted} frames of speech, {found} labels")

    def _loss(
        self, seen: Seen, utts: list[str], penalty: torch.Tensor | None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        parts = {name: term(seen) for name, term in self.terms.items()}
        if penalty is not None:
            parts[PENALTY] = penalty
        total = sum(self.term_weights[name] * part for name, part in parts.items())
        # costs no time: ESPnet's reporter reads every statistic from the device at each step
        if not torch.isfinite(total):
            raise DiceError(self._not_finite(seen, parts, utts))
        stats = {"loss": total.detach()}
        if len(parts) > 1:
            stats |= {name.replace("dice", "loss"): p.detach() for name, p in parts.items()}
        return total, stats

    def _not_finite(self, seen: Seen, parts: dict[str, torch.Tensor], utts: list[str]) -> str:
        said = ", ".join(f"{name} {part.item():g}" for name, part in parts.items())
        state = seen.hidden[-1]
        bad = ~torch.isfinite(state).all(-1).all(-1)
        named = [utt for utt, b in zip(utts, bad.tolist(), strict=True) if b] or utts
        silent = [u for u, row in zip(utts, seen.speech, strict=True) if not row.any()]
        lost = [n for n, p in self.student.named_parameters() if not torch.isfinite(p).all()]
        text = f"the loss is not finite ({said}; the student computes in {state.dtype})"
        text += f", utterances: {' '.join(named[:20])}{' …' if len(named) > 20 else ''}"
        if lost:
            text += f"; parameters were lost before: {lost[0]} and {len(lost) - 1} more"
        if silent:
            text += f"; silent: {' '.join(silent[:20])}"
        if state.dtype == torch.float16:
            return text + ": float16 overflows; use a GPU with bfloat16, or use_amp: false"
        return text + ": look at these, lower the learning rate, or set grad_clip"


def parse(loss: Sequence[dict[str, Any]]) -> list[tuple[str, float, dict[str, Any]]]:
    """The config's ``loss`` as (name, weight, conf), checked.

    Raises:
        ConfigError: no list of {name[, weight][, conf]}, an unknown or a repeated name.
    """
    if not isinstance(loss, (list, tuple)) or not loss:
        raise ConfigError("loss: must be a list of 'name', 'weight', 'conf'")
    entries = []
    for entry in loss:
        unknown = sorted(set(entry) - {"name", "weight", "conf"}) if isinstance(entry, dict) else []
        if not isinstance(entry, dict) or "name" not in entry or unknown:
            raise ConfigError(f"loss: an entry has name, weight and conf, not {entry!r}")
        name = entry["name"]
        if name not in TERMS:
            raise ConfigError(f"loss: no such loss {name!r}; one of {', '.join(TERMS)}")
        if name in (n for n, _, _ in entries):
            raise ConfigError(f"loss: {name} is listed twice")
        entries.append((name, float(entry.get("weight", 1.0)), entry.get("conf") or {}))
    return entries


def _term(name: str, context: Context, conf: dict[str, Any]) -> torch.nn.Module:
    from inspect import signature

    parameters = signature(TERMS[name].__init__).parameters
    known = [key for key in parameters if key not in ("self", "context")]
    for key in conf:
        if key not in known:
            raise ConfigError(
                f"loss: {name} has no key {key!r}; its keys: {', '.join(known) or 'none'}"
            )
    return TERMS[name](context, **conf)
