"""The utterances that the page lists: aligned, with their sound, and token by token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from espnet_dice.results import alignment
from espnet_dice.results.alignment import Word
from espnet_dice.results.recognisers import Decoded, Recognisers
from espnet_dice.results.token_uncertainty import HYP, REF, TokenUncertainty
from espnet_dice.results.uncertainty_eval import ENTROPY, SIGMA

LISTED = 100
SYSTEMS = 8


@dataclass(frozen=True)
class Line:
    """What a system made of an utterance, cell by cell under the reference's words."""

    system: str
    errors: int
    cells: list[list[Word]]


@dataclass(frozen=True)
class Card:
    """An utterance.

    Attributes:
        id: of the utterance.
        words: of the reference, and a last "".
        lines: a system each, the one to ship first.
        errors, units: word errors of the first system, and words.
        sigma, entropy: mean over the tokens of what the first system found, or None.
        sound: data URI, or None.
    """

    id: str
    words: list[str]
    lines: list[Line]
    errors: int
    units: int
    sigma: float | None
    entropy: float | None
    sound: str | None


def choose(found: Recognisers, first: Decoded) -> list[Decoded]:
    """The results to show of a set: ``first``, then others without a language model.

    Of a configuration's seeds the one that was best in validation; :data:`SYSTEMS` at most.
    """
    best: dict[str, Decoded] = {}
    for d in found.decoded:
        if d.set != first.set or d.lm is not None or d is first:
            continue
        known = best.get(d.system.family)
        if known is None or d.system.validation > known.system.validation:
            best[d.system.family] = d
    others = sorted(best.values(), key=lambda d: not d.system.is_teacher)
    return [first, *others][:SYSTEMS]


def select(first: Decoded, count: int) -> list[str]:
    """Utterances to list, by falling error: half of them those with the most errors, the other
    half spread evenly over the rest."""
    errors = first.words.total
    order = [first.utterances[i] for i in np.argsort(-errors, kind="stable")]
    if len(order) <= count:
        return order
    worst, rest = order[: count // 2], order[count // 2 :]
    at = np.linspace(0, len(rest) - 1, count - len(worst)).round().astype(int)
    return worst + [rest[i] for i in at]


def cards(shown: Sequence[Decoded], chosen: Sequence[str], sound: dict[str, str]) -> list[Card]:
    """The cards of the utterances chosen."""
    first = shown[0]
    at = {utt: i for i, utt in enumerate(first.utterances)}
    said = first.system.token_uncertainty(first.set)
    sigma, entropy = (_means(said, measure) for measure in (SIGMA, ENTROPY))
    made = []
    for utt in chosen:
        hypotheses = [d.hypothesis[utt] for d in shown]
        words, rows = alignment.slots(first.reference[utt], hypotheses)
        lines = [
            Line(_name(d), int(d.words.total[at[utt]]), cells)
            for d, cells in zip(shown, rows, strict=True)
        ]
        units = int(first.words.units[at[utt]])
        card = Card(
            utt, words, lines, lines[0].errors, units, sigma.get(utt), entropy.get(utt),
            sound.get(utt),
        )  # fmt: skip
        made.append(card)
    return made


def tokens(found: Recognisers, name: str, chosen: Sequence[str]) -> dict[str, Any] | None:
    """The data of the chart of tokens: class probability and σ² of each system.

    Returns:
        ``systems``: names; ``utterances``: id → ``tokens`` (text), and for each system ``p``,
        ``v`` (σ² of the likeliest token, or entropy where there is none) and ``top`` (the
        likeliest token). None where nobody was asked.
    """
    asked = {s.name: (s, s.token_uncertainty(name)) for s in found.systems.values()}
    asked = {n: (s, c) for n, (s, c) in asked.items() if c is not None}
    if not asked:
        return None
    utterances: dict[str, Any] = {utt: {"systems": {}} for utt in chosen}
    for system, (_, said) in asked.items():
        at = {utt: i for i, utt in enumerate(said.utterances)}
        measure = SIGMA if SIGMA in said.passes[REF] else ENTROPY
        parts = {m: said.utterance(REF, m) for m in ("ids", "p", "top", measure)}
        for utt in chosen:
            if utt in at:
                i, entry = at[utt], utterances[utt]
                entry["tokens"] = [_shown(said.tokens[k]) for k in parts["ids"][i]]
                entry["systems"][system] = {
                    "p": _round(parts["p"][i]),
                    "v": _round(parts[measure][i]),
                    "top": [_shown(said.tokens[k]) for k in parts["top"][i]],
                }
    kinds = {n: SIGMA if SIGMA in c.passes[REF] else ENTROPY for n, (_, c) in asked.items()}
    return {
        "systems": [{"name": n, "sigma": kinds[n] == SIGMA} for n in asked],
        "utterances": {u: e for u, e in utterances.items() if "tokens" in e},
    }


def _means(said: TokenUncertainty | None, measure: str) -> dict[str, float]:
    if said is None or measure not in said.passes.get(HYP, {}):
        return {}
    values = said.utterance(HYP, measure)
    return {utt: float(v.mean()) for utt, v in zip(said.utterances, values, strict=True)}


def _name(d: Decoded) -> str:
    return f"{d.system.name} + LM {d.lm}" if d.lm else d.system.name


def _round(values: np.ndarray) -> list[float]:
    return [float(f"{v:.3g}") for v in values]


def _shown(token: str) -> str:
    return "end" if token == "<sos/eos>" else token.replace("▁", "␣")
