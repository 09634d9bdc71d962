"""The plan: what is done, what is stale and why, what it takes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.plan import costs, estimate, table
from espnet_dice.plan.recipe import Stage
from espnet_dice.plan.state import DONE, STALE, TO_DO, States
from tests.corpus import make_corpus
from tests.plan.asked import dice, kd
from tests.stages import tiny

ROOT = Path(__file__).parents[2]
SCALE = ROOT / "egs2/TEMPLATE/SCALE.md"


def laws():
    """Stage → law, of the table in SCALE.md."""
    row = re.compile(r"\| ([^|]+) \| ([\d.]+) CPU-s, ([\d.]+) MB an hour")
    found = (row.match(line) for line in SCALE.read_text().splitlines())
    return {m[1]: costs.Law(float(m[2]), float(m[3])) for m in found if m}


def test_laws_are_those_of_the_documentation():
    told = laws()
    assert costs.FEATURES["raw"] == told["features: raw"]
    assert costs.FEATURES["fbank_pitch"] == told["features: fbank_pitch"]
    small, large = told["teacher outputs"], told["teacher outputs, 28 M recogniser"]
    assert (small, large) == costs.OUTPUTS
    names = {"mfcc": "labels: MFCC", "layer": "labels: layer", "base": "labels, HuBERT-base"}
    assert {key: told[name] for key, name in names.items()} == costs.LABELS
    assert costs.outputs(28.0).cpu_s == costs.OUTPUTS[1].cpu_s
    assert costs.labels(94.4, 50) == costs.LABELS["base"]


def test_what_is_left_is_by_hours_and_speeds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "data/train", 10, 1.0)
    stage = Stage(2, "features", (Path("dump/fbank_pitch/train_sp"),))
    hours = 3 * sum(1 + 0.01 * i for i in range(10)) / 3600
    left = estimate.left(kd(stage, speed_perturb_factors="0.9 1.0 1.1"), stage)
    assert left.keys() == {"dumpdir"}
    assert abs(left["dumpdir"].mb - 119.45 * hours) < 1e-3 * hours


STAGES = (
    Stage(3, "tokens", (tiny.TOKENS,)),
    Stage(5, "teachers", (tiny.EXP / "asr_teacher_t",)),
    Stage(6, "outputs", tuple(tiny.EXP / f"teacher_outputs/t/{s}" for s in ("train", "dev"))),
    Stage(7, "students", (tiny.EXP / "asr_plain_seed0", tiny.EXP / "asr_unc_seed0")),
    Stage(9, "decoding", (tiny.EXP / "asr_plain_seed0/decode*_none/test",)),
)


def asked():
    dumps = tuple(tiny.DUMP / name for name in tiny.SIZES)
    return kd(Stage(2, "features", dumps), *STAGES, teachers="t=train/dev", teacher_samples="3")


def states(recipe):
    found = States(recipe)
    return {stage.number: found.of(stage) for stage in recipe.stages}


def test_a_finished_recipe_and_a_config_that_has_changed(recipe, tmp_path):
    wanted = asked()
    found = states(wanted)
    # their record says nothing of the data that they were made from
    assert {n: state for n, (state, _) in found.items()} == {
        2: DONE, 3: DONE, 5: DONE, 6: DONE, 7: DONE, 9: TO_DO,
    }  # fmt: skip
    conf = tiny.asr_config("uncertainty_kd")
    config = tiny.write_config(str(tmp_path / "t.yaml"), conf)
    wanted.configs[tiny.EXP / "asr_teacher_t"] = config
    assert states(wanted)[5] == (DONE, "")
    tiny.write_config(str(config), conf | {"max_epoch": 9, "num_workers": 1})
    assert states(wanted)[5] == (DONE, "")  # goes on, and is as good as it was so far
    tiny.write_config(str(config), conf | {"optim_conf": {"lr": 1.0}})
    found = states(wanted)
    assert found[5] == (STALE, f"exp/asr_teacher_t: {config}: optim_conf changed")
    assert found[6] == (STALE, "exp/teacher_outputs/t/train: exp/asr_teacher_t is made anew")
    assert found[7][0] == STALE and "exp/asr_unc_seed0: " in found[7][1]
    assert found[7][1].endswith("is made anew; 1 of 2 are done")
    said = table.write(wanted)
    assert " 5  stale                 teachers" in said and " 9  to do " in said


def test_an_option_that_has_changed(recipe):
    found = states(kd(*asked().stages, teachers="t=train/dev", teacher_samples="50"))
    assert found[6] == (STALE, "exp/teacher_outputs/t/train: --teacher_samples was 3")


def test_a_seed_that_names_no_directory_has_changed(recipe):
    found = states(kd(*asked().stages, teachers="t=train/dev", teacher_samples="3", seed="1"))
    assert found[5] == (STALE, "exp/asr_teacher_t: --seed was 0")
    assert found[7][0] == STALE and "exp/asr_unc_seed0: " in found[7][1]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, ""),
        ({"speed_perturb_factors": "0.8 1.0"}, "--speed_perturb_factors was 0.9 1 1.1"),
        ({"max_wav_duration": "20"}, "--max_wav_duration was 15.0"),
        ({"resample": "true"}, "--resample was false"),
        ({"channel": "1"}, "--channel was not given"),
    ],
)
def test_options_of_the_features_that_have_changed(options, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "data/train", 3)
    made = {"rate": 16000, "resample": False, "channel": None, "speeds": [0.9, 1.0, 1.1]}
    out = Path("dump/fbank_pitch/train_sp_cut")
    Fingerprint("features", made | {"durations": [0.0, 15.0]}, {}).finish(out)
    given = {"speed_perturb_factors": "0.9 1.0 1.1", "max_wav_duration": "15", "fs": "16000"}
    wanted = kd(Stage(2, "features", (out,)), **{**given, "min_wav_duration": "0", **options})
    assert states(wanted)[2] == ((STALE, f"{out}: {why}") if why else (DONE, ""))


def test_a_decoding_with_another_beam(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = Path("exp/asr_x_seed0/decode_no_lm/test")
    Fingerprint("decode", {"beam_size": 10, "lm_weight": 0.0, "penalty": 0.0}, {}).finish(out)
    config = tiny.write_config(str(tmp_path / "d.yaml"), {"beam_size": 10, "lm_weight": 0.3})
    stage = Stage(9, "decoding", (out,))
    assert states(kd(stage, inference_config=str(config)))[9] == (DONE, "")
    changed = states(kd(stage, inference_config=str(config), inference_args="--penalty 0.5"))
    assert changed[9] == (STALE, f"{out}: {config}: penalty changed")


def test_a_dry_run_changes_nothing(tmp_path):
    make_corpus(tmp_path / "data/train", 3)
    script = ROOT / "egs2/TEMPLATE/dice1/dice.sh"
    sets = ["--train_set", "train", "--valid_set", "dev", "--test_sets", "test"]
    done = subprocess.run(
        [script, *sets, "--stop_stage", "1", "--dry_run", "--python", sys.executable],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["1", "to", "do", "data,", "checked", "audio"]
    assert " 5  to do, not asked for  1 students" in lines
    assert "not all sets are there yet" in lines[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_data_directory_that_has_changed(tmp_path, monkeypatch):
    from espnet_dice.stages.data import check_data

    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "data/train", 3)
    wanted = dice(Stage(1, "data", (Path("data/train"),)))
    assert states(wanted)[1] == (TO_DO, "data/train")
    check_data("data/train")
    assert states(wanted)[1] == (DONE, "")
    with open("data/train/text", "a") as f:
        f.write("\n")
    assert states(wanted)[1] == (STALE, "data/train: data is not what it was made from")
