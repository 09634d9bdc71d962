"""Voices: an accent, a variant (the timbre), and a base rate, pitch and range for each."""

import hashlib
from dataclasses import asdict, dataclass

from espnet_dice.io.errors import ConfigError

# Variants of the espeakng-loader wheel that speak like people; whispers and robots left out.
LOW = """Alex Andy Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Mario Michael Mike Nguyen Reed
RicishayMax RicishayMax3 Storm adam announcer antonio benjamin boris david ed edward edward2 fast
grandpa gustave ian iven iven2 iven3 iven4 john kaukovalta klatt klatt2 klatt3 klatt4 klatt5 klatt6
m1 m2 m3 m4 m5 m6 m7 m8 marcelo max michel miguel mike2 norbert pablo paul pedro quincy rob robert
sandro travis victor""".split()
HIGH = """Alicia Andrea Annie anika aunty belinda caleb f1 f2 f3 f4 f5 grandma linda shelby steph
steph2 steph3 zac""".split()


@dataclass(frozen=True)
class Voice:
    """One speaker; rate in words per minute, pitch and range on espeak-ng's scale 0–100."""

    name: str
    language: str
    variant: str
    rate: float
    pitch: float
    range: float

    def record(self) -> dict:
        """The voice as plain values, for the fingerprint and ``voices.json``."""
        return asdict(self)


def deal_variants(sets: dict[str, dict], seed: int) -> dict[str, list[str]]:
    """Which variants each set may use, in order of use.

    Sets with ``own_variants`` get theirs alone, tests first, so that the voices of a test set
    depend on nothing but the seed and how many they are. The others share the rest, each in an
    order of its own. Three voices in ten are high ones, as long as there are some.
    """
    low, high = _ranked(LOW, seed, "deal"), _ranked(HIGH, seed, "deal")
    own = [name for name in sets if sets[name]["own_variants"]]
    dealt: dict[str, list[str]] = {}
    for name in sorted(own, key=lambda n: (not n.endswith("_test"), not n.endswith("_dev"), n)):
        n = sets[name]["voices"]
        if n >= len(low) + len(high):
            raise ConfigError(f"sets.{name}.voices: {n} is more than there are variants left")
        dealt[name] = _take(low, high, n)
    for name in sets:
        if name not in dealt:
            mine = _ranked(low, seed, name), _ranked(high, seed, name)
            dealt[name] = _take(*mine, len(low) + len(high))
    return dealt


def _ranked(names: list[str], *key) -> list[str]:
    # By hash, so that taking a name away leaves the order of the others.
    return sorted(names, key=lambda v: hashlib.sha256(repr((*key, v)).encode()).digest())


def _take(low: list[str], high: list[str], n: int) -> list[str]:
    """Take ``n`` variants off the front of both lists, three of every ten from the second."""
    taken = []
    for k in range(n):
        wants_high = (3 * k + 8) // 10 > (3 * k + 5) // 10
        taken.append((high if high and (wants_high or not low) else low).pop(0))
    return taken


def make_voices(name: str, n: int, variants: list[str], domain: dict, rng) -> list[Voice]:
    """``n`` voices of a set: accents in turn, variants in turn (again with another accent)."""
    voices = []
    accents = [str(a) for a in rng.permutation(domain["accents"])]
    for i in range(n):
        turn = i // len(variants)
        voices.append(
            Voice(
                name=f"{name}-v{i:02d}",
                language=accents[(i + turn) % len(accents)],
                variant=variants[i % len(variants)],
                rate=round(float(rng.uniform(*domain["rate"])), 2),
                pitch=round(float(rng.uniform(*domain["pitch"])), 2),
                range=round(float(rng.uniform(*domain["range"])), 2),
            )
        )
    return voices
