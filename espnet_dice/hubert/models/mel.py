"""``stem: mel``: log-mel filters and two small convolutions in the place of HuBERT's seven.

Not the paper's (its students keep their teacher's stem); MelHuBERT (Lin et al. 2022, arXiv
2211.09944) takes log-mels too. Exports carry a copy of this file: it imports torch alone.

Frame t is centred on sample 320 t + 200, as HuBERT's is. Mel frame j is Kaldi's (``snip_edges``),
of the samples [160 j, 160 j + 400). Mel frame 2 t has the samples of HuBERT's frame t, so an
utterance of T = (S - 400) // 320 + 1 frames has 2 T - 1 mel frames; samples behind them are not
heard, as HuBERT does not hear those behind its last frame. The first convolution sees a mel frame
and its two neighbours, the second, of stride 2, the same of the first one's frames: frame t sees
the mel frames 2 t - 2 to 2 t + 2, the samples [320 t - 320, 320 t + 720), 65 ms. Before the first
mel frame and behind the last one each convolution sees one frame of zeros, so the first and the
last frame of a crop differ from those of the whole utterance (and its norm: ``utterance``).
"""

import math

import torch
from torch.nn import functional

WINDOW, SHIFT, FFT, FILTERS = 400, 160, 512, 80
"""Samples of a mel frame, samples between two, points of the transform, filters."""
RATE, LOWEST = 16000, 20.0
PRE_EMPHASIS = 0.97
SCALE = 32768.0
"""Of Kaldi's samples, beside which its floor has a meaning."""
FLOOR = torch.finfo(torch.float32).eps
"""Smallest energy of a filter; Kaldi's."""
NORMS = ("utterance", "corpus", "none")
EPS = 0.01
"""Added to a variance of log energies: what moves by less than 0.1, 0.4 dB, is not made loud."""
LEARNED = 360_000
"""Mel frames, one hour, over which ``corpus`` learns its mean and variance."""
KERNELS, STRIDES = (3, 3), (1, 2)


class MelStem(torch.nn.Module):
    """Waveforms to frames: log-mel energies, their norm, two convolutions with GELU.

    The energies are computed in float32 under autocast, too. Kaldi's ``compute-fbank-feats`` with
    its defaults (Povey window, pre-emphasis 0.97, 20 Hz to Nyquist) and no dither.

    Args:
        channels: of the two convolutions.
        norm: of each filter: ``utterance``: mean 0 and variance 1 over the utterance, or the crop,
            as HuBERT-base's group norm; ``corpus``: those of the first hour of training, which lie
            in the checkpoint; ``none``. A waveform that was scaled before has the same energies but
            for a constant, which both norms take out.
    """

    def __init__(self, channels: list[int], norm: str = "utterance"):
        super().__init__()
        self.norm = norm
        first, second = channels
        self.conv_layers = torch.nn.ModuleList(
            torch.nn.Conv1d(i, o, k, stride, padding=1)
            for i, o, k, stride in zip(
                (FILTERS, first), (first, second), KERNELS, STRIDES, strict=True
            )
        )
        for conv in self.conv_layers:  # as transformers' HubertModel has its own
            torch.nn.init.kaiming_normal_(conv.weight)
            torch.nn.init.zeros_(conv.bias)
        if norm == "corpus":
            self.register_buffer("learned", torch.zeros(()))
            self.register_buffer("mean", torch.zeros(FILTERS))
            self.register_buffer("variance", torch.ones(FILTERS))
        self.power = Power()
        self.register_buffer("filters", filters(), persistent=False)

    def tabulate(self) -> None:
        """Compute anew what no checkpoint holds."""
        self.power.window.copy_(window())
        self.filters.copy_(filters())

    def forward(self, speech: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Frames of a batch; an utterance has those that it would have alone.

        Args:
            speech: (B, S), 16 kHz, S ≥ 400.
            lengths: samples of each utterance, (B,); None: all have S.

        Returns:
            (B, C, T), before any projection.
        """
        with torch.autocast(speech.device.type, enabled=False):
            x = self.log_mel(speech)
            own = None
            if lengths is not None:
                ends = 2 * ((lengths - WINDOW) // (2 * SHIFT)) + 1
                own = torch.arange(x.size(1), device=x.device) < ends.unsqueeze(-1)
                own = own.unsqueeze(-1).to(x.dtype)
            x = self._normalized(x, own)
        first, second = self.conv_layers
        x = functional.gelu(first(x.transpose(1, 2)))
        if own is not None:
            x = x * own.transpose(1, 2).to(x.dtype)
        return functional.gelu(second(x))

    def log_mel(self, speech: torch.Tensor) -> torch.Tensor:
        """Kaldi's log-mel energies, (B, S) → (B, 2 T - 1, 80) float32."""
        # two frames for each of HuBERT's; the last one is behind its samples
        pairs = functional.pad(speech.float() * SCALE, (0, SHIFT))
        pairs = pairs.unfold(1, WINDOW + SHIFT, 2 * SHIFT)
        x = torch.stack([pairs[..., :WINDOW], pairs[..., SHIFT:]], 2).flatten(1, 2)[:, :-1]
        x = x - x.mean(-1, keepdim=True)
        x = x - PRE_EMPHASIS * torch.cat([x[..., :1], x[..., :-1]], -1)
        return (self.power(x) @ self.filters).clamp(min=FLOOR).log()

    def _normalized(self, x: torch.Tensor, own: torch.Tensor | None) -> torch.Tensor:
        """(B, M, 80) with zeros where ``own``, (B, M, 1), is 0."""
        if self.norm == "utterance":
            mean, variance = moments(x, own, (1,))
        elif self.norm == "corpus":
            if self.training and self.conv_layers[0].weight.requires_grad:
                self._learn(x, own)
            mean, variance = self.mean, self.variance
        else:
            return x if own is None else x * own
        x = (x - mean) * (variance + EPS).rsqrt()
        return x if own is None else x * own

    @torch.no_grad()
    def _learn(self, x: torch.Tensor, own: torch.Tensor | None) -> None:
        """Take a batch into mean and variance (Chan et al. 1983), for the first hour."""
        mean, variance = (m.view(-1) for m in moments(x, own, (0, 1)))
        frames = x.new_full((), x.size(0) * x.size(1)) if own is None else own.sum()
        frames = frames * (self.learned < LEARNED)
        share = frames / (self.learned + frames)
        apart = mean - self.mean
        spread = self.variance * (self.learned > 0)
        self.variance.copy_(
            spread * (1 - share) + variance * share + apart.square() * share * (1 - share)
        )
        self.mean.add_(apart * share)
        self.learned.add_(frames)


class Power(torch.nn.Module):
    """Power of windowed samples in 256 bins: (…, 400) → (…, 256).

    The bin at Nyquist has no place in Kaldi's filters.
    """

    def __init__(self):
        super().__init__()
        self.register_buffer("window", window(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, 400) → (…, 256)."""
        bins = torch.fft.rfft(x * self.window, FFT)[..., :-1]
        return bins.real.square() + bins.imag.square()


def moments(
    x: torch.Tensor, own: torch.Tensor | None, over: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance over some dimensions, which stay with size 1.

    Args:
        x: (B, M, F).
        own: (B, M, 1), 1 where a frame counts, else 0; None: all do.
        over: dimensions.
    """
    if own is None:
        mean = x.mean(over, keepdim=True)
        return mean, (x - mean).square().mean(over, keepdim=True)
    frames = own.sum(over, keepdim=True)
    mean = (x * own).sum(over, keepdim=True) / frames
    return mean, ((x - mean) * own).square().sum(over, keepdim=True) / frames


def window() -> torch.Tensor:
    """Povey's, (400,)."""
    n = torch.arange(WINDOW, dtype=torch.float64)
    return ((0.5 - 0.5 * torch.cos(2 * math.pi * n / (WINDOW - 1))) ** 0.85).float()


def filters() -> torch.Tensor:
    """Triangles of equal width on the mel scale, 1127 ln(1 + f / 700), (256, 80)."""
    hertz = torch.arange(FFT // 2, dtype=torch.float64) * (RATE / FFT)
    low, high = (1127 * math.log1p(f / 700) for f in (LOWEST, RATE / 2))
    width = (high - low) / (FILTERS + 1)
    place = ((1127 * torch.log1p(hertz / 700)).unsqueeze(1) - low) / width
    centre = torch.arange(1, FILTERS + 1)
    return (1 - (place - centre).abs()).clamp(min=0).float()
