"""ESPnet's own beam search with beams of any width, and with more tokens allowed than frames.

ESPnet stops with an error of torch's where the beam is wider than the vocabulary, and where CTC is
asked for more tokens than there are frames. Where the beam is as wide, the blank is among the
hypotheses: its prefix score is -1e10, the next step takes that away again, and an empty hypothesis
wins.
"""

from collections.abc import Sequence

import torch

from espnet_dice.compat import none_running

BLANK = 0  # in every token list of ESPnet


class WideBeam:
    """Goes before ESPnet's ``BeamSearch`` or ``BatchBeamSearch``: what is extended, and how far."""

    def forward(self, x: torch.Tensor, *args, **kwargs) -> list:
        """ESPnet's search of encoder outputs (T, D)."""
        self.frames = len(x)
        return super().forward(x, *args, **kwargs)

    def post_process(self, i: int, *args) -> Sequence:
        """What goes on after step i; with CTC nothing after T tokens and <eos>."""
        going = super().post_process(i, *args)
        return none_running(going) if self.part_scorers and i == self.frames else going

    def beam(
        self, weighted_scores: torch.Tensor, ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best tokens after one hypothesis, and their places in ``ids``.

        Args:
            weighted_scores: of each token, (V,).
            ids: tokens that the pre-beam left, (P,).
        """
        only = torch.full_like(weighted_scores, -torch.inf)
        only[ids] = weighted_scores[ids]
        best = self._best(only)
        return best, (ids == best[:, None]).int().argmax(1)

    def batch_beam(self, weighted_scores: torch.Tensor, ids: torch.Tensor | None) -> tuple:
        """The best continuations: hypotheses and tokens, twice, as ESPnet wants them.

        Args:
            weighted_scores: (hypotheses, V).
            ids: unused; ESPnet has scored what the pre-beam dropped with -1e10.
        """
        best = self._best(weighted_scores)
        found = (best // self.n_vocab, best % self.n_vocab)
        return found + found

    def _best(self, scores: torch.Tensor) -> torch.Tensor:
        """Indices into (…, V) as if it were flat, at most the beam."""
        if self.part_scorers:  # with CTC the blank is no token of a hypothesis
            scores = scores.clone()
            scores[..., BLANK] = -torch.inf
        flat = scores.flatten()
        return flat.topk(min(self.beam_size, int((flat > -torch.inf).sum())))[1]


def widen(search: torch.nn.Module) -> None:
    """Let a ``BeamSearch`` of ESPnet take any beam: changes its class, as ESPnet itself does."""
    kind = type(search)
    if not issubclass(kind, WideBeam):
        search.__class__ = type(kind.__name__, (WideBeam, kind), {})
