"""What a frozen teacher said of a waveform, kept in memory: the same crop is not heard twice.

Feature distillation runs the teacher beside the student, in every epoch anew. Batches of like
lengths are cut to the shortest, so where utterances are short and many, an utterance has one or two
crops in all: of the embedded corpus's ten epochs of training 1.3 are left to hear, and of as many
passes over the validation set one. Where crops are long pieces of longer utterances they do not
come back, and this is of no use.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b

import torch

Listen = Callable[[torch.Tensor], Sequence[torch.Tensor]]
"""Samples (S,) → hidden states, (frames, D) each."""


class TeacherCache:
    """Hidden states of waveforms, by their samples.

    Each utterance is heard alone, so that what is said of it depends on nothing else: not on the
    batch that it is in, nor on what is remembered.

    Args:
        listen: the teacher.
        layers: which of its states are kept.
        limit: bytes of states at most. What comes when it is full is heard each time.

    Attributes:
        size: bytes of states that are kept.
    """

    def __init__(self, listen: Listen, layers: Sequence[int], limit: int):
        self._listen = listen
        self._layers = sorted(set(layers))
        self._limit = limit
        self._said: dict[bytes, list[torch.Tensor]] = {}
        self.size = 0

    def __call__(
        self, speech: torch.Tensor, lengths: torch.Tensor | None
    ) -> dict[int, torch.Tensor]:
        """Layer → its states of a batch, (B, T, D), zero behind the end of an utterance.

        Args:
            speech: (B, S), on a CPU.
            lengths: samples of each utterance, (B,); None: all have S.
        """
        ends = [speech.size(1)] * len(speech) if lengths is None else lengths.tolist()
        rows = [self._of(row[:n]) for row, n in zip(speech, ends, strict=True)]
        pad = torch.nn.utils.rnn.pad_sequence
        return {
            layer: pad([row[i] for row in rows], batch_first=True)
            for i, layer in enumerate(self._layers)
        }

    def _of(self, wave: torch.Tensor) -> list[torch.Tensor]:
        key = blake2b(wave.contiguous().numpy(), digest_size=16).digest()
        found = self._said.get(key)
        if found is None:
            states = self._listen(wave)
            found = [states[layer] for layer in self._layers]
            size = sum(x.nbytes for x in found)
            if self.size + size <= self._limit:
                # a copy: a view would keep the other layers, too
                found = self._said[key] = [x.clone() for x in found]
                self.size += size
        return found
