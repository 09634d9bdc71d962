"""Which utterances the probes get: by hash, no speaker or session on a wrong side."""

import random
from collections import Counter

import pytest

from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.probes.probe_data import in_hash_order, keywords, split_speakers, up_to
from tests.probes.probing import utterance


def test_the_order_depends_on_ids_alone():
    utts = [utterance(f"u{i}", speaker=f"s{i % 3}") for i in range(60)]
    shuffled = random.Random(1).sample(utts, 60)
    assert in_hash_order(shuffled) == in_hash_order(utts) != utts
    first = Counter(u.speaker for u in in_hash_order(utts)[:30])
    assert min(first.values()) >= 6  # no speaker comes late


def test_a_smaller_part_begins_a_larger_one():
    utts = [utterance(f"u{i}") for i in range(50)]
    seconds = {u.id: 1.0 + i % 4 for i, u in enumerate(utts)}
    small, large = (up_to(utts, seconds, limit) for limit in (20.0, 60.0))
    assert large[: len(small)] == small
    assert 16 < sum(seconds[u.id] for u in small) <= 20
    assert len(up_to(utts, seconds, 0)) == 50
    assert len(up_to(utts, seconds, 0.5)) == 1


def speakers(counts, sessions=1):
    return [
        utterance(f"s{s}-c{i % sessions}-{i:03}", speaker=f"s{s}")
        for s, n in enumerate(counts)
        for i in range(n)
    ]


def test_every_speaker_is_on_every_side():
    split = split_speakers(speakers([20, 5, 31, 4]))
    assert split.speakers == ("s0", "s1", "s2")  # four utterances are too few
    sides = [Counter(u.speaker for u in side) for side in (split.train, split.dev, split.test)]
    assert sides == [
        {"s0": 12, "s1": 3, "s2": 19},
        {"s0": 4, "s1": 1, "s2": 6},
        {"s0": 4, "s1": 1, "s2": 6},
    ]
    ids = [u.id for side in (split.train, split.dev, split.test) for u in side]
    assert len(set(ids)) == len(ids) == 56


def test_at_most_so_many_of_a_speaker():
    split = split_speakers(speakers([100, 8]), per_speaker=10)
    sides = [Counter(u.speaker for u in side) for side in (split.train, split.dev, split.test)]
    assert sides == [{"s0": 6, "s1": 4}, {"s0": 2, "s1": 2}, {"s0": 2, "s1": 2}]
    with pytest.raises(ConfigError, match="give 5 or more"):
        split_speakers(speakers([100, 8]), per_speaker=4)


def sessions_of(side):
    return {u.id.rpartition("-")[0] for u in side}


def test_sessions_are_not_shared_with_the_test():
    one = [utterance(f"s2-c0-{i}", speaker="s2") for i in range(9)]
    utts = [*speakers([30, 30], sessions=3), *one]
    split = split_speakers(utts, by="session")
    assert split.speakers == ("s0", "s1")  # the third has one session only
    train, dev, test = map(sessions_of, (split.train, split.dev, split.test))
    assert not test & (train | dev) and len(test) == 2
    assert (len(split.train), len(split.dev), len(split.test)) == (30, 10, 20)
    by_utterance = split_speakers(utts)
    assert sessions_of(by_utterance.test) & sessions_of(by_utterance.train)


def test_what_cannot_be_split():
    with pytest.raises(DataError, match=r"two speakers .* there are 1 \(of 2\)"):
        split_speakers(speakers([10, 4]))
    with pytest.raises(DataError, match="in two sessions each, there are 0"):
        split_speakers(speakers([10, 10]), by="session")
    with pytest.raises(ConfigError, match="split by 'chapter'"):
        split_speakers(speakers([10, 10]), by="chapter")


def said(counts, total, start=0):
    """``total`` utterances; a word is in as many of them as it has counts."""
    texts = [" ".join(w for w, n in counts.items() if i < n) or "-" for i in range(total)]
    return [utterance(f"u{start + i}", text) for i, text in enumerate(texts)]


def test_keywords_are_frequent_and_can_be_tested():
    train = said({"COMMON": 90, "OFTEN": 40, "ALSO": 40, "RARE": 9, "OF": 30, "UNHEARD": 20}, 100)
    test = said({"OFTEN": 10, "ALSO": 5, "RARE": 9, "OF": 9, "UNHEARD": 4, "COMMON": 9}, 30, 100)
    assert keywords(train, test, 10) == ["ALSO", "OFTEN"]
    assert keywords(train, test, 1) == ["ALSO"]
    assert keywords(train, test, 10, letters=2) == ["ALSO", "OFTEN", "OF"]
    always = said({"OFTEN": 27, "ALSO": 5}, 30, 100)
    assert keywords(train, always, 10) == ["ALSO"]
    twice = [utterance("u", "ALSO ALSO")] * 3
    with pytest.raises(DataError, match=r"10 or more, .* of the 100 training .* of the 3 test"):
        keywords(train, twice, 10)
