import random

import numpy as np
import pytest

from espnet_dice.results import alignment, score
from espnet_dice.results.alignment import Word

WORDS = "ONE TWO SIX TEN CAT".split()


def texts(seed, shortest, n=60):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(shortest, 6))) for _ in range(n)]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_sums_are_those_of_the_results(seed):
    references, hypotheses = texts(seed, 1), texts(seed + 50, 0)
    one, other = (dict(enumerate(t)) for t in (references, hypotheses))
    rates = score.error_rates(one, other)
    words = alignment.count(references, hypotheses)
    characters = alignment.count(references, hypotheses, characters=True)
    assert words.errors.sum(0).tolist() == rates["wer_sdi"]
    assert characters.errors.sum(0).tolist() == rates["cer_sdi"]
    assert (words.units.sum(), characters.units.sum()) == (rates["words"], rates["characters"])


def test_every_utterance_is_counted_alone():
    references, hypotheses = texts(3, 1, 20), texts(4, 0, 20)
    whole = alignment.count(references, hypotheses)
    for k in range(20):
        alone = score.error_rates({"u": references[k]}, {"u": hypotheses[k]})
        assert whole.errors[k].tolist() == alone["wer_sdi"]
        assert whole.total[k] == sum(alone["wer_sdi"])


def test_a_grid():
    words, rows = alignment.slots("A B C D", ["A X C D E", "Z A C D", "A B C D", ""])
    assert words == ["A", "B", "C", "D", ""]
    hit = [Word("hit", w) for w in "ABCD"]
    assert rows[0] == [[hit[0]], [Word("sub", "X")], [hit[2]], [hit[3]], [Word("ins", "E")]]
    assert rows[1] == [[Word("ins", "Z"), hit[0]], [Word("del", "B")], [hit[2]], [hit[3]], []]
    assert rows[2] == [[w] for w in hit] + [[]]
    assert rows[3] == [[Word("del", w)] for w in "ABCD"] + [[]]


def test_a_grid_says_what_was_said():
    references, hypotheses = texts(6, 1, 40), texts(7, 0, 40)
    counts = alignment.count(references, hypotheses)
    for k, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        words, (row,) = alignment.slots(reference, [hypothesis])
        cells = [word for cell in row for word in cell]
        assert " ".join(w.text for w in cells if w.kind != "del") == hypothesis
        assert " ".join(words).strip() == reference and len(row) == len(words)
        kinds = [sum(w.kind == kind for w in cells) for kind in ("sub", "del", "ins")]
        assert np.array_equal(kinds, counts.errors[k])
