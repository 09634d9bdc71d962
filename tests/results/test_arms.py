import json
import shutil

import numpy as np
import pytest

from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.report import main as page
from espnet_dice.results import arms, model_selection, recognisers, statistics
from espnet_dice.results import score as results
from espnet_dice.stages import score
from tests.report import made


def test_the_interval_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    a, b = rng.poisson(1.0, (3, 40)), rng.poisson(1.3, (3, 40))
    units = rng.integers(1, 7, 40)
    utterances = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=200)
    trainings = np.random.default_rng(1).multinomial(3, np.full(3, 1 / 3), size=200)
    expected = []
    for chosen, seeds in zip(utterances, trainings, strict=True):
        wrong = sum(
            float(n * m * (b[s, u] - a[s, u]))
            for s, m in enumerate(seeds)
            for u, n in enumerate(chosen)
        )
        expected.append(wrong / 3 / float(chosen @ units))
    found = statistics.paired_trainings(a, b, units, resamples=200)
    assert found.value == pytest.approx((b.sum() - a.sum()) / 3 / units.sum())
    assert [found.low, found.high] == pytest.approx([*np.quantile(expected, (0.025, 0.975))])
    mean = statistics.mean_rate(a, units)
    assert mean.value == pytest.approx(a.sum() / 3 / units.sum())
    assert mean.low < mean.value < mean.high


def test_one_training_is_a_pair():
    rng = np.random.default_rng(1)
    a, b, units = rng.poisson(1.0, 50), rng.poisson(1.5, 50), np.full(50, 5)
    alone, found = (
        statistics.paired(a, b, units),
        statistics.paired_trainings(a[None], b[None], units),
    )
    assert (found.value, found.p) == (alone.value, alone.p)
    assert [found.low, found.high] == pytest.approx([alone.low, alone.high])


def test_both_spreads_are_in_the_interval():
    """Its width is that of the normal law with the variance of seeds and of utterances."""
    rng = np.random.default_rng(2)
    seeds, n = 8, 400
    effect = rng.normal(0, 0.2, seeds)
    effect -= effect.mean()
    rows = np.array([rng.poisson(1.0 + shift, n) for shift in effect], float)
    found = statistics.mean_rate(rows, np.full(n, 5))
    variance = rows.mean(1).var() / seeds + rows.mean(0).var() / n
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * variance**0.5 / 5, rel=0.12)


@pytest.fixture
def exp(tmp_path):
    """Three arms, two of them with three seeds."""
    root = made.recognisers(tmp_path)
    reference = made.texts()
    for n in (1, 2):
        made.system(root, f"student_seed{n}", reference, 0.5, 10 + n, number=n)
        made.system(root, f"student_unc_seed{n}", reference, 0.15, 20 + n, number=n)
    made.system(root, "alone_seed1", reference, 0.2, 30, number=1)
    return root


def test_arms_of_several_seeds(exp, monkeypatch):
    monkeypatch.chdir(exp.parent)  # paths in records start at the recipe
    found = recognisers.read(exp)
    (one,) = arms.compared(found)
    worse, better = one.arms
    assert one.title == f"Without LM, {', '.join(found.sets)}"
    assert (worse.name, better.name) == ("student", "student_unc")
    assert sorted(worse.errors) == [0, 1, 2]
    mean = np.mean(
        [d.wer.value for d in found.decoded if d.system.family == "student" and not d.lm]
    )
    assert worse.wer().value == pytest.approx(mean)
    difference = better.minus(worse)
    assert difference.is_significant and difference.high < 0
    score.main(["--exp", str(exp)])
    text = (exp / "RESULTS.md").read_text()
    assert text.count(arms.TITLE) == 1 and "LM tiny" not in text  # one seed with it
    assert f"**{100 * difference.value:+.1f} (" in text
    score.main(["--exp", str(exp)])
    assert (exp / "RESULTS.md").read_text() == text
    html = page.make(exp, page.Settings())
    assert f"<b>{100 * difference.value:+.1f} (" in html and "Arms against each other" in html


def test_other_seeds_are_no_pair(exp):
    worse, better = arms.compared(recognisers.read(exp))[0].arms
    other = arms.Arm("other", {n + 7: e for n, e in better.errors.items()}, better.units)
    assert other.minus(worse) is None
    assert arms.cells([worse, other])[2][-1] == "–"


def test_a_set_of_one_arm_alone_hides_no_other(exp):
    """Some students were decoded on one more set: arms are compared on what is common to most."""
    for n in range(3):
        out = exp / f"asr_student_seed{n}/decode_no_lm/test"
        shutil.copytree(out, out.with_name("more"))
        meta = json.loads((out / "meta.json").read_text())
        (out.with_name("more") / "meta.json").write_text(json.dumps(meta | {"set": "more"}))
    found = recognisers.read(exp)
    assert "more" in found.sets
    (one,) = arms.compared(found)
    assert one.sets == tuple(name for name in found.sets if name != "more")
    assert [arm.name for arm in one.arms] == ["student", "student_unc"]


def test_decodings_of_two_kinds_are_not_set_beside_each_other(exp, monkeypatch):
    """One arm was once decoded with a narrow beam, too: its name comes first, and most lack it."""
    monkeypatch.chdir(exp.parent)
    wanted = arms.cells(arms.compared(recognisers.read(exp))[0].arms)
    chosen = model_selection.select(recognisers.read(exp)).ship
    for n in range(3):
        out = exp / f"asr_student_unc_seed{n}/decode_no_lm/test"
        narrow = out.parent.with_name("decode_beam_size1_no_lm") / "test"
        shutil.copytree(out, narrow)
        (narrow / "text").write_text(made.table(dict.fromkeys(made.texts(), "")))
    found = recognisers.read(exp)
    assert len(found.decoded) == len(found.comparable) + 3
    assert arms.cells(arms.compared(found)[0].arms) == wanted
    assert model_selection.select(found).ship.wer.value == chosen.wer.value
    assert found.plain("student_unc_seed0", "test").kind == "decode_no_lm"


def test_a_decoding_of_the_set_as_it_was_is_left_out(exp, monkeypatch, caplog):
    monkeypatch.chdir(exp.parent)
    out = exp / "asr_student_unc_seed0/decode_no_lm/test"
    model = json.loads((out.parents[1] / "model.json").read_text())["sha256"]
    before = Fingerprint("features", {"n": 1}, {})
    before.finish(exp.parent / "dump/x/test")
    Fingerprint("decode", {}, {"model": model, "data": before.key}).finish(out)
    assert out in results.decodings(exp)
    Fingerprint("features", {"n": 2}, {}).finish(exp.parent / "dump/x/test")
    assert out not in results.decodings(exp)
    assert "is of the set as it was before: left out; decode again" in caplog.text


def test_experiments_elsewhere_are_read_from_the_recipe(exp, tmp_path_factory, monkeypatch):
    wanted = recognisers.read(exp)
    recipe, moved = exp.parent, tmp_path_factory.mktemp("large") / "exp"
    shutil.move(exp, moved)
    monkeypatch.chdir(recipe)
    found = recognisers.read(moved)
    assert [d.wer.value for d in found.decoded] == [d.wer.value for d in wanted.decoded]
    score.main(["--exp", str(moved)])
    assert (moved / "RESULTS.md").is_file() and "TEN" in page.make(moved, page.Settings())


def test_a_role_that_was_said_counts_and_so_do_options_over_the_config(exp):
    for name in ("student_seed0", "student_unc_seed0"):
        shutil.move(exp / f"asr_{name}", exp / f"asr_mine_{name[:-6]}")
    paths = sorted(exp.glob("asr_mine_*/model.json"))
    assert all(recognisers.read(exp).systems[p.parent.name[4:]].is_teacher for p in paths)
    for path in paths:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"role": "student"}))
    systems = recognisers.read(exp).systems
    assert not any(systems[p.parent.name[4:]].is_teacher for p in paths)
    conf, off = {"kd_alpha": 0.5, "teachers": [{"name": "t"}]}, ["kd_alpha=0", "kd_ctc=0"]
    settings = {"config": {"model_conf": conf}, "extra": [["model_conf", off]], "seed": 0}
    Fingerprint("train_asr", settings, {}).finish(exp / "asr_mine_student_unc")
    system = recognisers.read(exp).systems["mine_student_unc"]
    assert not system.is_taught and system.taught == "–"
