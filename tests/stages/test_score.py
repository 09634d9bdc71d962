import json
import random

import pytest

from espnet_dice.io.errors import DataError
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.results import score
from espnet_dice.results import table as results
from espnet_dice.stages import score as score_stage

WORDS = "ONE TWO SIX TEN CAT".split()


def distance(a, b):
    """Levenshtein distance by the textbook recursion, in a table."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (x != y)))
        rows.append(row)
    return rows[-1][-1]


def random_texts(seed, shortest):
    rng = random.Random(seed)
    return {f"u{k}": " ".join(rng.choices(WORDS, k=rng.randint(shortest, 5))) for k in range(40)}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rates_against_the_textbook(seed):
    reference, hypothesis = random_texts(seed, 1), random_texts(seed + 100, 0)
    assert "" in hypothesis.values()
    found = score.error_rates(reference, hypothesis)
    pairs = [(reference[u], hypothesis[u]) for u in reference]
    words = sum(len(r.split()) for r, _ in pairs)
    characters = sum(len(r) for r, _ in pairs)
    word_errors = sum(distance(r.split(), h.split()) for r, h in pairs)
    character_errors = sum(distance(r, h) for r, h in pairs)
    assert found["words"] == words and found["characters"] == characters
    assert found["wer"] == pytest.approx(100 * word_errors / words, abs=1e-3)
    assert found["cer"] == pytest.approx(100 * character_errors / characters, abs=1e-3)
    assert sum(found["wer_sdi"]) == word_errors and sum(found["cer_sdi"]) == character_errors


def test_an_empty_hypothesis_is_all_deletions():
    found = score.error_rates({"u": "ONE TWO"}, {"u": ""})
    assert found["wer"] == 100.0 and found["wer_sdi"] == [0, 2, 0]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "message"),
    [
        ({"a": "X", "b": "Y"}, {"a": "X"}, "b is only in one"),
        ({"a": "X"}, {"a": "X", "c": "Y"}, "c is only in one"),
        ({"a": ""}, {"a": "X"}, "a has an empty reference"),
        ({}, {}, "no utterances"),
    ],
)
def test_what_cannot_be_scored(reference, hypothesis, message):
    with pytest.raises(DataError, match=message):
        score.error_rates(reference, hypothesis)


@pytest.mark.skipif(score.find_sclite() is None, reason="sclite is not installed")
def test_sclite_agrees():
    reference, hypothesis = random_texts(5, 1), random_texts(6, 0)
    found = score.error_rates(reference, hypothesis)["wer"]
    # sclite weighs substitutions 4 and gaps 3, so its alignment may have a few errors more
    nist = score.sclite_wer(score.find_sclite(), reference, hypothesis)
    assert found <= nist <= found * 1.05


def decoded(exp, system="tiny", model="m1", lm=None, text="u1 ONE TWO\nu2\n"):
    """A finished decoding of a system with two utterances."""
    (exp.parent / "text").write_text("u1 ONE TWO\nu2 SIX\n")
    out = exp / f"asr_{system}" / ("decode_lm" if lm else "decode_no_lm") / "test"
    out.mkdir(parents=True)
    (out / "text").write_text(text)
    meta = {
        "system": system,
        "set": "test",
        "lm": lm,
        "reference": str(exp.parent / "text"),
        "parameters": 1234567,
        "seed": 3,
        "cpu_s_per_audio_s": 0.1,
    }
    (out / "meta.json").write_text(json.dumps(meta))
    Fingerprint("decode", {}, {"model": model}).finish(out)
    (exp / f"asr_{system}" / "model.json").write_text(json.dumps({"sha256": "m1"}))
    return out


def test_table_and_json(tmp_path, capsys):
    exp = tmp_path / "exp"
    decoded(exp)
    decoded(exp, lm="x", text="u1 ONE TWO\nu2 SIX\n")
    score_stage.main(["--exp", str(exp)])
    rows = json.loads((exp / "results.json").read_text())
    assert {r["lm"]: r["wer"] for r in rows} == {None: pytest.approx(33.333), "x": 0.0}
    wanted = {"system": "tiny", "set": "test", "words": 3, "parameters": 1234567, "seed": 3}
    assert all({k: r[k] for k in wanted} == wanted for r in rows)
    assert rows[1]["wer_sdi"] == [0, 1, 0]
    printed = capsys.readouterr().out
    table = [line for line in (exp / "RESULTS.md").read_text().splitlines() if "|" in line]
    assert all(line in printed for line in table)
    assert len({len(line) for line in table}) == 1
    assert "1.23" in printed


def test_a_result_of_an_older_model_is_left_out(tmp_path, caplog):
    decoded(tmp_path / "exp", "old", model="m0")
    decoded(tmp_path / "exp", "new")
    assert [row.system for row in score.score(tmp_path / "exp")] == ["new"]
    assert "asr_old" in caplog.text and "older model" in caplog.text


def test_an_unfinished_decoding_is_left_out(tmp_path):
    out = decoded(tmp_path / "exp")
    Fingerprint("decode", {}, {"model": "m1"}).begin(out)
    with pytest.raises(DataError, match="nothing was decoded"):
        score.score(tmp_path / "exp")


def test_rows_are_sorted_and_aligned():
    row = results.Row("b", "test", None, 10.0, 5.0, 3, 9, [0, 0, 1], [0, 0, 1], 10, 0, "d", 0.1)
    assert results.table([row]).splitlines()[1].startswith("| ---")


def test_the_spread_over_seeds():
    def row(system, seed, wer):
        return results.Row(
            f"{system}_seed{seed}", "test", None, wer, wer / 2, 10, 40, [1, 0, 0], [1, 0, 0], 1,
            seed, "decode", 0.1,
        )  # fmt: skip

    rows = [row("none", 0, 10.0), row("none", 1, 13.0), row("none", 2, 16.0), row("tok", 0, 9.0)]
    lines = results.spread_table(rows).splitlines()
    cells = [c.strip() for c in lines[2].strip("|").split("|")]
    assert cells == ["none", "test", "–", "3", "13.0", "3.0", "10.0", "16.0", "6.5"]
    assert len(lines) == 3  # a single seed has no spread
    assert results.spread_table(rows[3:]) == ""


def test_a_system_that_is_decoded_in_two_ways():
    """Two ways are no two seeds, and the table says which is which."""
    rows = [
        results.Row(
            f"a_seed{seed}", "test", None, wer, 5.0, 10, 40, [1, 0, 0], [1, 0, 0], 1, seed,
            decode, 0.1,
        )
        for decode, seed, wer in (("narrow", 0, 10.0), ("narrow", 1, 14.0), ("wide", 0, 9.0))
    ]  # fmt: skip
    head, _, *lines = results.table(rows).splitlines()
    assert "decoding" in head
    assert [name for line in lines for name in ("narrow", "wide") if name in line] == [
        "narrow", "narrow", "wide"
    ]  # fmt: skip
    spread = results.spread_table(rows).splitlines()[2:]
    assert len(spread) == 1 and "narrow" in spread[0] and "12.0" in spread[0]
    assert "decoding" not in results.table(rows[:2])
