"""What the recipes' scripts make of their options: the commands that they start, none is run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stages import stub_python

ROOT = Path(__file__).parents[2]
COMMON = ROOT / "egs2/TEMPLATE/common.sh"
KD = ROOT / "egs2/TEMPLATE/kd1/kd.sh"
DICE = ROOT / "egs2/TEMPLATE/dice1/dice.sh"
SETS = {
    KD: "--train_set train --valid_set dev --test_sets test --teachers a=train_a/dev_a",
    DICE: "--train_set train --valid_set dev --test_sets test",
}


def run(cwd, script, options=""):
    """The finished script."""
    python = stub_python.write(cwd)
    words = [*SETS[script].split(), *options.split("|")] if options else SETS[script].split()
    return subprocess.run(
        [str(script), "--python", str(python), *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )


def commands(cwd, script, options=""):
    """Module → word lists of its commands, in order; ``options`` are divided by ``|``."""
    done = run(cwd, script, options)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[list[str]]] = {}
    for module, words in stub_python.started(cwd):
        found.setdefault(module, []).append(words)
    found.pop("plan", None)
    found.pop("checks", None)
    return found


def after(words, option, n=1):
    """The values of an option."""
    at = words.index(option)
    return words[at + 1 : at + 1 + n]


def test_tokens_by_default(tmp_path):
    (made,) = commands(tmp_path, KD)["tokens"]
    assert after(made, "--out") == ["data/token_list/char31"]
    assert after(made, "--type") == ["char31"]
    trained = [f"dump/fbank_pitch/{name}/text" for name in ("train", "train_a")]
    assert made[made.index("--train") + 1 : made.index("--learn")] == trained
    heard = [f"dump/fbank_pitch/{name}/text" for name in ("dev", "dev_a", "test")]
    assert made[:5] == [*heard, trained[0], heard[0]]  # the language model's last


@pytest.mark.parametrize(
    ("options", "directory"),
    [
        ("--token_type|char", "char"),
        ("--token_type|bpe|--nbpe|60", "bpe_unigram60"),
        ("--token_type|bpe|--nbpe|60|--bpemode|bpe", "bpe_bpe60"),
    ],
)
def test_one_list_for_all(tmp_path, options, directory):
    found = commands(tmp_path, KD, f"{options}|--bpe_train_text|one two")
    where = f"data/token_list/{directory}"
    (made,) = found["tokens"]
    assert after(made, "--out") == [where] and made[-3:] == ["--learn", "one", "two"]
    readers = ("train", "teacher_outputs", "export", "uncertainty")
    lists = [words for name in readers for words in found[name]]
    assert len(lists) == 6 and {after(w, "--token_list")[0] for w in lists} == {where}


def test_speeds_and_durations(tmp_path):
    found = commands(
        tmp_path,
        KD,
        "--speed_perturb_factors|0.9 1.0|--max_wav_duration|20|--test_sets|test dev",
    )
    train, valid, test = found["features"]
    assert after(train, "--data_dir", 2) == ["data/train", "data/train_a"]
    names = [f"dump/fbank_pitch/{name}_sp_cut" for name in ("train", "train_a")]
    assert after(train, "--out_dir", 2) == names
    assert after(train, "--speed_perturb") == ["0.9 1.0"]
    assert after(valid, "--out_dir", 2) == [f"dump/fbank_pitch/{n}_cut" for n in ("dev", "dev_a")]
    for words in (train, valid):
        assert after(words, "--min_wav_duration") == ["0"]
        assert after(words, "--max_wav_duration") == ["20"]
    assert after(test, "--out_dir", 2) == ["dump/fbank_pitch/test", "dump/fbank_pitch/dev"]
    assert not {"--max_wav_duration", "--speed_perturb"} & {*test}
    assert "--speed_perturb" not in valid
    language, teacher, student = found["train"]
    assert after(teacher, "--job", 4)[2:] == ["train=train_a_sp_cut", "valid=dev_a_cut"]
    assert after(student, "--job", 4)[2:] == ["train=train_sp_cut", "valid=dev_cut"]
    (said,) = found["teacher_outputs"]
    assert after(said, "--sets", 2) == ["train_sp_cut", "dev_cut"]
    assert after(language, "--train") == ["data/train/text"]
    for words in found["decode"]:
        assert after(words, "--sets", 2) == ["dump/fbank_pitch/test", "dump/fbank_pitch/dev"]


def test_features_by_default(tmp_path):
    (one,) = commands(tmp_path, KD)["features"]
    names = ["train", "train_a", "dev", "dev_a", "test"]
    assert after(one, "--data_dir", 5) == [f"data/{name}" for name in names]
    assert after(one, "--out_dir", 5) == [f"dump/fbank_pitch/{name}" for name in names]
    assert not {"--min_wav_duration", "--speed_perturb"} & {*one}


def test_the_weight_of_the_lm_is_chosen_on_a_set_that_is_made_and_not_decoded(tmp_path):
    found = commands(tmp_path, KD, "--lm_weights|0 0.3|--dev_set|more")
    _, students = found["decode"]
    assert after(students, "--lm_weights", 2) == ["0", "0.3"]
    assert after(students, "--dev") == ["dump/fbank_pitch/more"]
    assert after(students, "--sets", 2) == ["dump/fbank_pitch/test", "--lm_modes"]
    (features,) = found["features"]
    assert "data/more" in features and features.index("data/more") < features.index("data/test")


def test_the_validation_set_chooses_by_default(tmp_path):
    options = "--lm_weights|0 0.3|--max_wav_duration|9"
    _, students = commands(tmp_path, KD, options)["decode"]
    assert after(students, "--dev") == ["dump/fbank_pitch/dev_cut"]
    assert after(students, "--lm_weights", 2) == ["0", "0.3"]


def test_tags(tmp_path):
    found = commands(
        tmp_path, KD, "--asr_tag|mine|--inference_tag|wide|--inference_args|--beam_size 9"
    )
    assert after(found["train"][2], "--job") == ["mine"]
    assert after(found["export"][0], "--systems") == ["exp/asr_mine"]
    for words in found["decode"]:
        assert {"--args=--beam_size 9", "--tag=wide"} < {*words}


DATA = {KD: {"data", "features", "tokens"}, DICE: {"data", "features"}}
TRAIN = {
    KD: {"train", "teacher_outputs", "curves"},
    DICE: {"kmeans", "labels", "train"},
}
EVAL = {
    KD: {"decode", "score", "uncertainty", "report"},
    DICE: {"probes", "dice_results", "report"},
}


@pytest.mark.parametrize("script", [KD, DICE], ids=["kd1", "dice1"])
def test_parts_that_are_skipped(tmp_path, script):
    parts = {"data_prep": DATA, "train": TRAIN, "eval": EVAL}
    every = {"export"}.union(*(part[script] for part in parts.values()))
    for n, skipped in enumerate(([], ["data_prep"], ["train"], ["eval"], list(parts))):
        directory = tmp_path / str(n)
        directory.mkdir()
        found = commands(directory, script, "|".join(f"--skip_{part}|true" for part in skipped))
        assert {*found} == every.difference(*(parts[part][script] for part in skipped)), skipped


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--token_type|phn", "--token_type must be char31, char or bpe"),
        ("--bpemode|word", "--bpemode must be unigram or bpe"),
        ("--nbpe|many", "--nbpe must be a whole number, not 'many'"),
        ("--max_wav_duration|20s", "--max_wav_duration must be a number of seconds, not '20s'"),
        ("--min_wav_duration|-1", "--min_wav_duration must be a number of seconds, not '-1'"),
        ("--asr_tag|x|--seeds|0 1", "--asr_tag names one student, not 2"),
        ("--asr_tag|x|--student_config|a.yaml b.yaml", "--asr_tag names one student, not 2"),
        ("--skip_train|yes", "--skip_train must be true or false"),
    ],
)
def test_options_that_are_wrong(tmp_path, options, message):
    done = run(tmp_path, KD, options)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {message}")
    assert not (tmp_path / "commands").exists()


def test_the_layer_that_abx_chooses(tmp_path):
    """Its number is read from the file that the stage writes; names of directories have none."""
    (tmp_path / "exp/abx/chosen_base").mkdir(parents=True)
    (tmp_path / "exp/abx/chosen_base/layer").write_text("7\n")
    made = commands(tmp_path, DICE, "--teacher|hub/base|--layer|auto|--alignment|a.item b.ctm")
    (chosen,), (quantized,), (labelled,) = made["abx"], made["kmeans"], made["labels"]
    assert after(chosen, "--choose") == ["exp/abx/chosen_base/layer"]
    assert after(chosen, "--alignment", 2) == after(labelled, "--alignment", 2)
    assert after(labelled, "--alignment", 2) == ["a.item", "b.ctm"]
    assert after(quantized, "--layer") == after(labelled, "--layer") == ["7"]
    assert after(labelled, "--out") == ["exp/labels/base_lauto_k500_seed0"]
    assert "needs phones' times" in run(tmp_path, DICE, "--layer|auto").stderr
    (tmp_path / "exp/abx/chosen_base/layer").unlink()
    options = "--teacher|hub/base|--layer|auto|--alignment|a.item|--stage|4|--stop_stage|4"
    assert "run stage 3, which chooses" in run(tmp_path, DICE, options).stderr


def test_abx_of_all_systems(tmp_path):
    options = "--teacher|hub/base|--alignment|a.item b.item|--abx_sets|test other"
    (scored,) = commands(tmp_path, DICE, options)["abx"]
    systems = [scored[i + 1] for i, word in enumerate(scored) if word == "--system"]
    assert systems[:2] == ["mfcc=mfcc", "base=hub/base"] and len(systems) > 2
    assert after(scored, "--sets", 3) == ["test", "other", "--alignment"]
    assert "needs phones' times" in run(tmp_path, DICE, "--abx_sets|test").stderr


def test_several_layers_and_clusters(tmp_path):
    options = "--teacher|hub/base|--layer|6 12|--clusters|100 500|--soft|false"
    made = commands(tmp_path, DICE, options)
    (quantized,), (labelled,) = made["kmeans"], made["labels"]
    tag = "base_l6-12_k100-500_seed0"
    assert after(quantized, "--layer", 3) == ["6", "12", "--clusters"]
    assert after(quantized, "--clusters", 3) == ["100", "500", "--dump"]
    assert after(quantized, "--out") == [f"exp/quantizer/{tag}"]
    assert after(labelled, "--layer", 3) == ["6", "12", "--quantizer"]
    assert after(labelled, "--soft") == ["false"]
    assert f"labels=exp/labels/{tag}" in made["train"][0]
    said = run(tmp_path, DICE, "--layer|6 b").stderr
    assert "--layer must be whole numbers, not 'b'" in said
    assert "several, not ' '" in run(tmp_path, DICE, "--clusters| ").stderr
    assert "is one codebook" in run(tmp_path, DICE, "--quantizer|x.npy|--layer|6 9").stderr


def test_pca_and_the_features_of_the_first_iteration(tmp_path):
    made = commands(tmp_path, DICE, "--pca|64|--features|mfcc_mel")
    first, second = made["kmeans"]
    assert after(first, "--source") == ["mfcc_mel"] and "--pca" not in first
    assert after(first, "--out") == ["exp/quantizer/mfcc_mel_k100_seed0"]
    assert after(second, "--pca") == ["64"]
    assert after(second, "--out")[0].endswith("_l9_pca64_k500_seed0")
    assert "mfcc, mfcc_cmvn or mfcc_mel, not 'mel'" in run(tmp_path, DICE, "--features|mel").stderr
    assert "has centroids already" in run(tmp_path, DICE, "--pca|9|--quantizer|x.npy").stderr


@pytest.mark.parametrize("script", [KD, DICE])
def test_a_channel_of_several(tmp_path, script):
    made = commands(tmp_path, script, "--channel|1")
    for stage in ("data", "features"):
        assert all(after(words, "--channel") == ["1"] for words in made[stage])
    (tmp_path / "other").mkdir()
    made = commands(tmp_path / "other", script)
    assert not any("--channel" in words for stage in made.values() for words in stage)


def test_a_python_that_ends_at_once_is_told(tmp_path, monkeypatch):
    """It passes as a Python with ESPnet, and cannot start what runs the stages."""
    dead = '#!/bin/sh\n[ "$1" != -c ] || exit 0\necho no module >&2\nexit 3\n'
    monkeypatch.setattr(stub_python, "SCRIPT", dead)
    done = run(tmp_path, KD)
    assert done.returncode == 2
    assert "no module" in done.stderr and "unbound" not in done.stderr
    assert "the process that runs the stages ended" in done.stderr
    monkeypatch.setattr(stub_python, "SCRIPT", dead.replace("exit 3", "kill -9 $$"))
    assert "was killed (out of memory?)" in run(tmp_path, KD).stderr


def in_common(lines, **env):
    """Standard output of lines of shell behind common.sh."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'source "{COMMON}"\n{lines}'],
        env={**os.environ, **env}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_list_may_stand_on_several_lines_and_names_keep_their_signs():
    lines = """
    help_message() { echo '    --teachers  T'; echo '    --local_data  D'; }
    parse_options --teachers $'a=x/y\\n  b=z/w' --local_data $'one\\ntwo'
    read -ra list <<< "${teachers}"; echo "${#list[@]} ${list[1]}"; echo "${local_data}"
    names=(tr dev); dump='/data/R&D/dump'; echo "${names[@]/#/${dump}/}"
    """
    wanted = ["2 b=z/w", "one", "two", "/data/R&D/dump/tr /data/R&D/dump/dev"]
    assert in_common(lines) == wanted


@pytest.mark.parametrize(
    ("given", "words"),
    [("my env/python", ["my env/python"]), ("python3 -m x", ["python3", "-m", "x"])],
)
def test_an_interpreter_in_a_directory_with_spaces(tmp_path, given, words):
    (tmp_path / "my env").mkdir()
    (tmp_path / "my env/python").symlink_to(sys.executable)
    place = f"{tmp_path}/" if " env" in given else ""
    lines = f'python="{place}{given}"; words_of_python; printf "%s\\n" "${{py[@]}}"'
    assert in_common(lines) == [place + words[0], *words[1:]]


def test_cd_goes_where_it_is_told():
    """With CDPATH, as people export it, it may go elsewhere, and says where it went."""
    places = ("*.sh", "local/*.sh", "egs2/*/*/*.sh", "egs2/TEMPLATE/**/*.sh")
    scripts = {path for place in places for path in ROOT.glob(place)}
    assert len(scripts) > 20
    for path in scripts:
        for line in path.read_text(encoding="utf-8").splitlines():
            if 'cd "$(dirname' in line or 'cd -P "$(dirname' in line:
                assert "CDPATH='' cd" in line, f"{path}: {line}"
    recipe = "egs2/mini_synth/kd1/run.sh"
    env = {**os.environ, "CDPATH": f".:{ROOT}"}
    done = subprocess.run([recipe, "--help"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and str(ROOT) not in done.stdout.splitlines()[0]
