"""The page of a made-up experiment: what it says, and what a run cannot put into it."""

import base64
import html.parser
import io
import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from espnet_dice.checks import checks
from espnet_dice.checks.run_warning import RunWarning
from espnet_dice.io import texts
from espnet_dice.io.errors import DataError
from espnet_dice.report import main
from espnet_dice.results import (
    hubert,
    model_selection,
    recognisers,
    score,
    statistics,
    table,
    uncertainty_eval,
    uncertainty_table,
)
from tests.report import made

VOID = {"meta", "link", "img", "br", "input", "hr", "path", "use", "rect"}


class Page(html.parser.HTMLParser):
    """Elements with their attributes, their text, and what stays open."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def said(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    return made.recognisers(tmp_path_factory.mktemp("kd"))


@pytest.fixture(scope="module")
def page(exp):
    return main.make(exp)


def test_the_first_words_say_what_to_ship(exp, page):
    parsed = Page(page)
    assert parsed.open == []
    found = recognisers.read(exp)
    selection = model_selection.select(found)
    assert selection.ship.family == "student_unc"
    assert [s.name for s in found.systems.values() if s.is_teacher] == ["teacher_t"]
    assert "t: tokens, uncertainty" in parsed.said
    start = parsed.said[:400]
    assert re.search(r"Ship student_unc_seed0 with(out)? (a|the) language model", start)
    assert f"{100 * selection.ship.wer.value:.1f} %" in start
    assert "a significant difference (p < 0.001)" in parsed.said


def test_the_table_has_the_rates_of_the_results(exp, page):
    said = Page(page).said
    rows = score_rows(exp)
    assert len(rows) == 5
    for rates in rows:
        assert f"{rates['wer']:.1f} (" in said and f"{rates['cer']:.1f} (" in said
        assert "{} {} {}".format(*rates["wer_sdi"]) in said


def score_rows(exp):
    reference = texts.words(exp.parent / "dump/x/test/text")
    return [score.error_rates(reference, texts.words(out / "text")) for out in score.decodings(exp)]


def test_nothing_is_loaded_from_elsewhere(page):
    parsed = Page(page)
    for tag, attrs in parsed.elements:
        for name, value in attrs.items():
            if name in ("src", "href", "xlink:href", "data", "poster", "action", "srcset"):
                assert value.startswith(("#", "data:")), (tag, name, value)
    assert not re.search(r"@import|url\((?!#)", page)
    (policy,) = [
        a["content"] for t, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none';") and "script-src 'sha256-" in policy
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")


def test_the_sound_is_the_utterances(exp, page):
    sounds = [a for t, a in Page(page).elements if t == "audio"]
    assert len(sounds) == made.UTTERANCES
    utt = sounds[0]["aria-label"].removeprefix("Sound of ")
    data = base64.b64decode(sounds[0]["src"].partition(",")[2])
    samples, rate = soundfile.read(io.BytesIO(data))
    original, _ = soundfile.read(exp.parent / f"data/test/{utt}.wav")
    assert rate == 16000 and np.allclose(samples, original, atol=1e-4)
    less = main.make(exp, main.Settings(megabytes=0.03, utterances=5))
    sounds = [a for t, a in Page(less).elements if t == "audio"]
    assert 0 < sum(len(a["src"]) for a in sounds) <= 30_000
    assert len(sounds) < less.count('<article class="card"') == 5


def test_the_tokens_are_those_of_the_stage(exp, page):
    data = json.loads(re.search(r'id="token-data">(.*?)</script>', page, re.S)[1])
    assert {s["name"]: s["sigma"] for s in data["systems"]} == {
        "teacher_t": True, "student_seed0": False, "student_unc_seed0": True,
    }  # fmt: skip
    found = recognisers.read(exp).systems["student_unc_seed0"].token_uncertainty("test")
    entry = data["utterances"]["u03"]
    at = found.utterances.index("u03")
    shown = entry["systems"]["student_unc_seed0"]
    assert shown["p"] == pytest.approx(found.utterance("ref", "p")[at].tolist(), rel=5e-3)
    assert shown["v"] == pytest.approx(found.utterance("ref", "variance_top")[at], rel=5e-3)
    text = made.texts()["u03"]
    assert entry["tokens"] == [*"".join("␣" + w for w in text.split()), "end"]


def test_the_worth_of_the_uncertainty_is_found(exp, page):
    evaluations = uncertainty_eval.evaluate(recognisers.read(exp))
    assert {(w.system.name, w.snr) for w in evaluations} == {
        (n, snr) for n in ("teacher_t", "student_seed0", "student_unc_seed0") for snr in (None, 10)
    }
    answer = uncertainty_eval.answer(evaluations)
    assert answer.student.system.name == "student_unc_seed0" and answer.noisy.snr == 10
    sigma = answer.student.auroc[uncertainty_eval.SIGMA]
    tokens = answer.student.system.token_uncertainty("test").passes["ref"]
    wrong = tokens["top"] != tokens["ids"]
    expected = np.mean(
        [(x > tokens["variance_top"][~wrong]).mean() for x in tokens["variance_top"][wrong]]
    )
    assert sigma.value == pytest.approx(expected)
    # every wrong token is above every right one: more than entropy can tell
    assert answer.word == "more" and "Yes: σ² tells more than entropy" in Page(page).said
    assert f"AUROC of {sigma.value:.2f} ({sigma.low:.2f}–{sigma.high:.2f})" in page
    assert answer.student.matched is not None


def test_every_measure_stands_in_the_results(exp, tmp_path):
    evaluations = uncertainty_eval.evaluate(recognisers.read(exp), 0)
    for w in evaluations:  # as with intervals
        assert all(math.isnan(x.low) for x in w.auroc.values())
    (tmp_path / "RESULTS.md").write_text("# Results\n\n| a |\n\n## Old\n\nbefore\n")
    for _ in range(2):
        uncertainty_table.write(tmp_path, evaluations)
        table.add_section(tmp_path, "## Old", "after")
    said = (tmp_path / "RESULTS.md").read_text()
    assert said.count(uncertainty_table.TITLE) == said.count("## Old") == 1 and "before" not in said
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in said.splitlines() if "|" in line]
    (head, *auroc) = rows[1 : 3 + len(evaluations)]
    for w, cells in zip(evaluations, auroc[1:], strict=True):
        row = dict(zip(head, cells, strict=True))
        assert (row["system"], row["set"]) == (w.system.name, w.set)
        for measure, name in uncertainty_table.HEADS.items():
            if name in row:
                value = w.auroc.get(measure)
                assert row[name] == (f"{value.value:.2f}" if value else "–"), measure
        assert row["matched"] == ("variance, nmse" if w.system.matches_uncertainty else "–")


@pytest.mark.parametrize(
    ("sigma", "entropy", "word"),
    [((0.9, 0.85), 0.8, "more"), ((0.7, 0.6), 0.8, "some"), ((0.52, 0.49), 0.8, "nothing")],
)
def test_the_answer_falls_whichever_way(exp, monkeypatch, sigma, entropy, word):
    def auroc(score, wrong, groups, resamples=200):
        is_sigma = np.array_equal(score, known.passes["ref"]["variance_top"])
        value, low = sigma if is_sigma else (entropy, entropy - 0.02)
        return statistics.Interval(value, low, 1.0)

    found = recognisers.read(exp)
    known = found.systems["student_unc_seed0"].token_uncertainty("test")
    monkeypatch.setattr(statistics, "auroc", auroc)
    assert uncertainty_eval.answer(uncertainty_eval.evaluate(found)).word == word


def test_markup_stays_text(tmp_path):
    page = main.make(made.recognisers(tmp_path, evil=True))
    parsed = Page(page)
    tags = [tag for tag, _ in parsed.elements]
    assert tags.count("script") == 2 and "img" not in tags
    assert not any(name.startswith("on") for _, attrs in parsed.elements for name in attrs)
    # words of the transcript, and the config
    assert "<script>window.evil=1</script>" in parsed.said
    assert "note:" in parsed.said and 'onerror="window.evil=2"' in parsed.said


def test_results_of_older_models_are_left_out(tmp_path):
    exp = made.recognisers(tmp_path)
    model = exp / "asr_student_unc_seed0/model.json"
    model.write_text(model.read_text().replace("sha of", "newer than"))
    found = recognisers.read(exp)
    assert {d.system.name for d in found.decoded} == {"teacher_t", "student_seed0"}
    assert found.systems["student_unc_seed0"].token_uncertainty("test") is None
    assert model_selection.select(found).ship.family == "student"


def test_a_smaller_student_wins_where_the_test_cannot_tell(tmp_path):
    exp, reference = made.recognisers(tmp_path), made.texts()
    made.system(exp, "large_seed0", reference, 0.14, 3, parameters=400_000)
    selection = model_selection.select(recognisers.read(exp))
    assert selection.ship.family == "student_unc"
    assert "large" in {c.family for c, _ in selection.like}


def test_seeds_are_one_candidate(tmp_path):
    exp, reference = made.recognisers(tmp_path), made.texts()
    for seed in (1, 2):
        made.system(exp, f"student_unc_seed{seed}", reference, 0.15, 10 + seed)
        path = exp / f"asr_student_unc_seed{seed}/model.json"
        model = json.loads(path.read_text()) | {"seed": seed, "averaged": [[1, 0.5 + seed]]}
        path.write_text(json.dumps(model))
    found = recognisers.read(exp)
    (one,) = [
        c
        for c in model_selection.candidates(found, False)
        if (c.family, c.lm) == ("student_unc", None)
    ]
    assert one.seeds == 3 and one.system.name == "student_unc_seed2"  # best in validation
    each = [d.words.total for d in found.decoded if d.system.family == one.family and not d.lm]
    assert np.array_equal(one.errors, np.mean(each, axis=0))


def test_a_hubert(tmp_path):
    exp = made.hubert(tmp_path)
    parsed = Page(main.make(exp))
    assert parsed.open == []
    assert "Ship narrow_hard_seed0" in parsed.said[:300]
    assert "mfcc 20.00 30.00 3" in " ".join(parsed.said.split())
    assert "narrow_hard_seed0: 90 and 80 cells of 7 utterances" in parsed.said
    assert "97 of 100" in parsed.said and "88.5" in parsed.said and "model.onnx" in parsed.said


def test_abx_of_another_model_is_left_out(tmp_path, caplog):
    exp = made.hubert(tmp_path)
    table = json.loads((exp / "results.json").read_text())
    table["systems"][1]["model"] = "k"
    (exp / "results.json").write_text(json.dumps(table))
    assert [one.system for one in hubert.read(exp).abx] == ["narrow_hard_seed0", "mfcc"]
    table["systems"][1]["model"] = "trained again"
    (exp / "results.json").write_text(json.dumps(table))
    assert [(one.system, one.layer) for one in hubert.read(exp).abx] == [("mfcc", 3)]
    assert "narrow_hard_seed0.json belongs to another model" in caplog.text


def test_the_command_needs_neither_torch_nor_espnet(tmp_path):
    exp = made.hubert(tmp_path)
    code = (
        "import sys; sys.modules['torch'] = sys.modules['espnet2'] = None\n"
        "from espnet_dice.report.main import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(exp), "--out", str(tmp_path / "x.html")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "x.html")
    assert (tmp_path / "x.html").read_text().startswith("<!doctype html>")


def test_nothing_to_report(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such directory"):
        main.make(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nothing was trained, decoded or probed"):
        main.make(tmp_path)


def test_warnings_stand_on_the_first_screen(exp, page, monkeypatch):
    assert ("Warnings" in page.replace("warnings", "Warnings")) == bool(checks.find(exp))
    found = [RunWarning("asr_<b>", "the loss is NaN", ("too large a step", "<i>"), "lower it")]
    monkeypatch.setattr(checks, "find", lambda exp, data, read: found)
    made = main.make(exp)
    said = Page(made).said
    assert (
        "1 warning asr_<b> : the loss is NaN. Perhaps: too large a step; <i>. What to do: lower"
        in said
    )
    assert made.index('id="warnings"') < made.index('aria-label="Contents"')
    assert "<i>" not in made and "asr_<b>" not in made
