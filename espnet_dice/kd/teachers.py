"""Frozen teachers: what they say of a transcript, asked online or read from a cache."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from espnet_dice import compat
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.kd import alone, cache
from espnet_dice.kd.distillation_options import check_weights

MODES = ("cached", "online")
DEFAULT_MODEL = "valid.acc.ave.pth"


@dataclasses.dataclass(frozen=True)
class Targets:
    """What one teacher says of a batch.

    Attributes:
        log_probs: log p̂, (B, L+1, V).
        variances: σ², (B, L+1, V), or None.
        ctc_log_probs: log posteriors of the CTC branch, (B, T', V), or None.
        ctc_lengths: frames of each utterance, (B,), or None.
    """

    log_probs: torch.Tensor
    variances: torch.Tensor | None = None
    ctc_log_probs: torch.Tensor | None = None
    ctc_lengths: torch.Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Teacher:
    """One entry of ``model_conf: teachers``.

    Attributes:
        name: the teacher's tag, for messages and statistics.
        weight: r_k.
        exp: experiment directory (config.yaml and model file), for ``teacher_mode: online``.
        model_file: file in ``exp``.
    """

    name: str
    weight: float
    exp: str | None = None
    model_file: str = DEFAULT_MODEL


def parse(entries: list[dict], alpha: float, mode: str) -> list[Teacher]:
    """Check ``model_conf: teachers`` and return it typed."""
    if mode not in MODES:
        raise ConfigError(f"teacher_mode must be one of {MODES}, not {mode!r}")
    known = {f.name for f in dataclasses.fields(Teacher)}
    teachers = []
    for entry in entries:
        unknown = sorted(set(entry) - known)
        if len(entries) == 1:
            entry = {"weight": 1.0, **entry}
        if unknown or not {"name", "weight"} <= set(entry):
            raise ConfigError(
                f"teachers: an entry has the keys {sorted(known)}, name and weight at least; "
                f"got {sorted(entry)}"
            )
        teachers.append(Teacher(**entry))
    if alpha > 0 and not teachers:
        raise ConfigError("kd_alpha or kd_ctc > 0 needs at least one entry in model_conf: teachers")
    if teachers:
        check_weights([dataclasses.asdict(teacher) for teacher in teachers])
    if mode == "online" and any(t.exp is None for t in teachers):
        raise ConfigError("teacher_mode: online needs `exp` (an experiment directory) per teacher")
    return teachers


def load(exp: str | Path, model_file: str, token_list: list[str], device: str = "cpu"):
    """Build a frozen teacher from an ESPnet ASR experiment.

    Args:
        exp: directory with config.yaml.
        model_file: file in ``exp``.
        token_list: the student's; the teacher must have the same.

    Returns:
        The ESPnetASRModel in eval mode, without gradients.
    """
    from espnet2.tasks.asr import ASRTask

    import espnet_dice

    espnet_dice.register()
    config = Path(exp) / "config.yaml"
    weights = Path(exp) / model_file
    for path in (config, weights):
        if not path.is_file():
            raise ConfigError(f"teacher: {path} is missing: train it first (stage 5)")
    model, _ = ASRTask.build_model_from_file(str(config), str(weights), device)
    check_tokens(list(model.token_list), token_list, str(exp))
    return model.eval().requires_grad_(False)


def check_tokens(theirs: list[str], ours: list[str], who: str) -> None:
    """Refuse a teacher whose token list is not the student's, entry by entry."""
    if theirs == ours:
        return
    pairs = zip(theirs, ours, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(theirs), len(ours)))
    raise ConfigError(
        f"teacher {who} has another token list ({len(theirs)} entries, the student {len(ours)}; "
        f"first difference at entry {at}): train both on one list (stage 3)"
    )


@torch.no_grad()
def targets(
    model,
    speech: torch.Tensor,
    speech_lengths: torch.Tensor,
    text: torch.Tensor,
    text_lengths: torch.Tensor,
    n_samples: int = 0,
    with_ctc: bool = False,
    seeds: Sequence[int] | None = None,
) -> Targets:
    """Run a frozen teacher, teacher-forced on the reference, on clean (unaugmented) input.

    What it says of an utterance does not depend on the batch.

    Args:
        model: an ESPnetASRModel in eval mode; with our decoder it has variances, with any other
            attention decoder of ESPnet it has none.
        speech: features (B, T, F) or samples (B, N).
        speech_lengths: (B,).
        text: token ids padded with the model's ignore id, (B, L).
        text_lengths: (B,).
        n_samples: noise draws in p̂; 0 is log softmax(f).
        with_ctc: also the CTC branch's log posteriors.
        seeds: of each utterance's noise; from its text if None.
    """
    memory, memory_lens = alone.encode(model, speech, speech_lengths)
    logits, variances = forced(model, memory, memory_lens, text, text_lengths)
    seeds = alone.seeds(text, text_lengths) if seeds is None else seeds
    log_probs = alone.log_mean_probs(logits, variances, text_lengths + 1, n_samples, seeds)
    if not with_ctc:
        return Targets(log_probs, variances)
    if model.ctc is None:
        raise ConfigError("KD on the CTC branch needs a teacher with ctc_weight > 0")
    return Targets(log_probs, variances, model.ctc.log_softmax(memory), memory_lens)


def forced(
    model,
    memory: torch.Tensor,
    memory_lens: torch.Tensor,
    text: torch.Tensor,
    text_lengths: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logits and variances of each token of a text and of <eos>, after the true ones before it.

    Args:
        model: an ESPnetASRModel with an attention decoder.
        memory: what its encoder made, (B, T, D).
        memory_lens: (B,).
        text: token ids padded with the model's ignore id, (B, L).
        text_lengths: (B,).

    Returns:
        f (B, L+1, V); σ² (B, L+1, V), or None without a variance head.
    """
    ys_in, _ = compat.add_sos_eos(text, model.sos, model.eos, model.ignore_id)
    decoder = model.decoder
    if hasattr(decoder, "forward_with_variance"):
        return decoder.forward_with_variance(memory, memory_lens, ys_in, text_lengths + 1)
    return decoder(memory, memory_lens, ys_in, text_lengths + 1)[0], None


class OnlineTeachers:
    """Teachers run beside the student on the same batch, without its masks.

    They are loaded at first use, so that a trained student can be built without them, and are no
    part of its state dict.
    """

    def __init__(self, teachers: list[Teacher], token_list: list[str], n_samples: int):
        self.teachers = teachers
        self.token_list = token_list
        self.n_samples = n_samples
        self.models: list | None = None

    def __call__(self, speech, speech_lengths, text, text_lengths, with_ctc) -> list[Targets]:
        if self.models is None:
            self.models = [
                load(t.exp, t.model_file, self.token_list, str(speech.device))
                for t in self.teachers
            ]
        return [
            targets(m, speech, speech_lengths, text, text_lengths, self.n_samples, with_ctc)
            for m in self.models
        ]


class CachedTeachers:
    """Teachers read from the batch: data keys ``teacher1``, ``teacher2`` … in config order."""

    def __init__(self, teachers: list[Teacher], vocab_size: int, ignore_id: int):
        self.teachers = teachers
        self.vocab_size = vocab_size
        self.ignore_id = ignore_id

    def __call__(self, batch: dict, ys_out: torch.Tensor, with_ctc: bool) -> list[Targets]:
        found = []
        for k, teacher in enumerate(self.teachers, 1):
            name = f"teacher{k}"
            for key in [name, *([f"{name}_ctc"] if with_ctc else [])]:
                if key not in batch:
                    raise ConfigError(
                        f"teacher {teacher.name}: the data have no `{key}`; give its cached "
                        f"outputs as PATH,{key},kaldi_ark with --allow_variable_data_keys true, "
                        "or set teacher_mode: online"
                    )
            log_probs, variances = cache.unpack(
                batch[name],
                batch[f"{name}_lengths"],
                ys_out,
                self.vocab_size,
                self.ignore_id,
                teacher.name,
                batch.get("utt_id"),
            )
            ctc = (batch[f"{name}_ctc"], batch[f"{name}_ctc_lengths"]) if with_ctc else ()
            found.append(Targets(log_probs, variances, *ctc))
        return found


def check_variances(found: list[Targets], teachers: list[Teacher]) -> None:
    """Refuse teachers without variances where uncertainty is to be matched."""
    for target, teacher in zip(found, teachers, strict=True):
        if target.variances is None:
            raise ConfigError(
                f"teacher {teacher.name} has no variances, which kd_beta > 0 needs: train it with "
                "decoder: uncertainty_transformer, or set kd_beta: 0"
            )


def ctc_pair(
    log_probs: torch.Tensor, lengths: torch.Tensor, target: Targets, teacher: Teacher
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The student's and a teacher's CTC posteriors on their common frames.

    ESPnet's subsampling makes up to two frames more of an utterance that is padded than of the same
    one alone, so that the numbers of frames may differ by two from batch to batch.

    Args:
        log_probs: the student's, (B, T', V).
        lengths: its frames, (B,).

    Returns:
        Student (B, T, V), teacher (B, T, V), valid (B, T) bool.

    Raises:
        DataError: another frame rate.
    """
    theirs = target.ctc_lengths.to(lengths)
    if (theirs - lengths).abs().max() > 2:
        at = int((theirs - lengths).abs().argmax())
        raise DataError(
            f"teacher {teacher.name} has {int(theirs[at])} CTC frames where the student has "
            f"{int(lengths[at])}: kd_ctc > 0 needs equal frame rates (encoder_conf: input_layer, "
            "or subsample of an SSL encoder); kd_ctc: 0 takes any"
        )
    n = min(log_probs.size(1), target.ctc_log_probs.size(1))
    frames = torch.arange(n, device=log_probs.device)
    valid = frames[None, :] < torch.minimum(theirs, lengths)[:, None]
    return log_probs[:, :n], target.ctc_log_probs[:, :n], valid
