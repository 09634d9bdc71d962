"""Mistakes about transcripts and speakers, and how much speech there is."""

import argparse
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from espnet_dice.io import texts, wav_scp
from espnet_dice.io.datadir import Recording, Utterance
from espnet_dice.io.errors import DiceError, ProblemList
from espnet_dice.io.tables import Table
from espnet_dice.plan.recipe import Recipe, split
from espnet_dice.probes import probe_corpus, probe_data
from espnet_dice.records import tokens

LINES = 200_000
"""Transcripts of a set that are read: a letter that only later ones have is told in stage 3."""
SAMPLED = 100
"""Recordings of a set that are looked for, and their length looked up, for its hours."""
MORE = 1.5
"""Utterances that are taken for the share of a set that the probes will hear: too many, since their
lengths are not known yet, so that no set is refused that would do."""


def unwritable(recipe: Recipe) -> Iterator[str]:
    """Sets with letters that the fixed token list lacks."""
    if recipe.name != "kd1" or not recipe.runs(3) or recipe["token_type"] != tokens.FIXED:
        return
    ruled = recipe["text_rules"] not in ("", "none")
    if recipe["data_dir"] and ruled and not recipe.data_made and recipe.runs(1):
        return  # the rules are about to write them otherwise
    places = filter(None, map(recipe.place, recipe.sets))
    found = {place / "text": _way_out(recipe, place) for place in places}
    if recipe.is_true("use_lm"):
        rewritten = "write it with local/lm_text.py --text_rules letters"
        found |= {
            Path(path): rewritten
            for option in ("lm_train_text", "lm_dev_text")
            for path in recipe.words(option)
        }
    for path, way_out in found.items():
        lines, first, foreign = _foreign(path) if path.is_file() else (0, "", set())
        if foreign:
            told = " ".join(map(repr, sorted(foreign)[:12])) + (" …" if len(foreign) > 12 else "")
            yield (
                f"{path}: {lines} lines, {first} for one, have letters that the token list "
                f"{tokens.FIXED} lacks: {told}; {way_out}, or --token_type char (or bpe)"
            )


def _foreign(path: Path) -> tuple[int, str, set[str]]:
    """How many lines have letters that have no token; the first of them; the letters."""
    known = frozenset(" " + "".join(t for t in tokens.TOKENS if len(t) == 1 and t != tokens.SPACE))
    bare = texts.unpacked_name(path).endswith(".txt")
    foreign: set[str] = set()
    lines, first = 0, ""
    for n, line in enumerate(_lines(path), 1):
        utt, _, words = (f"line {n}", "", line) if bare else line.partition(" ")
        strange = set(" ".join(words.split())) - known
        if strange:
            foreign |= strange
            lines += 1
            first = first or utt
    return lines, first, foreign


def _way_out(recipe: Recipe, place: Path) -> str:
    if recipe["data_dir"]:
        return "give --text_rules letters"
    moved = place.parent.with_name(f"{place.parent.name}_as_is")
    return f"move the sets to {moved} and give --data_dir {moved} --text_rules letters"


def _lines(path: Path) -> Iterator[str]:
    for n, line in enumerate(texts.lines(path)):
        if n == LINES:
            return
        yield line


def unheard(recipe: Recipe) -> Iterator[str]:
    """Sets to be taken whose recordings are not where ``wav.scp`` says; some are looked for."""
    if not recipe["data_dir"] or recipe.data_made or not recipe.runs(1):
        return  # stage 1 looks for all, and what makes the data may make them anew
    for place in filter(None, map(recipe.place, recipe.sets)):
        entries = ((i, entry.strip()) for i, entry in _table(place / "wav.scp").items())
        looked_for = _some([(i, entry) for i, entry in entries if not entry.endswith("|")])
        bases = wav_scp.bases(place)
        gone = [(i, entry) for i, entry in looked_for if wav_scp.find(bases, entry) is None]
        if gone:
            why = wav_scp.missing(place, bases, gone[0][1])
            said = f"{len(gone)} of {len(looked_for)} recordings looked for are not there"
            yield f"{place / 'wav.scp'}: {said}, {gone[0][0]} for one: {why}"


def unprobed(recipe: Recipe) -> Iterator[str]:
    """Probes that the sets cannot feed: without transcripts or speakers, or with too few."""
    if recipe.name != "dice1" or not recipe.runs(6):
        return
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False)
    probe_corpus.add_settings(parser)
    asked = probe_corpus.settings_of(parser.parse_known_args(split(recipe["probe_args"]))[0])
    tasks = recipe.words("probe_tasks")
    train, dev = (recipe[o] or recipe[other] for o, other in PROBED)
    if "sid" in tasks:
        yield from _speakers(recipe, asked, asked.sid_sets or (train,))
    spoken = [train, dev, recipe["test_sets"]]
    if "kws" in tasks or ("char" in tasks and not asked.phones):
        silent = list(_silent(recipe, spoken))
        if silent:
            yield ProblemList("probes char and kws need transcripts", silent, 6).args[0] + (
                "\n  write them, or leave char and kws out: --probe_tasks sid, or --stop_stage 5 "
                "for no probes"
            )
            return
    if "kws" in tasks:
        yield from _keywords(recipe, asked, train, recipe["test_sets"])


PROBED = (("probe_train", "train_set"), ("probe_dev", "valid_set"))


def _speakers(recipe: Recipe, asked: probe_corpus.Settings, names: tuple[str, ...]):
    found: list[Utterance] = []
    for name in names:
        place = recipe.place(name)
        if place is None:
            return
        if not (place / "utt2spk").exists():
            yield (
                f"{place / 'utt2spk'}: missing, and probe sid tells speakers apart: write one line "
                "'utterance speaker' each, or leave sid out of --probe_tasks"
            )
            return
        found += said(place)
    try:
        probe_data.split_speakers(found, asked.sid_utterances, asked.sid_split)
    except DiceError as err:
        yield f"probe sid: {err}"


def _silent(recipe: Recipe, names: list[str]) -> Iterator[str]:
    for name in names:
        place = recipe.place(name)
        if place is None:
            continue
        if not (place / "text").exists():
            yield f"{place / 'text'}: missing; write one line 'utterance transcript' each"
            continue
        yield from (
            f"{place / 'text'}: {utt.id}: has no transcript" for utt in said(place) if not utt.text
        )


def _keywords(recipe: Recipe, asked: probe_corpus.Settings, train: str, test: str):
    places = recipe.place(train), recipe.place(test)
    if None in places:
        return
    limits = asked.train_seconds, asked.test_seconds
    parts = [_part(place, limit) for place, limit in zip(places, limits, strict=True)]
    try:
        probe_data.keywords(*parts, asked.keywords, asked.keyword_letters)
    except DiceError as err:
        yield f"probe kws: {err}"


def _part(place: Path, limit: float) -> list[Utterance]:
    """The utterances that a probe will hear, or some more."""
    found = probe_data.in_hash_order(said(place))
    whole = hours(place)
    if not limit or not whole or 3600 * whole <= limit:
        return found
    return found[: round(MORE * limit / (3600 * whole) * len(found))]


def said(place: Path) -> list[Utterance]:
    """Utterances with speaker and transcript; nothing is said of where their audio is.

    Stage 1 says what is wrong with the tables.
    """
    ids = _table(place / "segments") or _table(place / "wav.scp")
    text, speakers = _table(place / "text"), _table(place / "utt2spk")
    nowhere = Recording("", "file", "", "", "")
    return [
        Utterance(i, nowhere, " ".join(text.get(i, "").split()), speakers.get(i, i), 0, None, "")
        for i in ids
    ]


def hours(place: Path) -> float | None:
    """Hours of a set, by its segments or some of its recordings; None where these do not say."""
    segments = _table(place / "segments")
    if segments:
        try:
            spans = [tuple(map(float, rest.split()[1:3])) for rest in segments.values()]
        except ValueError:
            return None
        return sum(end - start for start, end in spans if end > start) / 3600
    import soundfile

    entries = _table(place / "wav.scp").values()
    bases, seconds = wav_scp.bases(place), []
    for entry in _some(entries):
        found = wav_scp.find(bases, entry.strip())
        if found and found[0] == "file":
            try:
                info = soundfile.info(found[1])
            except (RuntimeError, OSError, TypeError):  # stage 1 says what is wrong with it
                continue
            seconds.append(info.frames / info.samplerate)
    return sum(seconds) / len(seconds) * len(entries) / 3600 if seconds else None


def _some(entries: Collection[Any]) -> list[Any]:
    """Some from beginning to end."""
    return list(entries)[:: max(1, len(entries) // SAMPLED)]


def _table(path: Path) -> dict[str, str]:
    """Key → rest of the line; empty for a file that is not there."""
    if not path.exists():
        return {}
    return Table(path, [], "", optional=True).rows
