import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_dice.results import score
from espnet_dice.stages import decode, export, uncertainty
from espnet_dice.stages import score as score_stage
from tests.corpus import make_corpus
from tests.stages import tiny

ROOT = Path(__file__).parents[2]
KD = ROOT / "egs2/TEMPLATE/kd1/kd.sh"
DICE = ROOT / "egs2/TEMPLATE/dice1/dice.sh"
BOTH = ROOT / "egs2/TEMPLATE/dicekd1/dicekd.sh"
RECIPES = sorted((ROOT / "egs2").glob("*/*1/run.sh"))
STAGES = {
    "kd1": ("12", ((1, "data"), (7, "students"), (12, "report"))),
    "dice1": ("9", ((1, "data"), (3, "k-means"), (9, "report"))),
    "dicekd1": ("4", ((1, "encoder"), (3, "recognisers on the encoders"), (4, "table"))),
}
SETS = ["--train_set", "train", "--valid_set", "dev", "--test_sets", "test"]
DICE_SETS = ["--train_set", "train", "--valid_set", "dev", "--test_sets", "test"]


def run(script, *args, cwd, path=(), **env):
    places = os.pathsep.join(map(str, path))
    return subprocess.run(
        [str(script), *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": places, **env},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("script", RECIPES, ids=lambda p: "-".join(p.parts[-3:-1]))
def test_help_shows_the_corpus_and_its_defaults(script, tmp_path):
    done = run(script, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last, stages = STAGES[script.parts[-2]]
    assert f'--stop_stage       Last stage (default="{last}")' in done.stdout
    for number, name in stages:
        assert f"{number} {name}" in " ".join(done.stdout.split())
    changed = run(script, "--nj", "7", "--allow-pipes=true", "--help", cwd=tmp_path)
    assert '(default="7")' in changed.stdout and 'commands (default="true")' in changed.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--stages", "3"], "unknown option --stages"),
        (["--stage", "x"], "--stage must be a whole number, not 'x'"),
        (["--nj"], "--nj needs a value"),
        (["extra"], "unexpected argument 'extra'"),
        (["--use_lm", "yes"], "--use_lm must be true or false"),
        (["--teacher_mode", "live"], "--teacher_mode must be cached or online"),
        (["--train_set", ""], "--train_set is empty"),
        (["--teachers", "a:b"], "--teachers 'a:b': write NAME=TRAIN_SET/DEV_SET"),
        (["--teachers", "a=exp:"], "--teachers 'a=exp:': write NAME=TRAIN_SET/DEV_SET or NAME=exp"),
        (["--data_dir", "x", "--espnet_root", "y"], "give --espnet_root or --data_dir, not both"),
        (["--espnet_root", "y"], "--espnet_root needs --espnet_recipe"),
        (["--num_nodes", "2"], "--num_nodes needs --cuda_cmd"),
        (["--run_args", "x"], "unknown option --run_args"),
        (["--expdir", "a,b/exp"], "--expdir 'a,b/exp': ESPnet's options cannot hold a path with a"),
        (["--dumpdir", "/a,b"], "--dumpdir '/a,b': ESPnet's options cannot hold a path with a com"),
        (["--valid_set", "a,b"], "--valid_set 'a,b': ESPnet's options cannot hold a path with"),
    ],
)
def test_bad_options_are_named(tmp_path, args, message):
    done = run(KD, *SETS, "--python", sys.executable, *args, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--clusters", "many"], "--clusters must be whole numbers, not 'many'"),
        (["--iterations", "3"], "--iterations must be 1 or 2, not '3'"),
        (["--trust-pickle", "yes"], "--trust_pickle must be true or false"),
        (["--test_sets", ""], "--test_sets is empty"),
        (["--expdir", "a,b"], "--expdir 'a,b': ESPnet's options cannot hold a path with a comma"),
        (["--fs", "8000"], "--fs 8000: HuBERT hears 16000 Hz; leave --fs out, and give --resample"),
        (["--temperature", "5"], "unknown option --temperature"),
    ],
)
def test_bad_options_of_dice_are_named(tmp_path, args, message):
    done = run(DICE, *DICE_SETS, "--python", sys.executable, *args, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith(f"error: {message}")


def test_a_python_without_espnet_is_named(tmp_path):
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    done = run(KD, *SETS, "--python", str(tmp_path / "python"), cwd=tmp_path)
    assert done.returncode == 2 and "is not a Python with ESPnet" in done.stderr


def test_two_runs_in_one_directory(tmp_path):
    held = "sleep 20"
    first = subprocess.Popen(
        [str(KD), *SETS, "--python", sys.executable, "--stop_stage", "1", "--local_data", held],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    try:
        assert "Stage 1" in first.stderr.readline()
        second = run(KD, *SETS, "--python", sys.executable, cwd=tmp_path)
        assert second.returncode == 2
        assert f"process {first.pid} since" in second.stderr
        assert "another run works in" in second.stderr
    finally:
        os.killpg(first.pid, 15)
        first.wait()
        first.stderr.close()


def test_a_second_run_redoes_nothing(recipe, tmp_path):
    """All stages from 3 on, with an ESPnet that cannot be imported."""
    systems = [recipe.student]
    config = Path("conf/decode.yaml")
    teacher = [tiny.EXP / "asr_teacher_t"]
    test = [tiny.DUMP / "test"]
    decode.run(decode.plan(systems, test, recipe.lm, [False, True], config), nj=2)
    decode.run(decode.plan(teacher, test, None, [False], config), nj=2)
    score_stage.main(["--exp", str(tiny.EXP)])
    export.export(systems, tiny.TOKENS, test_set=test[0], lm=recipe.lm)
    uncertainty.run(uncertainty.plan([*systems, *teacher], test, tiny.TOKENS), tiny.TOKENS, nj=2)
    tiny.asr_job("teacher_t", tiny.asr_config("uncertainty_kd"))
    tiny.write_config(
        "conf/train_asr_unc.yaml", tiny.asr_config("uncertainty_kd", kd_alpha=0.5, kd_beta=0.5)
    )
    for package in ("espnet2", "torch"):
        broken = tmp_path / package
        broken.mkdir()
        (broken / "__init__.py").write_text("raise RuntimeError('imported')\n")
    options = [
        *("--stage", "3", "--python", sys.executable, "--teachers", "t=train/dev"),
        *("--teacher_config", "conf/train_asr_teacher.yaml", "--teacher_samples", "3"),
        *("--student_config", "conf/train_asr_unc.yaml"),
        *("--lm_config", "conf/train_lm_tiny.yaml", "--inference_config", "conf/decode.yaml"),
    ]
    done = run(KD, *SETS, *options, cwd=recipe.root, path=[tmp_path])
    assert done.returncode == 0, done.stderr
    assert "RuntimeError" not in done.stderr
    for stage in range(3, 13):
        assert f"Stage {stage}: " in done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    for system, n in (("unc_seed0", 2), ("teacher_t", 1)):
        assert sum(f"| {system} " in row for row in rows) >= n
    scored = {r.system for r in score.score(tiny.EXP)}
    assert scored >= {"unc_seed0", "teacher_t"}  # tests of the same session decode others too


def test_an_error_of_a_stage_stops_the_run(tmp_path):
    config = tmp_path / "lm.yaml"
    config.write_text("lm: transformer\n")
    options = ["--stage", "3", "--stop_stage", "4", "--lm_config", str(config)]
    done = run(KD, *SETS, "--python", sys.executable, *options, cwd=tmp_path)
    assert done.returncode == 2
    assert "error: dump/fbank_pitch/train/text is missing" in done.stderr
    assert "Stage 4" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(
    shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") is None,
    reason="shellcheck is not installed",
)
def test_scripts_are_shellcheck_clean():
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    chained = sorted((ROOT / "egs2").glob("*/dicekd1/asr.sh"))
    command = [shutil.which("shellcheck", path=path), "-x", KD, DICE, BOTH, *chained, *RECIPES]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_texts_of_a_dump_with_a_space_in_its_name(tmp_path):
    data = tmp_path / "a b/fbank_pitch"
    for name in ("train", "dev", "test"):
        (data / name).mkdir(parents=True)
        (data / name / "text").write_text("u ONE\n")
    args = [*SETS, "--python", sys.executable, "--dumpdir", "a b", "--stage", "3"]
    done = run(KD, *args, "--stop_stage", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "31 tokens, made; 5 texts checked" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--probe_tasks", "char sid"],
            "data/train/utt2spk: missing, and probe sid tells",
        ),
        (["--probe_tasks", "kws"], "data/dev/text: missing; write one line"),
        (["--probe_tasks", "char"], "leave char and kws out: --probe_tasks sid, or --stop_stage 5"),
        (["--stop_stage", "1"], None),
    ],
)
def test_speech_without_transcripts_is_probed_only_where_that_can_be_done(
    tmp_path, options, message
):
    for name in ("train", "dev", "test"):
        data = make_corpus(tmp_path / "data" / name)
        for table in ("utt2spk", "text"):
            if name != "train" or table != "text" or message is None:
                (data / table).unlink()
    options = [*DICE_SETS, "--python", sys.executable, *options]
    done = run(DICE, *options, cwd=tmp_path)
    if message is None:
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "dump/raw/train/wav.scp").exists()
    else:
        assert done.returncode == 2 and message in done.stderr
        assert not (tmp_path / "dump").exists() and "Traceback" not in done.stderr
