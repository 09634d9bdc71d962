"""ESPnet's joint CTC/attention beam search, for a batch of utterances, to the same hypotheses.

What ``BatchBeamSearch`` of ESPnet does for one utterance (pre-beam of 1.5 beams by decoder and
language model, prefix scores of the CTC branch, end detection, <eos> in the last position) is done
for B utterances in one step: W = beam slots each, of which ended ones are dead (score -inf).
"""

import math
from dataclasses import dataclass, field

import torch

from espnet_dice.decoding.ctc import CtcPrefixes
from espnet_dice.decoding.steps import CachedSteps

END_MARGIN, END_STEPS = -10.0, 3  # of Eq. 50 of Watanabe et al. 2017, as in ESPnet


@dataclass
class Ended:
    """An utterance's limits, and its hypotheses that have ended, as (score, tokens)."""

    max_steps: int
    min_steps: int
    found: list[tuple[float, list[int]]] = field(default_factory=list)
    best_of_length: dict[int, float] = field(default_factory=dict)

    def add(self, score: float, tokens: list[int]) -> None:
        """A hypothesis: <sos> … <eos>."""
        self.found.append((score, tokens))
        n = len(tokens)
        self.best_of_length[n] = max(score, self.best_of_length.get(n, -math.inf))

    def detected(self, step: int) -> bool:
        """Have the longest hypotheses been far worse than the best for some steps?"""
        if not self.found:
            return False
        limit = max(self.best_of_length.values()) + END_MARGIN
        lengths = range(step, step - END_STEPS, -1)
        return all(self.best_of_length.get(n, math.inf) < limit for n in lengths)

    def best(self, normalize: bool) -> tuple[float, list[int]] | None:
        """The best hypothesis; the first of equal ones."""
        if not self.found:
            return None
        return max(self.found, key=lambda h: h[0] / (len(h[1]) - 1) if normalize else h[0])


class BatchSearch:
    """Searches with the models and settings of an ESPnet ``Speech2Text``.

    Args:
        recogniser: the ``Speech2Text``; see :meth:`serves`.
    """

    def __init__(self, recogniser):
        search = recogniser.beam_search
        self.model = recogniser.asr_model
        self.decoder = self.model.decoder
        self.lm = search.scorers.get("lm")
        self.weights = search.weights
        self.ctc = search.scorers["ctc"].ctc
        self.sos, self.eos, self.blank = search.sos, search.eos, 0
        self.width, self.vocab = search.beam_size, search.n_vocab
        self.pre_beam = search.pre_beam_size if search.do_pre_beam else 0
        self.normalize = search.normalize_length
        self.ratios = (recogniser.maxlenratio, recogniser.minlenratio)

    @staticmethod
    def serves(recogniser) -> bool:
        """Are the models Transformers, scored by CTC and decoder, that this class can step?"""
        search = recogniser.beam_search
        if search is None or set(search.scorers) - {"decoder", "ctc", "lm", "length_bonus"}:
            return False
        if not {"decoder", "ctc"} <= set(search.scorers) or search.hyp_primer is not None:
            return False
        decoder, lm = search.scorers["decoder"], search.scorers.get("lm")
        if getattr(decoder, "decode_samples", 0) or recogniser.multi_asr:
            return False
        layers = list(getattr(decoder, "decoders", None) or [])
        if not layers or not all(hasattr(layer, "src_attn") for layer in layers):
            return False
        embeds = [decoder.embed]
        if lm is not None:
            if not hasattr(lm, "encoder") or not hasattr(lm.encoder, "encoders"):
                return False
            layers += lm.encoder.encoders
            embeds.append(lm.encoder.embed)
        attentions = [
            a for x in layers for a in (x.self_attn, getattr(x, "src_attn", None)) if a is not None
        ]
        return (
            all(type(a).__name__ == "MultiHeadedAttention" for a in attentions)
            and all(isinstance(a.q_norm, torch.nn.Identity) for a in attentions)
            and not any(x.concat_after for x in layers)
            and not any(getattr(x, "sequential_attn", None) for x in layers)
            and all(isinstance(e, torch.nn.Sequential) for e in embeds)
            and all(
                type(m).__name__ == "PositionalEncoding"
                for e in embeds
                for m in e
                if hasattr(m, "pe")
            )
        )

    def encode(self, speech: torch.Tensor) -> torch.Tensor:
        """(T, F) features or (N,) samples → (T', D).

        One utterance at a time: what a batch would pad, a convolution would hear.
        """
        lengths = torch.tensor([len(speech)], device=speech.device)
        encoded, _ = self.model.encode(speech[None], lengths)
        return (encoded[0] if isinstance(encoded, tuple) else encoded)[0]

    def __call__(self, encoded: list[torch.Tensor]) -> list[tuple[float, list[int]] | None]:
        """The best hypothesis of each utterance: score, and tokens from <sos> to <eos>.

        None where every hypothesis ended before ``minlenratio``.
        """
        width, vocab, device = self.width, self.vocab, encoded[0].device
        ended = [Ended(*self._limits(len(x))) for x in encoded]
        kept = list(range(len(encoded)))
        full, ctc = self._scorers(encoded)
        tokens = torch.full((len(kept), width, 1), self.sos, device=device)
        total = torch.full((len(kept), width), -torch.inf, device=device)
        total[:, 0] = 0.0
        for step in range(max(e.max_steps for e in ended)):
            last = tokens[..., -1]
            score = torch.zeros(len(kept), width, vocab, device=device)
            for weight, scorer in full:
                score += weight * scorer.step(last.flatten()).view_as(score)
            score += self.weights.get("length_bonus", 0.0)
            if self.pre_beam:
                tried = score.topk(self.pre_beam)[1]
            heard = ctc.scores(last)
            if self.pre_beam:
                heard = self._only(heard, tried)
            score += self.weights["ctc"] * heard.to(score.dtype)
            score += total[..., None]
            total, index = score.flatten(1).topk(width)
            parents, new = index // vocab, index % vocab
            tokens = tokens.gather(1, parents[..., None].expand_as(tokens))
            tokens = torch.cat([tokens, new[..., None]], dim=-1)
            total, going = self._end(ended, kept, step, tokens, total)
            if not going:
                break
            stay = torch.tensor(going, device=device)
            rows = (stay[:, None] * width + parents[stay]).flatten()
            for _, scorer in full:
                scorer.select(stay, rows)
            ctc.advance(stay, parents[stay], new[stay])
            tokens, total, kept = tokens[stay], total[stay], [kept[k] for k in going]
        return [e.best(self.normalize) for e in ended]

    def _limits(self, frames: int) -> tuple[int, int]:
        most, least = (int(-r) if r < 0 else int(r * frames) for r in self.ratios)
        return (frames if self.ratios[0] == 0 else max(1, most)), least

    def _scorers(self, encoded: list[torch.Tensor]) -> tuple[list, CtcPrefixes]:
        memory = torch.nn.utils.rnn.pad_sequence(encoded, batch_first=True)
        lengths = torch.tensor([len(x) for x in encoded], device=memory.device)
        d = self.decoder
        norm = d.after_norm if d.normalize_before else None
        steps = CachedSteps(d.embed, d.decoders, norm, d.output_layer, memory, lengths)
        full = [(self.weights["decoder"], steps)]
        if self.lm is not None:
            e = self.lm.encoder
            embed = torch.nn.Sequential(self.lm.embed, *e.embed)
            norm = e.after_norm if e.normalize_before else None
            full.append((self.weights["lm"], CachedSteps(embed, e.encoders, norm, self.lm.decoder)))
        log_probs = [self.ctc.log_softmax(x[None])[0] for x in encoded]
        return full, CtcPrefixes(log_probs, self.blank, self.eos, self.width)

    def _only(self, heard: torch.Tensor, tried: torch.Tensor) -> torch.Tensor:
        """The prefix scores of what the pre-beam left, and of <eos>; -inf for the rest."""
        left = torch.zeros_like(heard, dtype=torch.bool).scatter_(2, tried, True)
        left[..., self.eos] = True
        return torch.where(left, heard, -torch.inf)

    def _end(
        self,
        ended: list[Ended],
        kept: list[int],
        step: int,
        tokens: torch.Tensor,
        total: torch.Tensor,
    ) -> tuple[torch.Tensor, list[int]]:
        """Note what has ended; the scores without it, and the places of utterances that go on."""
        over = tokens[..., -1] == self.eos
        final = torch.tensor([step == ended[u].max_steps - 1 for u in kept], device=total.device)
        done = (over | final[:, None]) & (total > -torch.inf)
        if done.any():
            scores = total.tolist()
            for k, w in done.nonzero().tolist():
                e = ended[kept[k]]
                if step >= e.min_steps:
                    last = [self.eos] if final[k] else []  # ESPnet adds one to an <eos>, too
                    e.add(scores[k][w], tokens[k, w].tolist() + last)
        total = total.masked_fill(done, -torch.inf)
        alive = (total > -torch.inf).any(1).tolist()
        detect = self.ratios[0] == 0
        going = [
            k for k, u in enumerate(kept) if alive[k] and not (detect and ended[u].detected(step))
        ]
        return total, going
