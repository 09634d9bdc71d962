"""ESPnet's Transformer decoder with a variance head beside its output layer."""

import torch
from espnet2.asr.decoder.transformer_decoder import TransformerDecoder

from espnet_dice.kd.variance import VarianceHead, log_mean_softmax


class UncertaintyTransformerDecoder(TransformerDecoder):
    """``decoder: uncertainty_transformer``: logits f and variances σ² from the same hidden state.

    Args:
        vocab_size, encoder_output_size: as in ESPnet's TransformerDecoder.
        variance: φ of the variance head (softplus, relu, exp), or ``none`` for no head.
        train_samples: noise draws per token in training; 0 trains on f alone.
        decode_samples: noise draws per step in beam search; 0 (default) scores log softmax(f),
            which is what an exported plain ESPnet model does. Open in the paper.
        sample_seed: seed of the draws in beam search, so that decoding repeats.
        kwargs: the remaining ``decoder_conf`` of ESPnet's TransformerDecoder.
    """

    def __init__(
        self,
        vocab_size: int,
        encoder_output_size: int,
        variance: str = "softplus",
        train_samples: int = 10,
        decode_samples: int = 0,
        sample_seed: int = 0,
        **kwargs,
    ):
        if kwargs.get("use_output_layer", True) is False:
            raise ValueError("uncertainty_transformer needs its output layer")
        super().__init__(vocab_size, encoder_output_size, **kwargs)
        if train_samples < 0 or decode_samples < 0:
            raise ValueError("train_samples and decode_samples must be ≥ 0")
        self.variance = (
            None
            if variance == "none"
            else VarianceHead(self._output_size_bf_softmax, vocab_size, variance)
        )
        self.train_samples = train_samples
        self.decode_samples = decode_samples
        self.sample_seed = sample_seed
        self._generator: torch.Generator | None = None

    def forward_with_variance(
        self,
        memory: torch.Tensor,
        memory_lens: torch.Tensor,
        ys_in_pad: torch.Tensor,
        ys_in_lens: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Teacher-forced logits and variances.

        Args:
            memory: encoder output, (B, T, D).
            memory_lens: (B,).
            ys_in_pad: <sos> and the transcript, (B, L).
            ys_in_lens: (B,).

        Returns:
            f (B, L, V) and σ² (B, L, V), the latter None without a head.
        """
        (logits, hidden), _ = self(memory, memory_lens, ys_in_pad, ys_in_lens, return_hs=True)
        return logits, None if self.variance is None else self.variance(hidden)

    def forward_one_step(self, tgt, tgt_mask, memory, *args, return_hs=False, **kwargs):
        """One step of beam search: log p of the next token, (B, V), and the new cache."""
        if self.decode_samples == 0 or self.variance is None:
            return super().forward_one_step(
                tgt, tgt_mask, memory, *args, return_hs=return_hs, **kwargs
            )
        (_, hidden), cache = super().forward_one_step(
            tgt, tgt_mask, memory, *args, return_hs=True, **kwargs
        )
        if self._generator is None or tgt.size(1) == 1:
            # a search starts from <sos>: every utterance sees the same draws in any order
            self._generator = torch.Generator(device=hidden.device).manual_seed(self.sample_seed)
        log_probs = log_mean_softmax(
            self.output_layer(hidden), self.variance(hidden), self.decode_samples, self._generator
        )
        return ((log_probs, hidden) if return_hs else log_probs), cache
