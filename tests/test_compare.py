import json

import numpy as np
import pytest

from espnet_dice import compare
from espnet_dice.io.errors import DataError
from espnet_dice.results import statistics
from tests.report import made


@pytest.fixture
def exp(tmp_path):
    return made.recognisers(tmp_path)


def cells(text, start):
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith(f"| {start}")
    ]


def test_two_models(exp):
    text = compare.compare(exp / "asr_student_seed0", exp / "asr_student_unc_seed0")
    assert "## student_seed0 → student_unc_seed0" in text
    differing = {line[0]: line[1:] for line in cells(text, "model_conf")}
    assert differing["model_conf.kd_beta"] == ["–", "0.3"]
    rows = {(row[1], row[2]): row for row in cells(text, "test")}
    assert set(rows) == {(lm, rate) for lm in ("–", "tiny") for rate in ("WER %", "CER %")}
    found = {d.system.name: d for d in compare.recognisers.read(exp).decoded if d.lm is None}
    a, b = (found[n].words for n in ("student_seed0", "student_unc_seed0"))
    expected = statistics.paired(a.total, b.total, a.units)
    row = rows["–", "WER %"]
    assert row[3:6] == [
        f"{100 * a.total.sum() / a.units.sum():.1f}",
        f"{100 * b.total.sum() / b.units.sum():.1f}",
        f"{100 * expected.value:+.1f}",
    ]
    assert row[7:] == [f"{expected.p:.3f}", "differ"]


def test_two_directories_by_name(tmp_path):
    one, other = (made.recognisers(tmp_path / n) for n in "ab")
    made.system(other, "student_seed0", made.texts(), 0.4, 9, {"kd_alpha": 0.1})
    path = other / "asr_student_seed0/model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": "sha of student_seed0"}))
    path = other / "asr_teacher_t/model.json"
    text = compare.compare(one, other)
    for name in ("teacher_t", "student_seed0", "student_unc_seed0"):
        assert f"## {name}\n" in text
    assert text.count("the same model") == 2
    assert cells(text, "model_conf.kd_alpha") == [["model_conf.kd_alpha", "–", "0.1"]]


def test_only_common_utterances_are_compared(exp):
    first, *rest = made.texts()
    text = exp.parent / "dump/y/test/text"
    made.write(text, made.table({u: made.texts()[u] for u in rest}))
    out = exp / "asr_student_unc_seed0/decode_no_lm/test"
    meta = json.loads((out / "meta.json").read_text()) | {"reference": "dump/y/test/text"}
    made.write(out / "meta.json", meta)
    lines = [line for line in (out / "text").read_text().splitlines() if line.split()[0] != first]
    made.write(out / "text", "\n".join(lines) + "\n")
    said = compare.compare(exp / "asr_student_seed0", exp / "asr_student_unc_seed0")
    assert f"test ({made.UTTERANCES - 1} utterances)" in said


def test_a_model_and_itself(exp):
    text = compare.compare(exp / "asr_student_seed0", exp / "asr_student_seed0")
    assert "equal configs" in text
    assert all(row[5] in ("+0.0", "-0.0") and float(row[7]) == 1 for row in cells(text, "test"))


def test_flat():
    config = {"a": {"b": 1, "c": {"d": [1, {"e": 2}]}}, "f": {}, "g": None}
    assert compare.flat(config) == {"a.b": 1, "a.c.d": [1, {"e": 2}], "f": {}, "g": None}


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ("exp", "nowhere", "nowhere: no such directory"),
        ("exp", "exp/asr_teacher_t", "give two models, or two exp directories"),
        ("exp", "data", "no finished recogniser there"),
    ],
)
def test_what_cannot_be_compared(exp, a, b, message):
    with pytest.raises(DataError, match=message):
        compare.compare(exp.parent / a, exp.parent / b)


def test_differences_have_the_sign_of_b(exp):
    a = np.array([3, 3, 3, 3])
    assert statistics.paired(a, a - 1, np.full(4, 5)).value == -0.2


def test_decodings_of_another_name_go_by_their_lm(exp):
    pair = exp / "asr_student_seed0", exp / "asr_student_unc_seed0"
    before = cells(compare.compare(*pair), "test")
    (pair[1] / "decode_no_lm").rename(pair[1] / "decode_other_no_lm")
    (pair[1] / "decode_lm_tiny").rename(pair[1] / "decode_a_lm")  # before the other by name
    assert cells(compare.compare(*pair), "test") == before
