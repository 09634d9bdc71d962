"""Shards of a teacher's outputs: archives of what it says of some utterances' transcripts."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.io.arks import new_ark
from espnet_dice.io.errors import DataError
from espnet_dice.io.fingerprint import digest
from espnet_dice.kd import cache
from espnet_dice.records import feature_dir, tokens, transcripts
from espnet_dice.work import shards
from espnet_dice.work.shards import Shard


@dataclass(frozen=True)
class TeacherForcing:
    """How a teacher is run.

    Attributes:
        teacher: its experiment.
        model_file: its parameters, below ``teacher``.
        token_list: the student's.
        n_samples: noise draws in p̂ (0: log softmax of the logits).
        with_ctc: also the CTC branch's log posteriors.
        seed: of the noise.
        batch_size: utterances at a time.
    """

    teacher: Path
    model_file: str
    token_list: Path
    n_samples: int = 50
    with_ctc: bool = False
    seed: int = 0
    batch_size: int = 16


@dataclass(frozen=True)
class TeacherShard(Shard):
    """A teacher's outputs for some batches of utterances.

    Attributes:
        utterances: ids, in order of length, so that a batch has little padding.
        dump: path of the speech and the transcripts.
        forcing: how.
        made_from: fingerprint of the cache.
    """

    utterances: tuple[str, ...]
    dump: Path
    forcing: TeacherForcing
    made_from: str

    def ark(self, stem: str) -> Path:
        """The archive of the decoder's or of the CTC branch's matrices."""
        return self.out_dir / f"{stem}.{self.number}.ark"

    @property
    def stems(self) -> tuple[str, ...]:
        """Of the archives that are made."""
        return (cache.DECODER, cache.CTC) if self.forcing.with_ctc else (cache.DECODER,)

    @property
    def targets(self) -> tuple[Path, ...]:
        """The archives."""
        return tuple(self.ark(stem) for stem in self.stems)

    def key(self) -> str:
        """Everything that the outputs depend on: batches differ by rounding."""
        return digest([self.made_from, self.forcing.batch_size, self.utterances])

    def write(self, problems: list[str], count: Callable[[int], None]) -> dict[str, Any]:
        """Run the teacher.

        Raises:
            DataError: speech or a transcript cannot be read.
        """
        how = self.forcing
        model, entries = _teacher(how.teacher, how.model_file, how.token_list)
        rows: dict[str, list[tuple[str, int]]] = {stem: [] for stem in self.stems}
        sums: dict[str, float] = {}
        with ExitStack() as open_arks:
            put = {stem: open_arks.enter_context(new_ark(self.ark(stem))) for stem in self.stems}
            for batch in self._batches(entries):
                for utt, matrices in teacher_forced(model, how, *batch):
                    for stem in self.stems:
                        rows[stem].append((utt, put[stem](utt, matrices[stem])[0]))
                    for name, value in totals(matrices[cache.DECODER], len(entries)).items():
                        sums[name] = sums.get(name, 0) + value
                count(len(rows[cache.DECODER]))
        return {
            "bytes": sum(target.stat().st_size for target in self.targets),
            "rows": rows,
            "totals": sums,
        }

    def _batches(self, entries: list[str]) -> Iterator[tuple]:
        """Ids, speech, its lengths, token ids, their lengths; speech is read batch by batch."""
        import torch

        pad = torch.nn.utils.rnn.pad_sequence
        known = tokens.load(self.forcing.token_list)
        ids = {token: i for i, token in enumerate(entries)}
        text, read = _texts(self.dump, self.forcing.token_list), _speech(self.dump)
        for start in range(0, len(self.utterances), self.forcing.batch_size):
            utts = self.utterances[start : start + self.forcing.batch_size]
            speech = [torch.as_tensor(np.array(read(utt))) for utt in utts]
            tokenised = [torch.tensor([ids[t] for t in known.written(text[utt])]) for utt in utts]
            yield (
                utts,
                pad(speech, batch_first=True),
                torch.tensor([len(s) for s in speech]),
                pad(tokenised, batch_first=True, padding_value=-1),
                torch.tensor([len(t) for t in tokenised]),
            )


def teacher_forced(
    model: Any, how: TeacherForcing, utts: tuple[str, ...], speech, lengths, text, text_lengths
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """What a teacher says of a batch: each utterance's matrices (see :mod:`cache`), by stem."""
    from espnet_dice.kd import teachers

    seeds = [(how.seed << 32) + zlib.crc32(utt.encode()) for utt in utts]
    found = teachers.targets(
        model, speech, lengths, text, text_lengths, how.n_samples, how.with_ctc, seeds
    )
    for b, utt in enumerate(utts):
        n = int(text_lengths[b])
        ids = np.append(text[b, :n].numpy(), model.eos)
        var = None if found.variances is None else found.variances[b, : n + 1].numpy()
        made = {cache.DECODER: cache.pack(found.log_probs[b, : n + 1].numpy(), var, ids)}
        if how.with_ctc:
            made[cache.CTC] = found.ctc_log_probs[b, : int(found.ctc_lengths[b])].numpy()
        yield utt, made


def cut(
    out_dir: Path, dump: feature_dir.FeatureDir, forcing: TeacherForcing, made_from: str
) -> list[TeacherShard]:
    """Cut a set into shards of about equal numbers of batches.

    Raises:
        DataError: an utterance has speech and no transcript, or a transcript and no speech.
    """
    known = tokens.load(forcing.token_list)
    written = transcripts.check_text(dump.text, known, transcripts.Unseen())
    missing = sorted(set(written) ^ set(dump.lengths))
    if missing:
        raise DataError(f"{dump.path}: {missing[0]} is only in one of text and features")
    order = sorted(dump.lengths, key=lambda utt: (dump.lengths[utt], utt))
    size = forcing.batch_size
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    parts = shards.cut(batches, min(shards.number_of(len(order)), len(batches)))
    return [
        TeacherShard(out_dir, n, tuple(u for b in part for u in b), dump.path, forcing, made_from)
        for n, part in enumerate(parts, 1)
    ]


def totals(matrix: np.ndarray, vocab_size: int) -> dict[str, float]:
    """How sure a teacher is of an utterance, as sums over its tokens, to be added to others'."""
    rows = matrix.astype(np.float64)
    log_probs, ids = rows[:, :vocab_size], rows[:, -1].astype(int)
    made = {
        "tokens": len(ids),
        "right": float(np.exp(log_probs[np.arange(len(ids)), ids]).sum()),
        "entropy": float(-(np.exp(log_probs) * log_probs).sum()),
    }
    if rows.shape[1] > vocab_size + 1:
        made["variance"] = float(rows[:, vocab_size:-1].mean(1).sum())
    return made


@lru_cache(maxsize=1)
def _teacher(exp: Path, model_file: str, token_list: Path) -> tuple[Any, list[str]]:
    """The teacher and the tokens, loaded once a process."""
    import torch

    from espnet_dice.kd import teachers

    torch.set_num_threads(1)
    entries = tokens.entries(token_list)
    return teachers.load(exp, model_file, entries), entries


@lru_cache(maxsize=1)
def _texts(dump: Path, token_list: Path) -> dict[str, str]:
    return transcripts.check_text(dump / "text", tokens.load(token_list), transcripts.Unseen())


@lru_cache(maxsize=1)
def _speech(dump: Path) -> feature_dir.Inputs:
    return feature_dir.Inputs(feature_dir.load(dump))
