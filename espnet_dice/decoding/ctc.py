"""CTC prefix scores of many prefixes of many utterances at once.

Watanabe et al., "Hybrid CTC/Attention Architecture for End-to-End Speech Recognition", 2017,
Algorithm 2. With r(t) the probability that frames up to t say exactly the prefix, its continuation
by c is first spoken in frame t with φ(t-1) p(t, c): a sum over t, hence one matrix product for all
c, and r of the continuation is a cumulative sum. Nothing loops over frames.
"""

import torch

LOG_ZERO = -1e10
"""ESPnet's score of a prefix that no alignment says, such as one with more tokens than frames."""


def shifted(x: torch.Tensor, first: float = -torch.inf) -> torch.Tensor:
    """(…, T) one frame later, with another value in frame 0."""
    return torch.cat([x.new_full((*x.shape[:-1], 1), first), x[..., :-1]], dim=-1)


def log_product(a: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """log Σ_t exp(a(…, t)) p(…, t, c), without overflow: (…, W, T), (…, T, C) → (…, W, C)."""
    top = a.amax(-1, keepdim=True)
    top = torch.where(top == -torch.inf, 0.0, top)
    return torch.log(torch.exp(a - top) @ p) + top


class CtcPrefixes:
    """The state of W prefixes of each of B utterances; all have the same number of tokens.

    Double precision: over an hour of frames the cumulative sums would lose what float32 has.

    Args:
        log_probs: of each utterance, (T_b, V), from the CTC branch.
        blank, eos: token ids.
        width: W.
    """

    def __init__(self, log_probs: list[torch.Tensor], blank: int, eos: int, width: int):
        self.blank, self.eos = blank, eos
        x = torch.nn.utils.rnn.pad_sequence([p.double() for p in log_probs], batch_first=True)
        self.x = x.transpose(1, 2).contiguous()  # (B, V, T)
        lengths = torch.tensor([len(p) for p in log_probs], device=x.device)
        self.ends = lengths - 1
        self.pad = (torch.arange(x.size(1), device=x.device) >= lengths[:, None])[:, None]
        self.p = self.x.exp().masked_fill(self.pad, 0.0)
        self.blanks = self.x[:, blank].cumsum(-1)[:, None]  # (B, 1, T)
        self.r_blank = self.blanks.repeat(1, width, 1)  # (B, W, T)
        self.r_label = torch.full_like(self.r_blank, -torch.inf)
        self.psi = self.r_blank.new_zeros(len(log_probs), width)
        self.empty = True

    def scores(self, last: torch.Tensor) -> torch.Tensor:
        """log p of each continuation, given the prefix.

        Args:
            last: the prefixes' last tokens, (B, W).

        Returns:
            (B, W, V); -inf for the blank, which is no token of a prefix.
        """
        either = torch.logaddexp(self.r_label, self.r_blank)
        # before the first frame the empty prefix is certain, any other impossible
        first = 0.0 if self.empty else -torch.inf
        self.phi = shifted(either, first).masked_fill(self.pad, -torch.inf)
        # the same token again needs a blank between
        self.phi_same = shifted(self.r_blank, first).masked_fill(self.pad, -torch.inf)
        self.last = last
        psi = log_product(self.phi, self.p.transpose(1, 2))
        same = self._of(self.p, last)
        same = log_product(self.phi_same[:, :, None], same[..., None])[..., 0]
        psi.scatter_(2, last[..., None], same)
        ends = self.ends[:, None, None].expand(-1, psi.size(1), -1)
        psi[..., self.eos] = either.gather(2, ends)[..., 0]
        self.psi_next = psi.clamp(min=LOG_ZERO)
        scores = self.psi_next - self.psi[..., None]
        # not in psi: the next step would take it away again
        scores[..., self.blank] = -torch.inf
        return scores

    def advance(self, kept: torch.Tensor, parents: torch.Tensor, tokens: torch.Tensor) -> None:
        """Go on with other prefixes, each an old one and one token; after :meth:`scores`.

        Args:
            kept: the utterances that go on, (B',).
            parents: of each new prefix the old one's number in its utterance, (B', W).
            tokens: the tokens that are appended, (B', W).
        """
        vocab = self.psi_next.size(2)
        self.psi = self.psi_next[kept].flatten(1).gather(1, parents * vocab + tokens)
        frames = parents[..., None].expand(-1, -1, self.x.size(2))
        again = (self.last[kept].gather(1, parents) == tokens)[..., None]
        phi, same = (f[kept].gather(1, frames) for f in (self.phi, self.phi_same))
        phi = torch.where(again, same, phi)
        if len(kept) < len(self.x):
            for name in ("x", "p", "pad", "ends", "blanks"):
                setattr(self, name, getattr(self, name)[kept])
        x = self._of(self.x, tokens)
        label = x.cumsum(-1)
        self.r_label = label + torch.logcumsumexp(phi - (label - x), dim=-1)
        spoken = torch.logcumsumexp(self.r_label - self.blanks, dim=-1)
        self.r_blank = self.blanks + shifted(spoken)
        self.empty = False

    @staticmethod
    def _of(x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(B, V, T), (B, W) → (B, W, T): the rows of the tokens."""
        return x.gather(1, tokens[..., None].expand(-1, -1, x.size(2)))
