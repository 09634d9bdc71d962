"""ESPnet's Transformer decoder and language model, one position a step with keys and values kept.

ESPnet keeps each layer's outputs and projects them, and the whole encoder output, to keys and
values again for every hypothesis in every step.
"""

import torch
from torch.nn.functional import scaled_dot_product_attention


def heads(x: torch.Tensor, n: int) -> torch.Tensor:
    """(N, L, D) → (N, n, L, D / n)."""
    return x.unflatten(-1, (n, -1)).transpose(1, 2)


def at_position(embed: torch.nn.Sequential, x: torch.Tensor, position: int) -> torch.Tensor:
    """An embedding's modules on one position; the last of them may be ESPnet's encoding of it."""
    for module in embed:
        if hasattr(module, "pe"):
            module.extend_pe(x.new_zeros(1, position + 1))
            x = x * module.xscale + module.pe[0, position]
        else:
            x = module(x)
    return x


class CachedSteps:
    """Log-probabilities of the next token, for N = B·W hypotheses of B utterances.

    Args:
        embed: modules from tokens (N,) to vectors (N, D).
        layers: ESPnet's, with ``self_attn`` and, in a decoder, ``src_attn``.
        norm: after the layers, or None.
        output: to logits.
        memory: encoder outputs (B, T, D) for a decoder.
        lengths: of the memory, (B,).
    """

    def __init__(self, embed, layers, norm, output, memory=None, lengths=None):
        self.embed, self.layers, self.norm, self.output = embed, layers, norm, output
        self.position = 0
        self.past: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.memory, self.mask = [], None
        if memory is not None:
            frames = torch.arange(memory.size(1), device=memory.device)
            self.mask = (frames < lengths[:, None])[:, None, None]
            for layer in layers:
                a = layer.src_attn
                kv = (a.linear_k(memory), a.linear_v(memory))
                self.memory.append(tuple(heads(x, a.h) for x in kv))

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """(N,) tokens → (N, V)."""
        x = at_position(self.embed, tokens, self.position)
        self.position += 1
        for k, layer in enumerate(self.layers):
            pre = layer.normalize_before
            y = layer.norm1(x) if pre else x
            x = x + self._self(k, layer.self_attn, y)
            x = x if pre else layer.norm1(x)
            if self.memory:
                y = layer.norm2(x) if pre else x
                x = x + self._source(k, layer.src_attn, y)
                x = x if pre else layer.norm2(x)
            last = layer.norm3 if self.memory else layer.norm2
            x = x + layer.feed_forward(last(x) if pre else x)
            x = x if pre else last(x)
        if self.norm is not None:
            x = self.norm(x)
        return torch.log_softmax(self.output(x), dim=-1)

    def _self(self, k: int, a, x: torch.Tensor) -> torch.Tensor:
        q, key, value = (heads(f(x)[:, None], a.h) for f in (a.linear_q, a.linear_k, a.linear_v))
        if k < len(self.past):
            key = torch.cat([self.past[k][0], key], dim=2)
            value = torch.cat([self.past[k][1], value], dim=2)
            self.past[k] = (key, value)
        else:
            self.past.append((key, value))
        seen = scaled_dot_product_attention(q, key, value)
        return a.linear_out(seen.transpose(1, 2).flatten(1))

    def _source(self, k: int, a, x: torch.Tensor) -> torch.Tensor:
        # the hypotheses of an utterance are so many queries to one memory
        key, value = self.memory[k]
        q = heads(a.linear_q(x).unflatten(0, (len(key), -1)), a.h)
        seen = scaled_dot_product_attention(q, key, value, self.mask)
        return a.linear_out(seen.transpose(1, 2).flatten(0, 1).flatten(1))

    def select(self, kept: torch.Tensor, rows: torch.Tensor) -> None:
        """Go on with some utterances (B',) and hypotheses (N',)."""
        self.past = [(key[rows], value[rows]) for key, value in self.past]
        if self.memory and len(kept) < len(self.mask):
            self.memory = [(key[kept], value[kept]) for key, value in self.memory]
            self.mask = self.mask[kept]
