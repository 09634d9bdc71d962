"""``model: uncertainty_kd``: ESPnet's CTC/attention model, taught by teachers.

Kim et al., Interspeech 2021: L = w_ctc · L_ctc + (1 - w_ctc) · [(1-α) L_NLL + α L_KD],
L_KD = Σ_k r_k [(1-β) L_tok,k + β L_unc,k]. With kd_alpha 0: a teacher, or a student without KD.
α, β and the share of KD in the CTC loss may rise or fall: see ``hubert/models/schedule.py``.
"""

import torch
from espnet2.asr.espnet_model import ESPnetASRModel
from espnet2.torch_utils.device_funcs import force_gatherable

from espnet_dice import compat
from espnet_dice.hubert.models import schedule
from espnet_dice.io.errors import ConfigError
from espnet_dice.kd import alone, losses, warp
from espnet_dice.kd.taught import Taught
from espnet_dice.kd.teachers import CachedTeachers, OnlineTeachers, check_variances, parse
from espnet_dice.kd.variance import log_mean_softmax
from espnet_dice.kd.weights import weights

TEACHER_WEIGHTS = ("fixed", "certainty")


class UncertaintyKDModel(ESPnetASRModel):
    """An ESPnetASRModel whose attention loss may have teachers.

    Args (``model_conf`` beside ESPnet's own keys):
        kd_alpha: α, share of L_KD in the attention loss; 0 turns KD off. The paper gives no value.
        kd_beta: β, share of uncertainty matching in L_KD; 0 is token KD alone. No value given.
        kd_temperature: T of token KD; 1 is the paper's literal reading.
        kd_ctc: share of KD in the CTC loss (frame-wise soft cross-entropy); the paper's wording
            points to the decoder only, so 0. Cached targets follow the student's time warping.
        kd_convex: (1-w)·a + w·b if true (default), a + w·b if false; open in the paper.
        kd_beta_added: L_tok + β L_unc whatever kd_convex says (ours): matching comes on top of
            token KD, whose weight stays α; with (1-β) it takes as much from it.
        updates: that the shares in schedules are of. ``kd_alpha``, ``kd_beta`` and ``kd_ctc`` may
            be schedules (ours). In validation every one has its last value: all epochs are
            measured alike.
        kd_teacher_weights: ``fixed``: r_k as given; ``certainty``: of each token r_k times how sure
            teacher k is of it (:func:`losses.certainty_weights`; ours).
        unc_vector: which noise vector is matched (:data:`losses.UNC_VECTORS`).
        unc_norm: how its squared error is normalised (:data:`losses.UNC_NORMS`).
        teachers: list of {name, weight[, exp, model_file]}; weights r_k sum to 1.
        teacher_mode: ``cached`` reads teacher1, teacher2 … from the data, ``online`` runs them, on
            features after SpecAugment's time warp (its masks are for the student alone).
        teacher_samples: noise draws in the online teachers' p̂.
    """

    def __init__(
        self,
        *args,
        kd_alpha: float | dict[str, float] = 0.0,
        kd_beta: float | dict[str, float] = 0.0,
        kd_temperature: float = 1.0,
        kd_ctc: float | dict[str, float] = 0.0,
        kd_convex: bool = True,
        kd_beta_added: bool = False,
        updates: int | None = None,
        kd_teacher_weights: str = "fixed",
        unc_vector: str = "variance",
        unc_norm: str = "nmse",
        teachers: list[dict] | None = None,
        teacher_mode: str = "cached",
        teacher_samples: int = 50,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        conf = {"kd_alpha": kd_alpha, "kd_beta": kd_beta, "kd_ctc": kd_ctc, "updates": updates}
        self.schedules = weights(conf)
        self.alpha, self.beta, self.ctc_share = (one.most for one in self.schedules.values())
        """The largest values that the weights have; 0 where one is off throughout."""
        self.kd_convex = kd_convex
        self.beta_convex = kd_convex and not kd_beta_added
        self._check(kd_temperature, unc_vector, unc_norm, kd_teacher_weights)
        schedule.follow(self, self.schedules)
        self.teacher_mode = teacher_mode
        self.teachers = parse(teachers or [], self.alpha + self.ctc_share, teacher_mode)
        by_certainty = kd_teacher_weights == "certainty"
        self.taught = Taught(self.teachers, by_certainty, kd_temperature, unc_vector, unc_norm)
        tokens = list(self.token_list)
        self.shared_warp = None
        if teacher_mode == "online" and self.teachers and self.frontend is None:
            self.shared_warp = warp.take_out(self.specaug)
        elif self.ctc_share > 0:
            warp.track(self.specaug)
        self._online = OnlineTeachers(self.teachers, tokens, teacher_samples)
        self._cached = CachedTeachers(self.teachers, self.vocab_size, self.ignore_id)

    def _check(self, temperature, vector, norm, teacher_weights) -> None:
        if self.use_transducer_decoder or self.use_linear_decoder or self.decoder is None:
            raise ConfigError("uncertainty_kd needs an attention decoder (ctc_weight < 1)")
        if self.interctc_weight != 0.0 or self.lang_token_id is not None:
            raise ConfigError("uncertainty_kd has no interctc_weight and no lang_token_id")
        if not hasattr(self.decoder, "forward_with_variance"):
            raise ConfigError("uncertainty_kd needs decoder: uncertainty_transformer")
        for name, one in self.schedules.items():
            convex = self.beta_convex if name == "kd_beta" else self.kd_convex
            if one.least < 0 or (convex and one.most > 1):
                raise ConfigError(f"{name} must be in [0, 1], not {one}")
        if temperature <= 0:
            raise ConfigError(f"kd_temperature must be > 0, not {temperature}")
        if self.ctc_share > 0 and self.ctc is None:
            raise ConfigError("kd_ctc > 0 needs ctc_weight > 0")
        if vector not in losses.UNC_VECTORS:
            raise ConfigError(f"unc_vector must be one of {losses.UNC_VECTORS}, not {vector!r}")
        if norm not in losses.UNC_NORMS:
            raise ConfigError(f"unc_norm must be one of {losses.UNC_NORMS}, not {norm!r}")
        if teacher_weights not in TEACHER_WEIGHTS:
            raise ConfigError(
                f"kd_teacher_weights must be one of {TEACHER_WEIGHTS}, not {teacher_weights!r}"
            )
        if self.alpha > 0 and self.beta > 0 and self.decoder.variance is None:
            raise ConfigError("kd_beta > 0 needs a student with variances (decoder_conf: variance)")

    def train(self, mode: bool = True) -> "UncertaintyKDModel":
        """torch's. A training's convolutions of images lie channels last.

        Those of conv2d's subsampling are 45 % of a small model's step on a CPU, and a quarter less
        so. Where a model is used they stay as ESPnet has them, and outputs are ESPnet's to the bit.
        """
        if mode:
            self.encoder.to(memory_format=torch.channels_last)
        return super().train(mode)

    def forward(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        **kwargs,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Loss, statistics and weight of a batch, as ESPnet's trainer wants them.

        Args:
            speech: (B, T, F) features or (B, N) samples.
            speech_lengths: (B,).
            text: token ids, (B, L), padded with -1.
            text_lengths: (B,).
            kwargs: ``utt_id`` and, with cached teachers, ``teacher1``, ``teacher1_lengths`` ….
        """
        text = text[:, : text_lengths.max()]
        text = text.masked_fill(text == -1, self.ignore_id)
        batch_size = speech.size(0)
        ys_in, ys_out = compat.add_sos_eos(text, self.sos, self.eos, self.ignore_id)
        if self.shared_warp is not None and self.training:
            speech, speech_lengths = self.shared_warp(speech, speech_lengths)
        # before the student's own encoder: its GlobalMVN and SpecAugment may work in place
        found = self._targets(speech, speech_lengths, text, text_lengths, ys_out, kwargs)
        memory, memory_lens = self.encode(speech, speech_lengths)
        now = schedule.now(self, self.schedules)

        loss_att, stats = self._attention_loss(
            memory, memory_lens, ys_in, ys_out, text, text_lengths, found, now
        )
        if self.ctc_weight == 0.0:
            loss = loss_att
        else:
            loss_ctc, ctc_stats = self._ctc_loss(
                memory, memory_lens, text, text_lengths, found, now
            )
            stats.update(ctc_stats)
            loss = self.ctc_weight * loss_ctc + (1 - self.ctc_weight) * loss_att
        if self.training:
            moving = (name for name, one in self.schedules.items() if one.moves)
            stats |= {name: loss.new_full((), now[name]) for name in moving}
        stats["loss"] = loss.detach()
        # ESPnet's trainer divides the loss in place by accum_grad: statistics stay what they are
        return force_gatherable((loss.clone(), stats, batch_size), loss.device)

    def _targets(self, speech, speech_lengths, text, text_lengths, ys_out, batch):
        with_ctc = self.ctc_share > 0
        if self.alpha == 0.0 and not with_ctc:
            return []
        if self.teacher_mode == "online":
            found = self._online(speech, speech_lengths, text, text_lengths, with_ctc)
        else:
            found = self._cached(batch, ys_out, with_ctc)
        if self.alpha > 0 and self.beta > 0:
            check_variances(found, self.teachers)
        return found

    def _attention_loss(self, memory, memory_lens, ys_in, ys_out, text, text_lengths, found, now):
        logits, variances = self.decoder.forward_with_variance(
            memory, memory_lens, ys_in, text_lengths + 1
        )
        samples = self.decoder.train_samples
        if self.training:
            log_probs = log_mean_softmax(logits, variances, samples)
        else:  # one noise for an utterance: a validation loss depends on no batch and no epoch
            seeds = alone.seeds(text, text_lengths)
            log_probs = alone.log_mean_probs(logits, variances, text_lengths + 1, samples, seeds)
        # log_softmax leaves log-probabilities as they are: ESPnet's own smoothed loss applies
        loss_nll = self.criterion_att(log_probs, ys_out)
        stats = {"loss_nll": loss_nll.detach()}
        if variances is not None:
            valid = ys_out != self.ignore_id
            each = variances.detach().mean(-1).masked_fill(~valid, 0)
            stats["variance"] = each.sum() / valid.sum()
        loss = loss_nll
        if self.alpha > 0:
            loss_kd, kd_stats = self._kd_loss(log_probs, variances, ys_out, found, now)
            stats.update(kd_stats)
            loss = losses.mix(loss_nll, loss_kd, now["kd_alpha"], self.kd_convex)
        if variances is not None and any(one.moves for one in self.schedules.values()):
            # where matching begins later, the variance head belongs to every step all the same:
            # processes wait for each gradient
            loss = loss + 0 * variances.sum()
        stats["loss_att"] = loss.detach()
        stats["acc"] = compat.th_accuracy(
            logits.reshape(-1, self.vocab_size), ys_out, ignore_label=self.ignore_id
        )
        cer, wer = None, None
        if not self.training and self.error_calculator is not None:
            cer, wer = self.error_calculator(logits.argmax(dim=-1).cpu(), text.cpu())
        stats.update(cer=cer, wer=wer)
        return loss, stats

    def _kd_loss(self, log_probs, variances, ys_out, found, now):
        valid = ys_out != self.ignore_id
        denom = valid.sum() if self.criterion_att.normalize_length else ys_out.size(0)
        loss_tok = self.taught.tokens(log_probs, found, valid) / denom
        stats = {"loss_tok": loss_tok.detach()}
        if self.beta == 0.0:
            return loss_tok, stats
        loss_unc = self.taught.uncertainty(variances, found, valid) / denom
        stats["loss_unc"] = loss_unc.detach()
        # r_k and β commute: both are linear
        return losses.mix(loss_tok, loss_unc, now["kd_beta"], self.beta_convex), stats

    def _ctc_loss(self, memory, memory_lens, text, text_lengths, found, now):
        loss, cer = self._calc_ctc_loss(memory, memory_lens, text, text_lengths)
        stats = {"loss_ctc": loss.detach(), "cer_ctc": cer}
        if self.ctc_share > 0:
            log_probs = self.ctc.log_softmax(memory)
            found = warp.follow(self.specaug, found, memory.size(1))
            loss_kd = self.taught.frames(log_probs, memory_lens, found) / memory.size(0)
            stats["loss_ctc_kd"] = loss_kd.detach()
            loss = losses.mix(loss, loss_kd, now["kd_ctc"], self.kd_convex)
        return loss, stats
