"""What the probes are trained and scored on: parts of sets, speakers, keywords.

Everything is chosen by a hash of the utterance's id: the same utterances for every system and
seed, whatever the order of a file, and a smaller part is the beginning of a larger one.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from espnet_dice.io.datadir import Utterance
from espnet_dice.io.errors import ConfigError, DataError

SPLITS = ("utterance", "session")
HELD_OUT = 0.2
"""Share of a speaker's utterances that is tested on, and the share for choosing the epoch."""
MIN_UTTERANCES = 5
"""A speaker with fewer is left out: one must remain on each side."""
MIN_TRAIN, MIN_TEST = 10, 5
"""Utterances of the training and the test set in which a keyword must be spoken."""


def in_hash_order(utterances: Iterable[Utterance]) -> list[Utterance]:
    """The utterances in an order that has nothing to do with speaker, text or length."""
    return sorted(utterances, key=lambda utt: hashlib.sha256(utt.id.encode()).digest())


def up_to(
    utterances: Iterable[Utterance], seconds: Mapping[str, float], limit: float
) -> list[Utterance]:
    """As many utterances, in hash order, as last ``limit`` seconds together, and at least one.

    Args:
        seconds: utterance → length.
        limit: in seconds; 0 takes all.
    """
    chosen, total = [], 0.0
    for utt in in_hash_order(utterances):
        total += seconds[utt.id]
        if chosen and limit and total > limit:
            break
        chosen.append(utt)
    return chosen


@dataclass(frozen=True)
class SpeakerSplit:
    """Utterances of the same speakers on three sides: closed-set identification.

    Attributes:
        train, dev, test: of all speakers.
        speakers: ids, sorted; the classes.
    """

    train: tuple[Utterance, ...]
    dev: tuple[Utterance, ...]
    test: tuple[Utterance, ...]
    speakers: tuple[str, ...]


def split_speakers(
    utterances: Iterable[Utterance], per_speaker: int = 0, by: str = "utterance"
) -> SpeakerSplit:
    """Split each speaker's utterances 60:20:20 by hash.

    Args:
        utterances: of any sets.
        per_speaker: how many to take of a speaker at most; 0: all.
        by: ``utterance``, or ``session``: the test utterances come from a recording session that
            the head has not heard, as in VoxCeleb's identification task, so that room and
            microphone do not tell the speaker. The session is the id without what follows the
            last hyphen (LibriSpeech: speaker-chapter); speakers with one only are left out.

    Raises:
        DataError: fewer than two speakers can be split.
    """
    if by not in SPLITS:
        raise ConfigError(f"split by {by!r}: choose one of {', '.join(SPLITS)}")
    of: dict[str, list[Utterance]] = defaultdict(list)
    for utt in in_hash_order(utterances):
        of[utt.speaker].append(utt)
    sides: dict[str, list[list[Utterance]]] = {}
    for speaker in sorted(of):
        found = _by_session(of[speaker]) if by == "session" else _by_utterance(of[speaker])
        if found is not None:
            sides[speaker] = [side[:n] for side, n in zip(found, _most(per_speaker), strict=True)]
    if len(sides) < 2:
        unit = "utterances" if by == "utterance" else "utterances in two sessions"
        raise DataError(
            f"speaker identification needs two speakers with {MIN_UTTERANCES} {unit} each, there "
            f"are {len(sides)} (of {len(of)}): choose other sets, or leave sid out of "
            "--tasks (of a recipe: --probe_tasks)"
        )
    joined = (tuple(utt for side in sides.values() for utt in side[k]) for k in range(3))
    return SpeakerSplit(*joined, tuple(sides))


def _by_utterance(utts: list[Utterance]) -> tuple[list[Utterance], ...] | None:
    if len(utts) < MIN_UTTERANCES:
        return None
    n = round(HELD_OUT * len(utts))
    return utts[2 * n :], utts[n : 2 * n], utts[:n]


def _by_session(utts: list[Utterance]) -> tuple[list[Utterance], ...] | None:
    sessions: dict[str, list[Utterance]] = defaultdict(list)
    for utt in utts:
        sessions[utt.id.rpartition("-")[0]].append(utt)
    if len(sessions) < 2 or len(utts) < MIN_UTTERANCES:
        return None
    wanted = HELD_OUT * len(utts)
    held_out = min(sessions, key=lambda name: (abs(len(sessions[name]) - wanted), name))
    rest = [utt for utt in utts if utt not in sessions[held_out]]
    n = max(1, round(HELD_OUT / (1 - HELD_OUT) * len(rest)))
    return (rest[n:], rest[:n], sessions[held_out]) if len(rest) > n else None


def _most(per_speaker: int) -> tuple[int | None, ...]:
    if not per_speaker:
        return None, None, None
    if per_speaker < MIN_UTTERANCES:
        raise ConfigError(f"{per_speaker} utterances a speaker: give {MIN_UTTERANCES} or more")
    n = round(HELD_OUT * per_speaker)
    return per_speaker - 2 * n, n, n


def keywords(
    train: Sequence[Utterance], test: Sequence[Utterance], number: int, letters: int = 4
) -> list[str]:
    """The words to spot: the most frequent that can be learned and tested.

    A word must be spoken in at least 10 and at most half of the training utterances, and in at
    least 5 test utterances but not in all. The test set says which trials there are, no more.

    Args:
        number: how many.
        letters: fewest letters; 4 keeps most words without a sound of their own (A, OF) out.

    Raises:
        DataError: there is none.
    """
    spoken = Counter(word for utt in train for word in set(utt.text.split()))
    tested = Counter(word for utt in test for word in set(utt.text.split()))
    fit = [
        word
        for word, n in spoken.items()
        if len(word) >= letters
        and MIN_TRAIN <= n <= len(train) / 2
        and MIN_TEST <= tested[word] <= len(test) - MIN_TEST
    ]
    if not fit:
        raise DataError(
            f"no word of {letters} letters is in {MIN_TRAIN} or more, but at most half, of the "
            f"{len(train)} training utterances and in {MIN_TEST} of the {len(test)} test "
            "utterances: take more speech, fewer --keyword_letters (of a recipe: in --probe_args), "
            "or leave kws out of --tasks (of a recipe: --probe_tasks)"
        )
    return sorted(sorted(fit), key=lambda word: -spoken[word])[:number]
