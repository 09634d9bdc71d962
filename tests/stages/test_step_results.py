"""The table of both distillations from the results of three recipes; the script that runs them."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from espnet_dice.io.errors import DataError
from espnet_dice.stages import step_results
from tests.stages import stub_python

BOTH = Path(__file__).parents[2] / "egs2/TEMPLATE/dicekd1/dicekd.sh"
ROW = {"cer": 9.0, "words": 10, "characters": 50, "wer_sdi": [1, 0, 0], "cer_sdi": [1, 0, 0]}
SSL = {"encoder": "dice_ssl", "encoder_conf": {"source": "../dice1/exp/dice_narrow_seed0"}}
TOK = {"kd_alpha": 0.5, "kd_ctc": 0.5, "teachers": [{"name": "a"}, {"name": "b"}]}


def row(system: str, wer: float, parameters: int, lm: str | None = None) -> dict:
    more = {"set": "test", "seed": 0, "cpu_s_per_audio_s": 0.5, "decode": "decode_no_lm"}
    return {**ROW, **more, "system": system, "wer": wer, "parameters": parameters, "lm": lm}


def write(exp: Path, results, configs: dict) -> None:
    exp.mkdir(parents=True)
    (exp / "results.json").write_text(json.dumps(results))
    for system, config in configs.items():
        (exp / f"asr_{system}").mkdir()
        (exp / f"asr_{system}/config.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture
def recipes(tmp_path):
    """Results as the stages of dice1 and of kd1 (twice) write them."""
    encoders = [("teacher_seed0", 1_020_000, 30.0), ("narrow_seed0", 270_000, 40.0)]
    systems = [
        {
            "system": name,
            "loss": "hard",
            "labels": "mfcc",
            "parameters": n,
            "seed": 0,
            "cpu_s_per_audio_s": 0.003,
            "scores": {"char": {"0": cer - 1, "1": cer + 1}},
        }
        for name, n, cer in encoders
    ]
    write(tmp_path / "dice1/exp", {"systems": systems, "spread": [], "probes": {}}, {})
    fbank = {"encoder": "transformer", "model_conf": {}}
    rows = [row("student", 27.0, 200_000), row("student", 26.0, 200_000, "mini")]
    write(tmp_path / "kd1/exp", rows, {"student": fbank})
    both = {**TOK, "kd_beta": 0.3}
    configs = {
        "teacher_a": {**SSL, "encoder_conf": {"source": "../dice1/exp/dice_teacher_seed0"}},
        "student_tok": {**SSL, "model_conf": TOK},
        "student_unc": {**SSL, "model_conf": both},
        "student_scratch": {"encoder": "dice_ssl", "encoder_conf": {"source": None}},
    }
    wers = {"student_tok": 20.0, "student_unc": 19.0, "student_scratch": 50.0, "teacher_a": 15.0}
    sizes = {"teacher_a": 1_400_000}
    rows = [row(name, wer, sizes.get(name, 330_000)) for name, wer in wers.items()]
    write(tmp_path / "exp", rows, configs)
    return tmp_path


def test_every_step_has_size_speed_and_error_rate(recipes, monkeypatch, capsys):
    monkeypatch.chdir(recipes)
    step_results.main(["--encoders", "dice1/exp", "--features", "kd1/exp"])
    printed = capsys.readouterr().out
    lines = [[c.strip() for c in x.split("|")[1:-1]] for x in printed.splitlines() if "|" in x]
    head, _, *found = lines
    table = {line[1]: dict(zip(head, line, strict=True)) for line in found}
    assert list(table) == [
        *("teacher_seed0", "narrow_seed0", "student", "teacher_a"),
        *("student_tok", "student_unc", "student_scratch"),
    ]
    assert table["narrow_seed0"]["probe CER %"] == "40.0" and table["narrow_seed0"]["WER %"] == "–"
    assert [s["M param"] for s in table.values()][:4] == ["1.02", "0.27", "0.20", "1.40"]
    assert table["student"]["WER %"] == "27.0" and table["student"]["taught by"] == "–"
    assert table["student_tok"]["encoder"] == "narrow_seed0"
    assert table["student_tok"]["taught by"] == "tokens, CTC of a, b"
    assert table["student_unc"]["taught by"] == "tokens, CTC, uncertainty of a, b"
    assert table["student_scratch"]["encoder"] == "new"
    assert table["student"]["CPU-s/audio-s"] == "0.5000"
    assert (recipes / "exp/STEPS.md").read_text().count("\n| ") == len(lines)
    written = json.loads((recipes / "exp/steps.json").read_text())
    assert [s["system"] for s in written] == list(table)


def test_the_comparison_may_be_left_out(recipes):
    steps = step_results.collect(recipes / "dice1/exp", None, recipes / "exp")
    assert {s.step for s in steps} == {step_results.ENCODER, step_results.RECOGNISER}


def test_a_recipe_without_results_is_named(recipes):
    (recipes / "kd1/exp/results.json").unlink()
    with pytest.raises(DataError, match=r"kd1/exp/results.json is missing: run the stages of the"):
        step_results.collect(recipes / "dice1/exp", recipes / "kd1/exp", recipes / "exp")
    (recipes / "exp/asr_teacher_a/config.yaml").unlink()
    with pytest.raises(DataError, match=r"asr_teacher_a/config.yaml is missing"):
        step_results.collect(recipes / "dice1/exp", None, recipes / "exp")


def script(path: Path, code: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    line = 'printf "%s|" "$(basename "$PWD")" "$(basename "$(dirname "$0")")" "$@"'
    path.write_text(f'#!/bin/sh\n{{ {line}; echo; }} >>"{path.parents[1]}/asked"\nexit {code}\n')
    path.chmod(0o755)


def run(cwd: Path, *args: str):
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [str(BOTH), "--nj", "2", "--python", str(cwd / "python"), *args]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def test_the_recipes_are_run_in_their_order_with_their_options(tmp_path):
    here = tmp_path / "dicekd1"
    for path in (here / "asr.sh", tmp_path / "dice1/run.sh", tmp_path / "kd1/run.sh"):
        script(path)
    stub_python.write(here)
    arguments = ["--train_cmd", "slurm.pl --mem 4G", "--launch", "torchrun"]
    arguments += ["--features_recipe", "../kd1", "--encoder_args", "--stop_stage 2"]
    arguments += ["--recogniser_args", "--student_args '--max_epoch 1 --seed 3' --lm_args ''"]
    done = run(here, *arguments)
    assert done.returncode == 0, done.stderr
    asked = [line.split("|")[1:-1] for line in (tmp_path / "asked").read_text().splitlines()]
    shared = ["--nj", "2", "--ngpu", "0", "--python", str(here / "python")]
    shared += ["--allow_pipes", "false", "--train_cmd", "slurm.pl --mem 4G", "--cuda_cmd", ""]
    shared += ["--num_nodes", "1", "--launch", "torchrun"]
    assert asked[0] == ["dice1", *shared, "--stop_stage", "2"]
    assert asked[1] == ["kd1", *shared]
    more = ["--student_args", "--max_epoch 1 --seed 3", "--lm_args", ""]
    assert asked[2][1:] == [*shared, "--expdir", "exp", *more]
    assert len(asked) == 3
    table = ["--encoders", "../dice1/exp", "--features", "../kd1/exp", "--exp", "exp"]
    assert stub_python.started(here) == [("step_results", table)]


def test_a_recipe_that_fails_ends_the_chain(tmp_path):
    here = tmp_path / "dicekd1"
    script(here / "asr.sh")
    script(tmp_path / "dice1/run.sh", code=2)
    assert run(here).returncode == 2
    assert len((tmp_path / "asked").read_text().splitlines()) == 1


def test_quiet_reaches_every_step_and_prints_no_titles(tmp_path):
    here = tmp_path / "dicekd1"
    for path in (here / "asr.sh", tmp_path / "dice1/run.sh"):
        script(path)
        path.write_text(path.read_text() + "echo ${ESPNET_DICE_LOG} >&2\n")
        path.write_text(path.read_text().replace("exit 0\n", ""))
    stub_python.write(here)
    done = run(here, "--quiet")
    assert (done.returncode, done.stderr) == (0, "quiet\nquiet\n")
    assert "Stage 1" in run(here).stderr
