"""What one recogniser says of a set, token by token: the file ``tokens.npz``.

Passes: ``ref``, teacher-forced on the transcript, and ``hyp``, forced on what beam search without a
language model found, which is all that there is in use. Of each pass the file has ``<pass>_ids``
and the measures of :func:`espnet_dice.kd.token_uncertainty.token_uncertainty`, all (T,), the tokens
of all utterances one after the other, each with its <eos>; and ``<pass>_ends`` (N,), where
utterances end.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

OUT, FILE = "uncertainty", "tokens.npz"
REF, HYP = "ref", "hyp"
BATCH = 16


@dataclass(frozen=True)
class TokenUncertainty:
    """The file, read.

    Attributes:
        utterances: ids, (N,).
        tokens: the token list, (V,).
        passes: ``ref`` and perhaps ``hyp`` → measure → (T,).
        ends: pass → (N,).
    """

    utterances: list[str]
    tokens: list[str]
    passes: dict[str, dict[str, np.ndarray]]
    ends: dict[str, np.ndarray]

    def utterance(self, which: str, measure: str) -> list[np.ndarray]:
        """A measure of a pass, utterance by utterance."""
        return np.split(self.passes[which][measure], self.ends[which][:-1])

    def groups(self, which: str) -> np.ndarray:
        """Number of the utterance of each token, (T,)."""
        return np.repeat(np.arange(len(self.utterances)), np.diff(self.ends[which], prepend=0))


def read(path: Path) -> TokenUncertainty:
    """Read ``tokens.npz``."""
    with np.load(path, allow_pickle=False) as found:
        arrays = dict(found)
    utterances, tokens = (arrays.pop(k).tolist() for k in ("utterances", "tokens"))
    passes: dict[str, dict[str, np.ndarray]] = {}
    for name, values in arrays.items():
        which, _, measure = name.partition("_")
        passes.setdefault(which, {})[measure] = values
    ends = {which: measures.pop("ends") for which, measures in passes.items()}
    return TokenUncertainty(utterances, tokens, passes, ends)


def ask(
    model: Any,
    entries: Sequence[str],
    inputs: Callable[[str], np.ndarray],
    lengths: Mapping[str, int],
    texts: Mapping[str, Mapping[str, Sequence[str]]],
    n_samples: int,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, np.ndarray]:
    """Ask a recogniser.

    Args:
        model: ESPnetASRModel in eval mode, on ``device``.
        entries: its token list.
        inputs: utterance → features or samples.
        lengths: utterance → frames or samples, of all utterances.
        texts: pass → utterance → tokens, without <eos>.
        n_samples: noise draws in p̂.
        seed: of the draws.
        device: ``cpu`` or ``cuda:N``.

    Returns:
        The arrays of the file.
    """
    import torch

    from espnet_dice.kd import alone

    ids = {token: i for i, token in enumerate(entries)}
    utterances = sorted(lengths)
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {which: {} for which in texts}
    order = sorted(utterances, key=lambda utt: (lengths[utt], utt))
    with torch.no_grad():
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            speech = [torch.as_tensor(np.array(inputs(utt), np.float32)) for utt in batch]
            frames = torch.tensor([len(s) for s in speech], device=device)
            padded = torch.nn.utils.rnn.pad_sequence(speech, batch_first=True).to(device)
            memory, memory_lens = alone.encode(model, padded, frames)
            seeds = [(seed << 32) + zlib.crc32(utt.encode()) for utt in batch]
            for which, tokens in texts.items():
                written = [
                    torch.tensor([ids[t] for t in tokens[utt]], dtype=torch.long) for utt in batch
                ]
                measured = _forced(model, memory, memory_lens, written, n_samples, seeds)
                for utt, measures in zip(batch, measured, strict=True):
                    found[which][utt] = measures
    arrays = {"utterances": np.array(utterances), "tokens": np.array(entries)}
    for which, by_utterance in found.items():
        each = [by_utterance[utt] for utt in utterances]
        arrays[f"{which}_ends"] = np.cumsum([len(m["ids"]) for m in each])
        for measure in each[0]:
            arrays[f"{which}_{measure}"] = np.concatenate([m[measure] for m in each])
    return arrays


def _forced(
    model, memory, memory_lens, written: list, n_samples: int, seeds: list[int]
) -> list[dict]:
    import torch

    from espnet_dice.kd.teachers import forced
    from espnet_dice.kd.token_uncertainty import token_uncertainty

    device = memory.device
    text = torch.nn.utils.rnn.pad_sequence(
        written, batch_first=True, padding_value=model.ignore_id
    ).to(device)
    lens = torch.tensor([len(w) for w in written], device=device)
    logits, variances = forced(model, memory, memory_lens, text, lens)
    measured = []
    for b, tokens in enumerate(written):
        n = len(tokens) + 1  # with <eos>
        ids = torch.cat([tokens, torch.tensor([model.eos])]).to(device)
        var = None if variances is None else variances[b, :n]
        generator = torch.Generator(device=device).manual_seed(seeds[b])
        said = token_uncertainty(logits[b, :n], var, ids, n_samples, generator)
        made = {k: v.cpu().numpy().astype(np.float32) for k, v in said.items()}
        made["ids"], made["top"] = (x.cpu().numpy().astype(np.int32) for x in (ids, said["top"]))
        measured.append(made)
    return measured
