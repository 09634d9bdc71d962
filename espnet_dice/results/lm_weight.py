"""The weight of a language model, chosen on a set that is no test set."""

from collections.abc import Mapping
from pathlib import Path

from espnet_dice.io import texts
from espnet_dice.io.json_files import write_json
from espnet_dice.results.score import error_rates

CHOICE = "choice.json"


def choose(decoded: Mapping[float, Path], reference: Path, place: Path) -> float:
    """The weight whose result has the fewest word errors; of equal ones the smallest.

    Args:
        decoded: weight → file of hypotheses.
        reference: file of transcripts.
        place: directory where ``choice.json`` says what was tried.

    Returns:
        The weight.
    """
    said = texts.words(reference)
    wer = {w: error_rates(said, texts.words(path))["wer"] for w, path in decoded.items()}
    weight = min(wer, key=lambda w: (wer[w], w))
    tried = {f"{w:g}": value for w, value in sorted(wer.items())}
    write_json(place / CHOICE, {"set": reference.parent.name, "weight": weight, "wer": tried})
    return weight
