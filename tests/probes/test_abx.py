"""ABX against loops of plain Python in float64 that follow Libri-Light, and against fastabx."""

import itertools
import math
import random

import numpy as np
import pytest

from espnet_dice.io.errors import DataError
from espnet_dice.probes import abx
from espnet_dice.probes.dtw import dtw_all
from espnet_dice.records.phones import Phone

N_FRAMES = 400


def corpus(seed=0, speakers=3, tokens=70, contexts=("A B", "A C", "SIL B"), names="PQR"):
    """An alignment of one utterance a speaker, and frames in which phones differ a little."""
    rng = random.Random(seed)
    values = np.random.default_rng(seed)
    alignment, frames = {}, {}
    for s in range(speakers):
        utt, t, phones = f"u{s}", 0.0, []
        x = values.normal(size=(N_FRAMES, 8))
        for _ in range(tokens):
            name, context = rng.choice(names), rng.choice(contexts).split()
            length = rng.choice((0.02, 0.03, 0.05, 0.07, 0.1))
            phones.append(Phone(utt, t, t + length, name, *context, f"s{s}", f"a:{len(phones)}"))
            x[round(50 * t) : round(50 * (t + length)), names.index(name)] += 1.5
            x[:, 7] += 0.3 * s
            t = round(t + length + rng.choice((0, 0.01, 0.04)), 2)
        alignment[utt], frames[utt] = phones, x
    return alignment, frames


def plain_dtw(d):
    """Cost of the cheapest path over its length, the path read back from the end."""
    n, m = len(d), len(d[0])
    cost = [[0.0] * m for _ in range(n)]
    for i, j in itertools.product(range(n), range(m)):
        before = [
            cost[i - a][j - b] for a, b in ((1, 0), (1, 1), (0, 1)) if i - a >= 0 and j - b >= 0
        ]
        cost[i][j] = d[i][j] + (min(before) if before else 0.0)
    i, j, length = n - 1, m - 1, 1
    while i > 0 and j > 0:
        up, left, diagonal = cost[i - 1][j], cost[i][j - 1], cost[i - 1][j - 1]
        if diagonal <= left and diagonal <= up:
            i, j = i - 1, j - 1
        elif left <= up:
            j -= 1
        else:
            i -= 1
        length += 1
    return cost[-1][-1] / (length + i + j)


def distance(x, y):
    def angle(a, b):
        cosine = sum(p * q for p, q in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
        return math.acos(max(-1.0, min(1.0, cosine))) / math.pi

    return plain_dtw([[angle(a, b) for b in y] for a in x])


def plain_abx(alignment, frames):
    """Errors within and across speakers in %: all cells, loops over all triples."""
    spoken = {}
    for utt, phones in alignment.items():
        for p in phones:
            chosen = [
                t
                for t in range(len(frames[utt]))
                if p.onset <= 0.02 * t + 0.01 + 1e-9 and 0.02 * t + 0.01 - 1e-9 <= p.offset
            ]
            if chosen:
                key = (p.before, p.after, p.speaker, p.name)
                spoken.setdefault(key, []).append(frames[utt][chosen[0] : chosen[-1] + 1].tolist())
    found = {"within": {}, "across": {}}
    for (before, after, speaker, a), tokens_a in spoken.items():
        for (before_b, after_b, speaker_b, b), tokens_b in spoken.items():
            if (before, after, speaker) != (before_b, after_b, speaker_b) or a == b:
                continue
            for (before_x, after_x, speaker_x, x), tokens_x in spoken.items():
                if (before_x, after_x, x) != (before, after, a):
                    continue
                mode = "within" if speaker_x == speaker else "across"
                wrong = []
                for i, one in enumerate(tokens_x):
                    for j, same in enumerate(tokens_a):
                        if mode == "within" and i == j:
                            continue
                        for other in tokens_b:
                            to_a, to_b = distance(one, same), distance(one, other)
                            wrong.append((to_a > to_b) + 0.5 * (to_a == to_b))
                if wrong:
                    speakers = found[mode].setdefault((a, b), {})
                    speakers.setdefault(speaker, []).append(sum(wrong) / len(wrong))
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    return {
        mode: 100 * mean([mean([mean(v) for v in s.values()]) for s in pairs.values()])
        for mode, pairs in found.items()
    }


def scored(alignment, frames, number=0, seed=0):
    cells = abx.choose(alignment, {u: len(x) for u, x in frames.items()}, number, seed)
    unit = {u: x / np.linalg.norm(x, axis=1, keepdims=True) for u, x in frames.items()}
    store = {t: unit[t.utt][t.first : t.end] for t in cells.tokens}
    return {
        mode: abx.average(chosen, abx.errors(chosen, store, mode))
        for mode, chosen in cells.chosen.items()
    }


def test_dtw_against_a_loop():
    rng = np.random.default_rng(0)
    blocks = [rng.random(rng.integers(1, 7, 2)) for _ in range(60)]
    blocks += [np.round(3 * block) / 3 for block in blocks]  # with ties
    assert dtw_all(blocks).tolist() == pytest.approx([plain_dtw(b.tolist()) for b in blocks])


def test_all_cells_against_loops():
    alignment, frames = corpus(tokens=25)
    wanted = plain_abx(alignment, frames)
    assert scored(alignment, frames) == pytest.approx(wanted)
    assert 2 < wanted["within"] < 45 and 2 < wanted["across"] < 50


def test_a_choice_of_cells():
    alignment, frames = corpus(tokens=150)
    lengths = {u: len(x) for u, x in frames.items()}
    every = abx.choose(alignment, lengths, 0)
    some = abx.choose(alignment, lengths, 20)
    assert some == abx.choose(dict(reversed(alignment.items())), lengths, 20)
    assert some != abx.choose(alignment, lengths, 20, seed=1)
    for mode in abx.MODES:
        assert len(every.chosen[mode]) == every.found[mode] == some.found[mode] > 20
        assert set(map(tuple, some.chosen[mode])) <= set(map(tuple, every.chosen[mode]))
        assert len(set(some.chosen[mode])) == 20
        for cell in every.chosen[mode]:
            assert max(len(cell.a), len(cell.b), len(cell.x)) <= 10
            assert (cell.x == cell.a) == (mode == "within")
    assert max(len(cell.a) for cell in every.chosen["within"]) == 10


def test_a_speaker_is_compared_with_five_others():
    alignment, frames = corpus(speakers=9, tokens=40, contexts=("A B",), names="PQ")
    cells = abx.choose(alignment, {u: len(x) for u, x in frames.items()}, 0)
    assert len(cells.chosen["across"]) == 9 * 2 * 5


def test_frames_that_say_nothing():
    alignment, frames = corpus(tokens=60)
    same = {u: np.eye(8)[np.zeros(len(x), int)] for u, x in frames.items()}
    assert scored(alignment, same) == {"within": 50.0, "across": 50.0}


@pytest.mark.parametrize(("how", "said"), [({"names": "P"}, "within"), ({"speakers": 1}, "across")])
def test_too_little_speech(how, said):
    alignment, frames = corpus(**how)
    with pytest.raises(DataError, match=f"ABX {said} speakers: in {len(alignment)} aligned"):
        scored(alignment, frames)


def test_fastabx_agrees(tmp_path, monkeypatch):
    zerospeech = pytest.importorskip("fastabx", reason="fastabx needs Python 3.12")
    torch = pytest.importorskip("torch")
    alignment, frames = corpus(tokens=100, speakers=4)
    head = "#file onset offset #phone prev-phone next-phone speaker"
    lines = [
        f"{p.utt} {p.onset:.2f} {p.offset:.2f} {p.name} {p.before} {p.after} {p.speaker}"
        for phones in alignment.values()
        for p in phones
    ]
    (tmp_path / "x.item").write_text("\n".join([head, *lines]) + "\n")
    for utt, x in frames.items():
        torch.save(torch.from_numpy(x).float(), tmp_path / f"{utt}.pt")
    monkeypatch.setattr(abx, "MOST_TOKENS", 10**6)
    found = scored(alignment, frames)
    for mode in abx.MODES:
        wanted = zerospeech.zerospeech_abx(
            tmp_path / "x.item",
            tmp_path,
            max_size_group=None,
            max_x_across=None,
            speaker=mode,
            frequency=50,
        )
        assert found[mode] == pytest.approx(100 * wanted, abs=0.1)
