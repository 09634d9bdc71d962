"""Voices: an accent, a variant (the timbre), and a base rate, pitch and range for each."""

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
HIGH_SHARE = 0.3


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


def deal_variants(sets: dict[str, dict], rng) -> dict[str, list[str]]:
    """Which variants each set may use, in order of use.

    Sets with ``own_variants`` get theirs alone, about a third of them high voices; the others share
    the rest. The order of ``sets`` does not matter.
    """
    low, high = list(rng.permutation(LOW)), list(rng.permutation(HIGH))
    dealt: dict[str, list[str]] = {}
    for name in sorted(sets, reverse=True):  # the test set first
        if not sets[name].get("own_variants"):
            continue
        n = sets[name]["voices"]
        n_high = round(n * HIGH_SHARE)
        if n_high >= len(high) or n - n_high >= len(low):
            raise ConfigError(f"sets.{name}.voices: {n} is more than there are variants left")
        mine = [high.pop() for _ in range(n_high)] + [low.pop() for _ in range(n - n_high)]
        dealt[name] = [str(v) for v in rng.permutation(mine)]
    rest = low + high
    for name in sorted(sets):
        if name not in dealt:
            dealt[name] = [str(v) for v in rng.permutation(rest)]
    return dealt


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
