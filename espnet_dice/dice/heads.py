"""Which layer of the student predicts which codebook of the labels.

The paper has one head, on the last layer, and one codebook. Heads at several layers, as the public
partial reproduction and Fast-HuBERT have them, and several codebooks at once, as HuBERT's Table V
has them, are ours here. Heads exist in training only.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from espnet_dice.io.errors import ConfigError

LAST, MATCHED = "last", "matched"
KEYS = ("codebook", "layer")


@dataclass(frozen=True)
class Place:
    """One head.

    Attributes:
        codebook: of the label store, from 0.
        layer: of the student, from 1, after the whole block.
    """

    codebook: int
    layer: int

    @property
    def name(self) -> str:
        """Of the head's statistics, such as ``l4_c0``."""
        return f"l{self.layer}_c{self.codebook}"

    def conf(self) -> dict[str, int]:
        """The head as an entry of ``heads``."""
        return asdict(self)


def places(
    heads: Any, codebooks: int, layers: int, heights: Sequence[float] | None = None
) -> list[Place]:
    """The heads that a config asks for.

    Args:
        heads: ``last``: every codebook at the student's last layer, the paper's for one codebook;
            ``matched``: every codebook at the layer of the same relative height as the teacher's
            layer that it is of, ``max(1, round(height * layers))``; or a list of {codebook, layer},
            in which a codebook may be at several layers.
        codebooks: of the labels.
        layers: of the student.
        heights: of the teacher's layer of each codebook, its number by that of all.

    Returns:
        In the order of the config; of ``matched``, the lowest layer first.

    Raises:
        ConfigError: another form, a codebook or a layer that does not exist, a head given twice,
            or ``matched`` where no height is known.
    """
    if heads == LAST:
        return [Place(n, layers) for n in range(codebooks)]
    if heads == MATCHED:
        if heights is None:
            raise ConfigError(
                "model_conf: heads: matched needs labels of several codebooks (--layer or "
                "--clusters with several numbers); name the layer: [{codebook: 0, layer: L}]"
            )
        found = [Place(n, max(1, round(h * layers))) for n, h in enumerate(heights)]
        return sorted(found, key=lambda place: (place.layer, place.codebook))
    if not isinstance(heads, (list, tuple)) or not heads:
        raise ConfigError(
            f"model_conf: heads: must be last, matched or a list of {{codebook, layer}}: {heads!r}"
        )
    found = [_place(entry, codebooks, layers) for entry in heads]
    for place in found:
        if found.count(place) > 1:
            raise ConfigError(f"model_conf: heads: {place.conf()} is listed twice")
    return found


def _place(entry: Any, codebooks: int, layers: int) -> Place:
    whole = isinstance(entry, dict) and set(entry) <= set(KEYS) and "layer" in entry
    if not whole or not all(type(value) is int for value in entry.values()):
        raise ConfigError(f"model_conf: heads: an entry has codebook and layer, not {entry!r}")
    place = Place(entry.get("codebook", 0), entry["layer"])
    if not 0 <= place.codebook < codebooks:
        raise ConfigError(
            f"model_conf: heads: no codebook {place.codebook}: the labels have {codebooks}, "
            "counted from 0"
        )
    if not 1 <= place.layer <= layers:
        raise ConfigError(
            f"model_conf: heads: the student has no layer {place.layer}: its layers are 1 to "
            f"{layers}"
        )
    return place
