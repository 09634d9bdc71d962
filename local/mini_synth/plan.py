"""Who says what in every set, and what the LM reads: all that is drawn before a sample is made."""

from dataclasses import asdict, dataclass

from local.mini_synth.text import Confusions, Grammar, generator
from local.mini_synth.voices import Voice, deal_variants, make_voices


@dataclass(frozen=True)
class Utterance:
    """A recording to make: ``said`` is spoken, ``text`` the transcript, ``seed`` draws the rest."""

    utt: str
    voice: Voice
    said: str
    text: str
    seed: str

    def record(self) -> dict:
        """Plain values, for the fingerprint."""
        return asdict(self)


def split_name(set_name: str) -> str:
    """The split of a set, by what follows the last underscore; ``train`` where that is none."""
    return {"dev": "dev", "valid": "dev", "test": "test"}.get(set_name.rpartition("_")[2], "train")


def grammar_of(name: str, domain: dict) -> Grammar:
    """The grammar of a domain or a set."""
    return Grammar(
        name,
        domain["words"],
        domain["patterns"],
        domain["words_per_utterance"],
        domain["words_per_class"],
        domain["company"],
    )


def plan_sets(config: dict, seed: int) -> dict[str, list[Utterance]]:
    """The utterances of every set, sorted by id.

    Voices come in turn, so that each has the same number of utterances, give or take one. Ids begin
    with the voice's name, which is the speaker.
    """
    variants = deal_variants(config["sets"], seed)
    plan = {}
    for name, s in config["sets"].items():
        voices = make_voices(name, s["voices"], variants[name], s, generator(seed, "voices", name))
        grammar = grammar_of(s["domain"], s)
        split = split_name(name)
        said = grammar.sentences(s["utterances"], split, config["sentence_shares"], seed, name)
        confusions = Confusions(config["confusable"], grammar.vocabulary())
        rng = generator(seed, "transcripts", name)
        rows = []
        for i, sentence in enumerate(said):
            voice = voices[i % len(voices)]
            text = confusions.spoil(sentence, s["transcript_errors"], rng)
            utt = f"{voice.name}-{i:04d}"
            rows.append(Utterance(utt, voice, sentence, text, f"{seed} {utt}"))
        plan[name] = sorted(rows, key=lambda u: u.utt)
    return plan


def plan_babble(config: dict, seed: int, clips: int = 24) -> list[Utterance]:
    """What the people in the background say: sentences of the first domain, in shared variants."""
    shared = {"own_variants": False, "voices": clips}
    variants = deal_variants({**config["sets"], "babble": shared}, seed)["babble"]
    name, domain = next(iter(config["domains"].items()))
    voices = make_voices("babble", clips, variants, domain, generator(seed, "babble"))
    grammar = grammar_of(name, domain)
    rng = generator(seed, "babble text")
    rows = []
    for i, voice in enumerate(voices):
        text = " ".join(grammar.draw(rng) for _ in range(3))
        rows.append(Utterance(f"babble-{i:02d}", voice, text, text, f"{seed} babble {i}"))
    return rows


def plan_lm_text(config: dict, seed: int) -> dict[str, list[str]]:
    """The LM's sentences: split (train, dev) → lines, in an order drawn at random."""
    out = {}
    for split, amounts in config["lm_text"].items():
        lines = []
        for name, n in amounts.items():
            grammar = grammar_of(name, config["domains"][name])
            shares = config["sentence_shares"]
            lines += grammar.sentences(n, split, shares, seed, f"lm {split} {name}")
        order = generator(seed, "lm order", split).permutation(len(lines))
        out[split] = [lines[i] for i in order]
    return out
