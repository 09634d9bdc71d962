"""What a frozen teacher said of a transcript, as one matrix an utterance.

A row is a teacher-forced step (the L tokens and <eos>); its columns are log p̂ (V), σ² (V, absent
for a teacher without a variance head) and the id of the token that the step had to predict. The ids
ride along so that a cache made for other transcripts or another token list is seen where it is
used, in any recipe that reads the ark.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espnet_dice.io import fingerprint
from espnet_dice.io.errors import DataError, StaleError

if TYPE_CHECKING:  # checking a cache must not cost the import of torch
    import torch

STAGE = "teacher_outputs"
# stems of the ark and the scp in a cache directory: the decoder's matrices, the CTC branch's
DECODER, CTC = "teacher", "ctc"
FACTS = "facts.json"


def pack(log_probs: np.ndarray, variances: np.ndarray | None, token_ids: np.ndarray) -> np.ndarray:
    """(L+1, V), (L+1, V) or None, (L+1,) → (L+1, 2V+1) or (L+1, V+1) float32."""
    parts = [log_probs, *([] if variances is None else [variances]), token_ids[:, None]]
    return np.concatenate(parts, axis=1).astype(np.float32)


def unpack(
    matrix: torch.Tensor,
    lengths: torch.Tensor,
    ys_out: torch.Tensor,
    vocab_size: int,
    ignore_id: int,
    name: str,
    utt_ids: list[str] | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A padded batch of cached matrices → log p̂ and σ², checked against the transcripts.

    Args:
        matrix: (B, L+1, 2V+1) or (B, L+1, V+1).
        lengths: rows of each utterance, (B,).
        ys_out: tokens with <eos>, padded with ``ignore_id``, (B, L+1).
        vocab_size: V.
        name: of the teacher, for messages.
        utt_ids: for messages.

    Returns:
        log p̂ (B, L+1, V); σ² (B, L+1, V), or None where the teacher had none.

    Raises:
        DataError: the cache belongs to another token list or other transcripts.
    """
    width = matrix.size(-1)
    if width not in (vocab_size + 1, 2 * vocab_size + 1):
        raise DataError(
            f"teacher {name}: cached outputs have {width} columns, but the student has "
            f"{vocab_size} tokens: the teacher used another token list; make its outputs again "
            "with this one (stage 6)"
        )
    valid = ys_out != ignore_id
    ids = matrix[..., -1].round().long()
    same_shape = matrix.size(1) == ys_out.size(1)
    if same_shape:
        bad = (valid.sum(1) != lengths) | ((ids != ys_out) & valid).any(dim=1)
    if not same_shape or bool(bad.any()):
        rows = bad.nonzero().flatten().tolist() if same_shape else _first_mismatch(lengths, valid)
        who = ", ".join(utt_ids[i] for i in rows[:3]) if utt_ids else f"row {rows[0]} of a batch"
        raise DataError(
            f"teacher {name}: cached outputs of {who} were made for another transcript or token "
            "list; make them again (stage 6)"
        )
    log_probs = matrix[..., :vocab_size]
    variances = matrix[..., vocab_size : 2 * vocab_size] if width > vocab_size + 1 else None
    return log_probs, variances


def check(cache_dir: str | Path, data_key: str, token_key: str, teacher_key: str) -> str:
    """Refuse a cache that was made from other data, tokens or teacher.

    Args:
        cache_dir: exp/teacher_outputs/<teacher>/<set>.
        data_key: key of dump/<feats_type>/<set>.
        token_key: digest of the token list.
        teacher_key: digest of the teacher's model file.

    Returns:
        The key of the cache, an input of the student's fingerprint.

    Raises:
        StaleError: missing, unfinished, or made from something else; the message says what.
    """
    key = fingerprint.key_of(cache_dir, "stage 6 (teacher outputs)")
    inputs = fingerprint.read(cache_dir)["inputs"]
    now = {"data": data_key, "tokens": token_key, "teacher": teacher_key}
    changed = [name for name, value in now.items() if inputs.get(name) != value]
    if changed:
        raise StaleError(
            f"{cache_dir} was made from other {' and '.join(changed)} than there are now: "
            "run stage 6 again"
        )
    return key


def _first_mismatch(lengths: torch.Tensor, valid: torch.Tensor) -> list[int]:
    rows = (valid.sum(1) != lengths).nonzero().flatten().tolist()
    return rows or [0]
