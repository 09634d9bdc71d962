"""What stages take: the laws of ``egs2/TEMPLATE/SCALE.md``, an hour of audio on one core."""

from typing import NamedTuple


class Law(NamedTuple):
    """CPU-seconds and MB on disk for an hour of audio."""

    cpu_s: float
    mb: float

    def __add__(self, other: "Law") -> "Law":
        return Law(self.cpu_s + other.cpu_s, self.mb + other.mb)

    def of(self, hours: float) -> "Law":
        """For so much audio."""
        return Law(self.cpu_s * hours, self.mb * hours)


NOTHING = Law(0.0, 0.0)
FEATURES = {
    "raw": Law(0.2, 0.11),
    "fbank_pitch": Law(13.3, 119.45),
    "fbank": Law(13.3, 119.45 * 80 / 83),
}
"""By feats_type; without pitch it is quicker than that, and has 80 columns of 83."""
RESAMPLED = Law(0.0, 115.2)
"""More, for raw speech that is written anew: samples of 16 bits, before FLAC packs them."""
OUTPUTS = (Law(12.6, 13.56), Law(112.2, 13.56))
"""Of a teacher with 0.5 and with 28 M parameters."""
OUTPUT_SIZES = (0.5, 28.0)
LABELS = {"mfcc": Law(5.6, 4.00), "layer": Law(14.0, 3.29), "base": Law(667.6, 3.29)}
"""Of MFCC, of a layer of a teacher with 1 M parameters, with HuBERT-base's 94 M; 50 clusters."""
LABEL_SIZES = (1.0, 94.4)
CLUSTERS = 50


def outputs(millions: float) -> Law:
    """Outputs of one teacher.

    Args:
        millions: of parameters.
    """
    return _between(*OUTPUTS, *OUTPUT_SIZES, millions)


def labels(millions: float, clusters: int) -> Law:
    """Labels of a layer.

    Args:
        millions: of the teacher's parameters.
        clusters: K; what is kept of soft labels grows with it, at the smallest τ of 1.
    """
    law = _between(LABELS["layer"], LABELS["base"], *LABEL_SIZES, millions)
    return Law(law.cpu_s, law.mb * max(1.0, clusters / CLUSTERS))


def _between(small: Law, large: Law, low: float, high: float, millions: float) -> Law:
    share = max(0.0, (millions - low) / (high - low))
    return Law(*(a + share * (b - a) for a, b in zip(small, large, strict=True)))
