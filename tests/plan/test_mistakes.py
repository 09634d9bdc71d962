"""Each mistake that is told before a recipe works, and that the same without it is not told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.plan import hubert, machine, speech, teaching
from espnet_dice.plan.recipe import Stage
from espnet_dice.records import experiment
from espnet_dice.records.tokens import TOKENS
from tests.corpus import make_corpus, write_tables
from tests.hubert import tiny_models
from tests.plan.asked import dice, kd

ROOT = Path(__file__).parents[2]
SETS = ["--train_set", "train", "--valid_set", "dev", "--test_sets", "test"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty recipe directory with three sets."""
    monkeypatch.chdir(tmp_path)
    for name, n in (("train", 30), ("dev", 4), ("test", 20)):
        make_corpus(tmp_path / "data" / name, n, 0.1)
    return tmp_path


def student(name, **model_conf):
    Path(name).write_text(yaml.safe_dump({"model_conf": model_conf}))
    return name


@pytest.mark.parametrize(
    ("teachers", "entries", "message"),
    [
        ("a=x/y", [{"name": "b", "weight": 1.0}], "no teacher 'b' (known: a): name it as"),
        ("", None, "kd_alpha or kd_ctc > 0, and there is no teacher: --teachers"),
        ("a=x/y b=x/y", [{"name": "a"}, {"name": "b", "weight": 0.5}], "a has no weight: give"),
        ("a=x/y b=x/y", [{"name": "a", "weight": 0.5}, {"name": "b", "weight": 0.6}], "must sum"),
        ("a=x/y", [{"name": "a", "weight": "all"}], "a has the weight 'all'"),
        ("a=x/y b=x/y", [{"name": "a", "weight": "dev"}, {"name": "b"}], "dev is for all of them"),
        ("a=x/y", [{"name": "a", "weight": "dev"}], None),
        ("a=x/y", [{"name": "a"}], None),
        ("a=x/y b=exp:z", None, None),
    ],
)  # fmt: skip
def test_teachers_of_students(here, teachers, entries, message):
    config = student("s.yaml", kd_alpha=0.5, **({"teachers": entries} if entries else {}))
    found = list(teaching.unknown_teachers(kd(student_config=config, teachers=teachers)))
    assert len(found) == (message is not None)
    assert not found or (found[0].startswith("s.yaml: ") and message in found[0])
    assert not list(
        teaching.unknown_teachers(kd(student_config=config, teachers=teachers, stop_stage="5"))
    )
    without = student("n.yaml", teachers=entries)
    assert not list(teaching.unknown_teachers(kd(student_config=without, teachers=teachers)))


def test_configs_that_cannot_be_read(here):
    Path("bad.yaml").write_text("base: gone.yaml\n")
    asked = {"student_config": "bad.yaml none.yaml", "lm_config": "lm.yaml", "use_lm": "true"}
    found = list(teaching.unreadable(kd(teachers="", inference_config="", **asked)))
    assert [line.split(":")[0] for line in found] == ["--lm_config"] + 2 * ["--student_config"]
    assert "gone.yaml" in found[1] and "none.yaml" in found[2]
    later = kd(teachers="", inference_config="", stage="8", **asked)
    assert not list(teaching.unreadable(later))


def test_letters_without_a_token(here):
    assert not list(speech.unwritable(kd()))
    write_tables(here / "data/dev", text=["u000 ONE", "u001 Zwölf 12", "u002 TWO", "u003 TWO"])
    (found,) = speech.unwritable(kd())
    assert found.startswith("data/dev/text: 1 lines, u001 for one, have letters that")
    assert "'1' '2' 'f' 'l' 'w' 'ö'" in found and "--token_type char" in found
    assert "give --data_dir data_as_is --text_rules letters" in found
    assert not list(speech.unwritable(kd(token_type="bpe")))
    Path("lm.txt").write_text("ONE\nTWO 2\n")
    lm = kd(use_lm="true", lm_train_text="lm.txt", token_type="char31", train_set="train")
    assert "lm.txt: 1 lines, line 2 for one, have" in list(speech.unwritable(lm))[1]
    taken = {"data_dir": str(here / "data"), "datadir": "elsewhere"}
    (found,) = speech.unwritable(kd(**taken))
    assert "; give --text_rules letters, or" in found
    assert not list(speech.unwritable(kd(**taken, text_rules="letters")))


def test_recordings_that_are_not_there(here):
    taken = {"data_dir": str(here / "data"), "datadir": "elsewhere"}
    assert not list(speech.unheard(kd(**taken)))
    lines = (here / "data/test/wav.scp").read_text().splitlines()
    lines[3] = f"{lines[3].split()[0]} /nowhere/a.wav"
    lines[-1] = f"{lines[-1].split()[0]} cat /nowhere/b.wav |"
    write_tables(here / "data/test", **{"wav.scp": lines})
    (found,) = speech.unheard(kd(**taken))
    assert found.startswith(f"{here}/data/test/wav.scp: 1 of {len(lines) - 1} recordings")
    assert "no such file: /nowhere/a.wav; paths in wav.scp are" in found
    assert not list(speech.unheard(kd(**taken, stage="2")))
    assert not list(speech.unheard(kd()))  # of what local/data.sh has made or is to make


def test_probes_that_the_sets_feed(here):
    assert not list(speech.unprobed(dice(probe_tasks="char sid")))
    assert not list(speech.unprobed(dice(stop_stage="5")))


@pytest.mark.parametrize(
    ("task", "table", "lines", "message"),
    [
        ("kws", None, None, "probe kws: no word of 4 letters is in 10 or more"),
        ("sid", "utt2spk", [f"u{i:03} s{i // 3}" for i in range(30)], "two speakers with 5 ut"),
        ("sid", "utt2spk", None, "data/train/utt2spk: missing, and probe sid tells speakers apart"),
        ("char", "text", None, "data/train/text: missing; write one line 'utterance transcript'"),
        ("char", "text", [f"u{i:03} {'' if i == 7 else 'ONE'}" for i in range(30)], "u007: has no"),
    ],
)  # fmt: skip
def test_probes_that_the_sets_cannot_feed(here, task, table, lines, message):
    if table:
        (here / "data/train" / table).unlink()
    if lines:
        write_tables(here / "data/train", **{table: lines})
    (found,) = speech.unprobed(dice(probe_tasks=task))
    assert message in found and "--probe_tasks" in found


def test_hours_without_a_recording_that_soundfile_does_not_open(here):
    known = speech.hours(here / "data/test")
    (here / "data/test/a.raw").write_bytes(b"RIFF")
    with (here / "data/test/wav.scp").open("a") as f:
        f.write("zz a.raw\n")
    assert speech.hours(here / "data/test") == pytest.approx(known * 21 / 20, rel=0.1)


def test_hours_by_recordings_and_by_segments(here):
    lengths = sum(0.1 + 0.01 * i for i in range(20)) / 3600
    assert speech.hours(here / "data/test") == pytest.approx(lengths, rel=1e-6)
    write_tables(here / "data/test", segments=["a u000 0 1.5", "b u000 2 4.5"])
    assert speech.hours(here / "data/test") == pytest.approx(4 / 3600)


def test_a_teacher_by_the_heads_of_its_files(here):
    tiny_models.save(here / "exp/given", do_normalize=False)
    assert not list(hubert.unusable(dice(layer="3")))
    assert not list(hubert.unusable(dice(layer="auto")))
    (found,) = hubert.unusable(dice(layer="4"))
    assert found.startswith("--layer 4: exp/given has no such layer: its layers are 0 to 3")
    config = here / "exp/given/preprocessor_config.json"
    config.write_text('{"sampling_rate": 8000}')
    (found,) = hubert.unusable(dice(layer="3"))
    assert "the model takes 8000 Hz; labels are made at 16000 Hz" in found
    config.unlink()
    weights = here / "exp/given/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (found,) = hubert.unusable(dice(layer="3"))
    assert "model.safetensors: damaged, or no file of parameters" in found
    (found,) = hubert.unusable(dice(teacher="exp/nothing"))
    assert "exp/nothing: no such directory" in found


def test_layers_of_a_teacher_that_is_trained_here(here):
    Path("t.yaml").write_text("student: hubert\nstudent_conf: {num_hidden_layers: 4}\n")
    own = {"teacher": "", "teacher_config": "t.yaml"}
    assert not list(hubert.unusable(dice(layer="4", **own)))
    (found,) = hubert.unusable(dice(layer="5", **own))
    assert found.startswith("--layer 5: t.yaml has no such layer: its layers are 0 to 4")
    (found,) = hubert.unusable(dice(layer="4", **own, iterations="2", it1_layer="6"))
    assert found.startswith("--it1_layer 6: ")


def taken_teacher(there, rate=16000, feats_type="fbank", token_list=TOKENS):
    """A teacher that another recipe trained."""
    dump, exp = there / f"dump/{feats_type}/train", there / "exp/asr_x"
    settings = {"rate": rate, "feats_type": feats_type, "algorithm": 1}
    Fingerprint("features", settings, {}).finish(dump)
    exp.mkdir(parents=True)
    (exp / "m.pth").write_bytes(b"x")
    read = [[f"{dump.relative_to(there)}/feats.scp", "speech", "kaldi_ark"]]
    config = {"train_data_path_and_name_and_type": read, "token_list": list(token_list)}
    (exp / "config.yaml").write_text(yaml.safe_dump(config))
    experiment.write(exp, task="asr", model="m.pth", parameters=1, seed=0, max_epoch=1)
    Fingerprint("train_asr", {}, {}).finish(exp)
    return f"a=exp:{exp}"


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({}, None),
        ({"rate": 8000}, "hears 8000 Hz, and --fs is 16000: give --fs 8000"),
        ({"feats_type": "raw"}, "was trained on raw, here are fbank: give --feats_type raw"),
        ({"token_list": ("<blank>", "A")}, "has another token list (2 entries) than char31"),
    ],
)
def test_a_teacher_of_another_recipe(here, theirs, message):
    found = list(teaching.unfit_teachers(kd(teachers=taken_teacher(here / "other", **theirs))))
    assert len(found) == (message is not None) and (not found or message in found[0])


def test_a_teacher_of_another_recipe_that_is_not_there(here):
    (found,) = teaching.unfit_teachers(kd(teachers="a=exp:../exp/asr_none"))
    assert found.startswith("--teachers a: ../exp/asr_none is missing")


def test_a_disk_that_will_not_suffice(here, monkeypatch):
    features = Stage(2, "features", (Path("dump/fbank_pitch/train"),))
    hours = speech.hours(here / "data/train")
    needed = 119.45e6 * hours
    for free, told in ((0.9 * needed, True), (1.1 * needed, False)):
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _, n=free: _Usage(n))
        found = list(machine.too_small(kd(features, feats_type="fbank_pitch")))
        assert bool(found) == told
    Fingerprint("features", {}, {}).finish("dump/fbank_pitch/train")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: _Usage(0))
    assert not list(machine.too_small(kd(features)))


class _Usage:
    def __init__(self, free):
        self.free = free


def test_gpus_that_are_not_there(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert not list(machine.no_gpus(kd(ngpu="1")))
    (found,) = machine.no_gpus(kd(ngpu="4"))
    assert found.startswith("--ngpu 4: there are 1: give --ngpu 1, or name the hosts that have")
    assert not list(machine.no_gpus(kd(ngpu="4", launch="srun")))
    assert not list(machine.no_gpus(kd(ngpu="4", cuda_cmd="slurm.pl")))


def test_all_is_told_at_once_and_soon(here):
    config = student("s.yaml", kd_alpha=0.5, teachers=[{"name": "b", "weight": 1.0}])
    student("t.yaml")
    write_tables(here / "data/dev", text=[f"u{i:03} one" for i in range(4)])
    options = ["--teachers", "a=train/dev", "--student_config", config, "--use_lm", "false"]
    options += ["--teacher_config", "t.yaml", "--inference_config", "none.yaml"]
    script = ROOT / "egs2/TEMPLATE/kd1/kd.sh"
    done = subprocess.run(
        [script, *SETS, *options, "--python", sys.executable],
        env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr and "Stage 1" not in done.stderr
    assert "error: kd1: cannot end well, nothing was started: 3 problems" in done.stderr
    for said in ("none.yaml", "no teacher 'b'", "letters that the token list char31 lacks"):
        assert said in done.stderr
    assert not (here / "dump").exists() and not (here / "exp").exists()
