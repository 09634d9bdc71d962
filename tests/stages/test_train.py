import gc
import json
import logging
import os
import re
import shutil
import signal
import time

import kaldiio
import numpy as np
import pytest
import torch
import yaml

from espnet_dice import guards
from espnet_dice.io import fingerprint
from espnet_dice.io.errors import ConfigError, DiceError, StaleError
from espnet_dice.kd.distillation_options import DistillationOptions
from espnet_dice.records import configs, experiment, feature_dir, tokens
from espnet_dice.training import asr, trainer
from espnet_dice.training.jobs import Plan, run_jobs
from espnet_dice.training.monitor import Watched
from tests.stages import tiny


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def test_average_is_the_mean_of_the_best_epochs(recipe):
    e = experiment.load(recipe.plain)
    assert e.model == "valid.acc.ave_2best.pth" and len(e.averaged) == 2
    assert e.averaged[0][1] >= e.averaged[1][1]
    states = [load(e.directory / f"{epoch}epoch.pth") for epoch, _ in e.averaged]
    for key, value in load(e.model_file).items():
        mean = sum(s[key].double() for s in states) / len(states)
        assert torch.allclose(value.double(), mean, atol=1e-6), key


def test_parameters_are_counted(recipe):
    e = experiment.load(recipe.student)
    state = load(e.model_file)
    buffers = {"normalize.mean", "normalize.std"}
    assert e.parameters == sum(v.numel() for k, v in state.items() if k not in buffers)
    plain = experiment.load(recipe.plain).parameters
    assert e.parameters - plain == 16 * 31 + 31  # the variance head


def test_what_is_whole_is_skipped(recipe):
    config = tiny.asr_config("uncertainty_kd", kd_alpha=0.5, kd_beta=0.5)
    teacher = tiny.asr_job("teacher_t", tiny.asr_config("uncertainty_kd"))
    student = tiny.asr_job("unc_seed0", config, teacher=f"t={teacher.out}")
    before = {p: p.stat().st_mtime_ns for p in student.out.rglob("*")}
    assert run_jobs([teacher, tiny.asr_job("plain_seed0", tiny.asr_config()), student]) == 0
    assert {p: p.stat().st_mtime_ns for p in student.out.rglob("*")} == before


@pytest.mark.parametrize(
    "change",
    [{"optim_conf": {"lr": 0.1}}, {"keep_nbest_models": 1}, {"max_epoch": 1}],
)
def test_a_changed_config_begins_anew(recipe, change):
    plan = Plan(tiny.asr_job("plain_seed0", {**tiny.asr_config(), **change}))
    assert not plan.done and not plan.goes_on
    tiny.asr_job("plain_seed0", tiny.asr_config())  # put the config file back


def test_what_does_not_change_the_model_changes_nothing(recipe):
    changed = {**tiny.asr_config(), "log_interval": 1, "num_workers": 1}
    assert Plan(tiny.asr_job("plain_seed0", changed)).done
    assert not Plan(tiny.asr_job("plain_seed0", tiny.asr_config(), seed=5)).done
    extra = "--model_conf lsm_weight=0.2"
    assert not Plan(tiny.asr_job("plain_seed0", tiny.asr_config(), extra=extra)).done


def test_more_epochs_go_on_in_the_same_directory(fresh, caplog):
    caplog.set_level(logging.INFO)
    run_jobs([tiny.asr_job("more_x", tiny.asr_config(epochs=1))])
    first = load("exp/asr_more_x/1epoch.pth")
    (fresh / "exp/asr_more_x/decode_x").mkdir()  # belongs to the old model, found by its digest
    assert run_jobs([tiny.asr_job("more_x", tiny.asr_config(epochs=2))]) == 1
    e = experiment.load("exp/asr_more_x")
    assert e.max_epoch == 2 and sorted(n for n, _ in e.averaged) == [1, 2]
    again = load("exp/asr_more_x/1epoch.pth")
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert "goes on from its checkpoint" in caplog.text
    # fewer epochs are another model
    assert not Plan(tiny.asr_job("more_x", tiny.asr_config(epochs=1))).goes_on


def test_a_killed_training_goes_on(fresh):
    config = {**tiny.asr_config(epochs=3), "batch_bins": 8000}
    killed = os.fork()
    if killed == 0:
        os.close(2)
        run_jobs([tiny.asr_job("killed_x", config)])
        os._exit(0)
    out = fresh / "exp/asr_killed_x"
    deadline = time.monotonic() + 240
    while not (out / "1epoch.pth").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    with pytest.raises(StaleError, match="never finished"):
        experiment.load(out)
    time.sleep(0.3)  # the child is told of its parent's death by the kernel
    log = (out / "train.log").read_text()
    assert run_jobs([tiny.asr_job("killed_x", config)]) == 1
    after = (out / "train.log").read_text()[len(log) :]
    begun = [int(n) for n in re.findall(r"\b(\d+)/3epoch started", after)]
    assert begun and begun[0] > 1, begun
    experiment.load(out)

    whole = tiny.asr_job("whole_x", config)
    run_jobs([whole])
    a, b = load(out / "3epoch.pth"), load(whole.out / "3epoch.pth")
    assert all(torch.allclose(a[k], b[k], atol=1e-5) for k in a)


def copy_checkpoint(recipe, directory):
    directory.mkdir()
    data = (recipe.plain / trainer.CHECKPOINT).read_bytes()
    (directory / trainer.CHECKPOINT).write_bytes(data)
    return directory


def test_a_lost_epoch_file_is_written_again(recipe, tmp_path):
    out = copy_checkpoint(recipe, tmp_path / "out")
    (out / "2epoch.pth").write_bytes(b"PK half a file")
    (out / ".1epoch.pth.abc.tmp").write_bytes(b"left over")
    trainer.repair(out)
    wanted, found = load(recipe.plain / "2epoch.pth"), load(out / "2epoch.pth")
    assert all(torch.equal(wanted[k], found[k]) for k in wanted)
    assert not list(out.glob(".*.tmp"))


def test_half_a_checkpoint_is_not_used(recipe, tmp_path):
    out = copy_checkpoint(recipe, tmp_path / "out")
    whole = (out / trainer.CHECKPOINT).read_bytes()
    (out / trainer.CHECKPOINT).write_bytes(whole[: len(whole) // 2])
    trainer.repair(out)
    assert not (out / trainer.CHECKPOINT).exists()


def test_torch_save_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "save", torch.save)
    guards.save_whole_files()
    torch.save({"a": 1}, tmp_path / "x.pth")
    with pytest.raises(Exception, match="pickle"):
        torch.save({"a": torch.zeros(10), "b": lambda: None}, tmp_path / "x.pth")
    assert torch.load(tmp_path / "x.pth", weights_only=True) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.pth"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encodr": "transformer"}, r"unknown key 'encodr'; did you mean 'encoder'\?"),
        ({"encoder": "transformr"}, r"encoder: no such class 'transformr'; did you mean 'trans"),
        ({"encoder_conf": {"num_block": 1}}, r"encoder_conf: .*no key 'num_block'; did you mean"),
        ({"model_conf": {"kd_alhpa": 1}}, r"model_conf: UncertaintyKDModel has no key 'kd_alhpa'"),
        ({"decoder_conf": {"varience": "relu"}}, r"decoder_conf: .*; did you mean 'variance'\?"),
        ({"max_epoch": "many"}, r"max_epoch must be a whole number, not 'many'"),
        ({"max_epoch": 0}, r"max_epoch must be at least 1"),
        ({"keep_nbest_models": [5, 10]}, r"keep_nbest_models: exactly one number"),
        ({"model_conf": ["ctc_weight"]}, r"model_conf: must hold"),
    ],
)
def test_a_bad_config_is_named_before_anything_starts(fresh, change, message):
    config = {**tiny.asr_config("uncertainty_kd"), **change}
    with pytest.raises(ConfigError, match=message):
        run_jobs([tiny.asr_job("bad_x", config)])
    assert not (fresh / "exp").exists()


def test_accepted_keys_follow_the_bases(recipe):
    trainer.task_class("asr")
    from espnet_dice.kd.decoder import UncertaintyTransformerDecoder

    keys = configs.accepted_keys(UncertaintyTransformerDecoder)
    assert {"variance", "train_samples", "num_blocks", "linear_units"} <= set(keys)


def test_a_failing_training_shows_the_end_of_its_log(fresh):
    config = {**tiny.asr_config(), "optim_conf": {"lr": -1.0}}
    with pytest.raises(DiceError, match=r"(?s)asr_bad_x failed.*train\.log.*Invalid learning rate"):
        run_jobs([tiny.asr_job("bad_x", config)])


def test_a_directory_of_somebody_else_is_left_alone(fresh):
    job = tiny.asr_job("mine_x", tiny.asr_config())
    job.out.mkdir(parents=True)
    (job.out / "precious").write_text("data")
    with pytest.raises(StaleError, match="not made by this recipe"):
        run_jobs([job])
    assert (job.out / "precious").read_text() == "data"


def test_a_student_follows_its_teacher_and_its_cache(recipe, tmp_path):
    config = tiny.asr_config("uncertainty_kd", kd_alpha=0.5)
    with pytest.raises(ConfigError, match=r"no teacher 'b' \(known: t\)"):
        entry = {"name": "b", "weight": 1.0}
        named = {**config, "model_conf": {**config["model_conf"], "teachers": [entry]}}
        tiny.asr_job("other_x", named, teacher="t=exp/asr_teacher_t")
    with pytest.raises(StaleError, match="made from other teacher"):
        tiny.asr_job("other_x", config, teacher=f"t={recipe.plain}")
    job = tiny.asr_job("other_x", config, teacher="t=exp/asr_teacher_t")
    assert set(job.inputs) == {"train", "valid", "tokens", "teacher1_train", "teacher1_valid"}
    assert any(o.endswith("teacher.scp,teacher1,kaldi_ark") for o in job.data)


def test_a_student_by_schedule_goes_on_where_it_was(recipe, tmp_path, monkeypatch):
    """Steps of the optimizer are counted, and a break changes nothing."""
    for name in ("data", "dump", "exp/asr_teacher_t", "exp/teacher_outputs"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(recipe.root / name)
    monkeypatch.chdir(tmp_path)
    falls, rises = {"start": 0.8, "end": 0.2, "to": 2}, {"start": 0, "end": 0.5, "to": 0.5}

    # accum_grad of 3 batches: ESPnet carries what is left of an epoch, and a break loses it
    def made(tag, epochs):
        conf = tiny.asr_config("uncertainty_kd", epochs, kd_alpha=falls, kd_beta=rises, updates=6)
        job = tiny.asr_job(tag, {**conf, "accum_grad": 3}, teacher="t=exp/asr_teacher_t")
        assert run_jobs([job]) == 1
        return torch.load(f"exp/asr_{tag}/checkpoint.pth", weights_only=False)

    straight, first, again = made("straight_x", 3), made("parts_x", 1), made("parts_x", 3)
    steps = {float(s["step"]) for s in straight["optimizers"][0]["state"].values()}
    assert steps == {float(straight["model"]["updates"])}
    assert 0 < first["model"]["updates"] < straight["model"]["updates"]
    for name, value in straight["model"].items():
        assert torch.equal(value, again["model"][name]), name
    assert "kd_alpha=" in (tmp_path / "exp/asr_straight_x/train.log").read_text()


def test_teachers_are_weighed_by_their_errors_on_dev(recipe, tmp_path):
    outputs = tmp_path / "outputs"
    for name in ("t", "u"):
        shutil.copytree(tiny.EXP / "teacher_outputs/t", outputs / name)
    facts = outputs / "u/dev/facts.json"
    right = json.loads(facts.read_text())["right"]
    said = [
        np.exp(row[int(row[-1])])
        for matrix in kaldiio.load_scp(str(tiny.EXP / "teacher_outputs/t/dev/teacher.scp")).values()
        for row in matrix.astype(float)
    ]
    assert right == pytest.approx(np.mean(said), rel=1e-6)
    facts.write_text(json.dumps({"right": (1 + right) / 2}))  # half as many errors
    both = ["t=exp/asr_teacher_t", "u=exp/asr_teacher_t"]
    sets = [feature_dir.load(tiny.DUMP / name) for name in ("train", "dev")]
    conf = {"kd_alpha": 0.5, "teachers": [{"name": n, "weight": "dev"} for n in "tu"]}
    key = tokens.key_of(tiny.TOKENS)
    _, _, chosen = DistillationOptions.parse(both, "cached", outputs).options(conf, *sets, key)
    assert [t["weight"] for t in chosen["teachers"]] == pytest.approx([1 / 3, 2 / 3], abs=1e-6)
    with pytest.raises(ConfigError, match="dev"):
        DistillationOptions.parse(both, "online", outputs).options(conf, *sets, key)
    facts.unlink()
    with pytest.raises(StaleError, match="does not say how sure"):
        DistillationOptions.parse(both, "cached", outputs).options(conf, *sets, key)


def test_online_teachers_come_with_their_experiment(recipe):
    config = tiny.asr_config("uncertainty_kd", kd_alpha=0.5)
    path = tiny.write_config("conf/train_asr_online.yaml", config)
    teaching = DistillationOptions.parse(["t=exp/asr_teacher_t"], "online", tiny.EXP)
    sets = [feature_dir.load(tiny.DUMP / name) for name in ("train", "dev")]
    job = asr.make_job("online", path, *sets, tiny.TOKENS, "key", tiny.EXP, 0, "", teaching)
    found = [o.partition("=")[2] for o in job.data if o.startswith("teachers=")]
    assert yaml.safe_load(found[0])[0]["exp"] == "exp/asr_teacher_t"
    assert job.inputs["teacher1"] == experiment.load("exp/asr_teacher_t").sha256


def test_a_changed_parameter_file_is_refused(recipe, tmp_path):
    copy = tmp_path / "asr_copy"
    copy.mkdir()
    for name in (fingerprint.NAME, experiment.NAME):
        (copy / name).write_bytes((recipe.plain / name).read_bytes())
    with pytest.raises(StaleError, match="is missing"):
        experiment.load(copy)
    (copy / "valid.acc.ave_2best.pth").write_bytes(b"something else")
    with pytest.raises(StaleError, match="not the file that was trained"):
        experiment.load(copy)


def test_progress_is_read_from_the_log(recipe, tmp_path):
    log = tmp_path / "train.log"
    watched = Watched("x", log, 2, "acc")
    whole = (recipe.plain / "train.log").read_text()
    middle = whole.index("1epoch results")
    log.write_text(whole[: whole.rindex("\n", 0, middle) + 1])
    watched.read(10.0)
    assert (watched.epoch, watched.score) == (0, None) and watched.seconds_left(10.0) is None
    log.write_text(whole)
    watched.read(14.0)
    e = experiment.load(recipe.plain)
    assert watched.epoch == 2 and watched.seconds_per_epoch == 2.0
    assert watched.score == pytest.approx(dict(e.averaged)[2], abs=1e-3)
    assert "epoch 2/2, valid acc 0." in watched.line(14.0)


@pytest.mark.parametrize(
    ("falls_to", "told"), [(None, ""), (34, ""), (16, "again after it"), (90, "34: give")]
)
def test_a_rate_that_falls_to_nothing_before_or_behind_the_end_is_told(
    tmp_path, caplog, falls_to, told
):
    log = tmp_path / "train.log"
    watched = Watched("x", log, 2, "acc", falls_to)
    line = "{}epoch results: [train] time=1 second, total_count={}, [valid] time=1 second\n"
    log.write_text("1/2epoch started\n" + line.format(1, 17) + line.format(2, 34))
    watched.read(1.0)
    assert [told in r.message for r in caplog.records] == ([True] if told else [])


def test_only_the_import_itself_is_kept_from_the_garbage_collector():
    """A process that loads one model after another gives each back."""
    trainer.task_class("asr")
    kept = gc.get_freeze_count()
    trainer.task_class("dice")
    trainer.inference_class()
    assert gc.get_freeze_count() <= kept and gc.isenabled()
