import dataclasses
import json
import logging
import shutil

import jiwer
import kaldiio
import numpy as np
import pytest

import espnet_dice
from espnet_dice.decoding.decode_queue import batches, read_results
from espnet_dice.decoding.decoder import BEAM, check_options
from espnet_dice.io.errors import ConfigError, StaleError
from espnet_dice.records import experiment, feature_dir
from espnet_dice.results import score as scoring
from espnet_dice.results import table
from espnet_dice.stages import decode
from tests.stages import tiny

CONFIG = tiny.Path("conf/decode.yaml")
TEST = tiny.DUMP / "test"


def plan(recipe, modes=(False, True), systems=None):
    return decode.plan(systems or [recipe.plain], [TEST], recipe.lm, list(modes), CONFIG)


@pytest.fixture(scope="module")
def decoded(trained):
    """Every tiny system decoded, without and with the LM."""
    with tiny.inside(trained.root):
        systems = [trained.plain, trained.student, tiny.EXP / "asr_teacher_t"]
        todo = plan(trained, systems=systems)
        decode.run(todo, nj=2)  # another file's tests may have decoded some of them
        return {(d.system.name, d.lm is not None): d.out for d in todo}


def read(path):
    lines = path.read_text().splitlines()
    return {line.split()[0]: line.partition(" ")[2].strip() for line in lines}


@pytest.mark.parametrize("with_lm", [False, True])
def test_as_espnets_own_command(recipe, decoded, tmp_path, with_lm):
    from espnet2.bin import asr_inference

    e, model = experiment.load(recipe.plain), experiment.load(recipe.lm)
    conf = {**tiny.DECODE, "lm_weight": tiny.DECODE["lm_weight"] if with_lm else 0.0}
    command = [
        *("--output_dir", str(tmp_path), "--num_workers", "0", "--log_level", "ERROR"),
        *("--data_path_and_name_and_type", f"{TEST}/feats.scp,speech,kaldi_ark"),
        *("--asr_train_config", str(e.config), "--asr_model_file", str(e.model_file)),
        *(w for k, v in conf.items() for w in (f"--{k}", str(v))),
    ]
    if with_lm:
        command += ["--lm_train_config", str(model.config), "--lm_file", str(model.model_file)]
    asr_inference.main(command)
    ours = decoded["asr_plain_seed0", with_lm]
    for name in ("text", "token"):
        assert read(ours / name) == read(tmp_path / "1best_recog" / name)
    theirs = read(tmp_path / "1best_recog/score")
    for utt, score in read(ours / "score").items():
        shown = float(theirs[utt].replace("tensor(", "").rstrip(")"))
        assert float(score) == pytest.approx(shown, abs=1e-3)


@pytest.mark.parametrize(
    "conf",
    [
        {"beam_size": 4, "maxlenratio": 0.0, "lm_weight": 0.5},
        {"beam_size": 3, "penalty": 0.4, "normalize_length": True, "minlenratio": 0.1},
        {"beam_size": 1, "ctc_weight": 0.6, "maxlenratio": -3, "lm_weight": 0.0},
        {"beam_size": 25, "maxlenratio": 0.2, "ctc_weight": 0.1},  # no pre-beam: 37 of 31 tokens
        {"beam_size": 2, "minlenratio": 0.95, "maxlenratio": 1.0},
    ],
)
def test_a_batch_is_decoded_as_espnets_search_does_one_by_one(recipe, conf):
    import torch

    from espnet_dice.decoding.beam import BatchSearch
    from espnet_dice.decoding.decoder import build, decode_batch

    (d,) = plan(recipe, [conf.get("lm_weight") != 0.0])
    d = decode.Decoding(d.system, d.dump, d.lm, check_options(d.conf | conf, CONFIG), d.out)
    recogniser = build(d)
    assert BatchSearch.serves(recogniser)
    feats = [np.array(x) for x in kaldiio.load_scp(str(TEST / "feats.scp")).values()]
    ours = decode_batch(recogniser, feats)
    with torch.inference_mode():
        theirs = [recogniser(x)[0] for x in feats]
    assert [r["token"] for r in ours] == [" ".join(r[1]) for r in theirs]
    scores = [float(r[3].score) for r in theirs]
    assert [float(r["score"]) for r in ours] == pytest.approx(scores, abs=1e-3)


def test_a_search_of_other_models_is_espnets(recipe, monkeypatch):
    from espnet_dice.decoding import beam
    from espnet_dice.decoding.decoder import build, decode_batch

    (d,) = plan(recipe, [False])
    recogniser = build(d)
    feats = [np.array(x) for x in kaldiio.load_scp(str(TEST / "feats.scp")).values()][:2]
    ours = decode_batch(recogniser, feats)
    recogniser.asr_model.decoder.decode_samples = 1  # noise in each step: not ours to repeat
    monkeypatch.setattr(beam.BatchSearch, "__call__", None)
    theirs = decode_batch(recogniser, feats)
    assert [r["text"] for r in ours] == [r["text"] for r in theirs]


def test_batches_are_of_similar_length_and_bounded():
    lengths = {f"u{i}": 100 * (i + 1) for i in range(60)}
    made = batches(lengths, 4, 100)
    assert sorted(u for b in made for u in b) == sorted(lengths) and made[0][0] == "u59"
    assert all(lengths[b[0]] * len(b) <= 16000 or len(b) == 1 for b in made)
    assert [len(b) for b in batches(dict.fromkeys(lengths, 100), 4, 100)] == [32, 28]
    assert [len(b) for b in batches(dict.fromkeys(lengths, 100), 20, 100)] == [6] * 10
    assert [len(b) for b in batches({"long": 10**6, "short": 1}, 4, 100)] == [1, 1]


def test_the_number_of_workers_changes_nothing(recipe, decoded, tmp_path, monkeypatch):
    (d,) = plan(recipe, [False])
    other = decode.Decoding(d.system, d.dump, None, d.conf, tmp_path / "out")
    assert decode.run([other], nj=1) == 1
    for name in ("text", "token", "score"):
        assert (other.out / name).read_bytes() == (d.out / name).read_bytes()


@pytest.mark.parametrize("with_lm", [False, True])
def test_the_python_api_decodes_to_the_same(recipe, decoded, with_lm):
    lm = {"lm": recipe.lm} if with_lm else {}
    conf = {k: v for k, v in tiny.DECODE.items() if with_lm or k != "lm_weight"}
    model = espnet_dice.load(recipe.plain, **lm, **conf)
    feats = kaldiio.load_scp(str(TEST / "feats.scp"))
    texts = {utt: model.decode(np.array(feats[utt])) for utt in feats}
    assert texts == read(decoded["asr_plain_seed0", with_lm] / "text")


def test_what_is_whole_is_skipped(recipe, decoded):
    assert decode.run(plan(recipe), nj=2) == 0


def test_a_killed_decoding_goes_on_with_what_is_missing(recipe, decoded, tmp_path):
    (d,) = plan(recipe, [False])
    other = decode.Decoding(d.system, d.dump, None, d.conf, tmp_path / "out")
    first, second, *_ = d.dump.lengths
    kept = {"utt": first, "text": "KEPT", "token": "K", "score": "0", "cpu_s": 0.0}
    half = json.dumps({**kept, "utt": second})[:20]
    (other.out / "parts").mkdir(parents=True)
    other.fingerprint.begin(other.out)
    (other.out / "parts/0.jsonl").write_text(json.dumps(kept) + "\n" + half)
    assert decode.run([other], nj=1) == 1
    text, before = read(other.out / "text"), read(d.out / "text")
    assert text.pop(first) == "KEPT" and before.pop(first) is not None
    assert text == before
    assert not (other.out / "parts").exists()


def test_parts_of_other_settings_are_not_used(recipe, decoded, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (d,) = plan(recipe, [False])
    other = decode.Decoding(d.system, d.dump, None, {**d.conf, "beam_size": 1}, tmp_path / "out")
    kept = {"utt": next(iter(d.dump.lengths)), "text": "STALE", "token": "", "score": "0"}
    (other.out / "parts").mkdir(parents=True)
    d.fingerprint.begin(other.out)
    (other.out / "parts/0.jsonl").write_text(json.dumps({**kept, "cpu_s": 0}) + "\n")
    decode.run([other], nj=1)
    assert "STALE" not in (other.out / "text").read_text()
    assert "changed: beam_size" in caplog.text


def test_the_weight_of_the_lm_is_chosen_on_dev(recipe, decoded):
    todo = plan(recipe, [True, False])
    weights, dev = [0.7, 0, 0.2], tiny.DUMP / "dev"
    with_lm, without = decode.tune(todo, dev, weights, nj=2)
    assert without == todo[1] and with_lm.tuned_on == "dev"
    place = recipe.plain / decode.TUNING / todo[0].out.parent.name
    said = json.loads((place / "choice.json").read_text())
    texts = {w: read(place / f"{w:g}" / "dev" / "text") for w in weights}
    reference = read(dev / "text")
    wer = {
        f"{w:g}": 100 * jiwer.wer([reference[u] for u in reference], [t[u] for u in reference])
        for w, t in texts.items()
    }
    assert said["wer"] == pytest.approx(wer, abs=1e-3) and said["set"] == "dev"
    best = min(weights, key=lambda w: (said["wer"][f"{w:g}"], w))
    assert said["weight"] == with_lm.conf["lm_weight"] == best
    # with weight 0 the LM has no say
    (plain,) = plan(recipe, [False])
    alone = dataclasses.replace(plain, dump=feature_dir.load(dev), out=place / "alone")
    decode.run([alone], nj=1)
    assert read(alone.out / "text") == texts[0]
    # what was tuned stands in the table, what was tried does not
    one = dataclasses.replace(with_lm, out=recipe.plain / "decode_tuned" / "test")
    decode.run([one], nj=1)
    rows = [r for r in scoring.score(tiny.EXP) if r.system == "plain_seed0"]
    assert {r.set for r in rows} == {"test"}
    (tuned,) = [r for r in rows if r.lm_weight is not None]
    assert f"| tiny × {best:g} |" in table.table(rows) and tuned.lm_weight == best
    shutil.rmtree(one.out.parent)


def test_meta_says_what_was_decoded(recipe, decoded):
    meta = json.loads((decoded["asr_plain_seed0", True] / "meta.json").read_text())
    e = experiment.load(recipe.plain)
    assert (meta["system"], meta["set"], meta["lm"]) == ("plain_seed0", "test", "tiny")
    assert meta["parameters"] == e.parameters and meta["model"] == e.sha256
    frames = sum(feature_dir.load(TEST).lengths.values())
    assert meta["audio_s"] == pytest.approx(frames / 100)
    assert meta["cpu_s_per_audio_s"] > 0


def test_an_utterance_that_is_too_short_is_empty(recipe):
    from espnet_dice.decoding.decoder import build, decode_one

    (d,) = plan(recipe, [False])
    result = decode_one(build(d), np.zeros((3, tiny.DIM), np.float32))
    assert result["text"] == ""


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"beam": 3}, r"unknown key 'beam'; did you mean 'beam_size'\?"),
        ({"beam_size": "ten"}, "beam_size must be a whole number, not 'ten'"),
        ({"lm_weight": True}, "lm_weight must be a number"),
        ({"normalize_length": 1}, "normalize_length must be true or false"),
    ],
)
def test_bad_options(conf, message):
    with pytest.raises(ConfigError, match=message):
        check_options(conf, CONFIG)


def test_defaults():
    assert check_options({"lm_weight": 1}, CONFIG) == {**BEAM, "lm_weight": 1.0}


def test_missing_inputs_are_named(recipe):
    with pytest.raises(StaleError, match="asr_no is missing: run stage 5 or 7 first"):
        plan(recipe, systems=[tiny.EXP / "asr_no"])
    with pytest.raises(ConfigError, match="needs --lm"):
        decode.plan([recipe.plain], [TEST], None, [True], CONFIG)
    with pytest.raises(StaleError, match="nowhere is missing"):
        decode.plan([recipe.plain], [tiny.DUMP / "nowhere"], None, [False], CONFIG)


def test_results_of_unknown_utterances_are_ignored(tmp_path):
    (tmp_path / "0.jsonl").write_text('{"utt": "old"}\nnot json\n{"utt": "new"}\n{"utt": "cu')
    assert set(read_results(tmp_path)) == {"old", "new"}
    assert set(read_results(tmp_path, {"new": 1})) == {"new"}


def test_options_beside_the_config_win_and_name_the_result(recipe):
    def planned(extra="", tag=""):
        (found,) = decode.plan([recipe.plain], [TEST], None, [False], CONFIG, extra, tag)
        return found

    assert planned().out.parent.name == "decode_no_lm"
    one = planned("--beam_size 3 --normalize_length=true --penalty 1")
    assert one.conf == planned().conf | {"beam_size": 3, "normalize_length": True, "penalty": 1.0}
    assert one.out.parent.name == "decode_beam_size3_normalize_lengthTrue_penalty1_no_lm"
    assert planned("--beam_size 3", "mine").out.parent.name == "decode_mine_no_lm"
    assert planned("", "decode_mine").out.parent.name == "decode_mine_no_lm"


@pytest.mark.parametrize(
    ("extra", "tag", "message"),
    [
        ("--beam 3", "", "unknown key 'beam'; did you mean 'beam_size'"),
        ("--beam_size", "", "--beam_size needs one value"),
        ("--beam_size 3 4", "", "--beam_size needs one value"),
        ("--beam_size wide", "", "beam_size must be a whole number, not 'wide'"),
        ("3", "", "must begin with '--'"),
        ("", "../x", "names a directory"),
    ],
)
def test_options_that_are_none(recipe, extra, tag, message):
    with pytest.raises(ConfigError, match=message):
        decode.plan([recipe.plain], [TEST], None, [False], CONFIG, extra, tag)
