from pathlib import Path

import pytest
import yaml

from espnet_dice.io.errors import ConfigError
from espnet_dice.records import configs
from espnet_dice.training import jobs, trainer
from espnet_dice.training.jobs import CONFIG, Job, Plan, run_jobs
from tests.stages import tiny

CONF = Path(__file__).parents[2] / "conf"
CONFIGS = sorted([*CONF.glob("train_asr_*.yaml"), *CONF.glob("train_lm_*.yaml")])

FLAT = """\
encoder: transformer
encoder_conf: {num_blocks: 3, output_size: 48}
model_conf:
    kd_alpha: 0.7
    teachers: [{name: b, weight: 1.0}]
max_epoch: 3
log_interval: 7
optim_conf: {lr: 0.004}
"""
LOW = """\
model_conf:
    teachers: [{name: a, weight: 0.5}, {name: b, weight: 0.5}]
optim_conf: {lr: 0.004}
max_epoch: 9
encoder: transformer
encoder_conf: {output_size: 48, num_blocks: 9}
"""
TOP = """\
base: low.yaml
max_epoch: 3
encoder_conf: {num_blocks: 3}
model_conf:
    teachers: [{name: b, weight: 1.0}]
    kd_alpha: 0.7
"""


def key_of(config, directory):
    inputs = {"train": "a", "valid": "b"}
    criterion = ("valid", "acc", "max")
    out, names = directory / "exp/asr_x", {"dim": 83}
    job = Job("asr", out, config, [], inputs, criterion, 5, 1, "--grad_clip 3", names=names)
    return Plan(job).fingerprint.key


def test_flat_and_inherited_forms_have_one_key(tmp_path):
    for name, text in (("flat.yaml", FLAT), ("low.yaml", LOW), ("top.yaml", TOP)):
        (tmp_path / name).write_text(text)
    # computed at commit c4973d7, before configs had bases: what was trained then stays valid
    before = "c8cacf126c2642df4d1a2729c35152ea3f72ce5b4ae2e312015e9ded24c426ae"
    assert key_of(tmp_path / "flat.yaml", tmp_path) == before
    assert key_of(tmp_path / "top.yaml", tmp_path) == before
    (tmp_path / "low.yaml").write_text(LOW.replace("0.004", "0.003"))
    assert key_of(tmp_path / "top.yaml", tmp_path) != before


def inherited(config, name="top"):
    """The same config in two files; returns the mapping to write to the upper one."""
    lower = {**config, "max_epoch": 99, "encoder_conf": {**config["encoder_conf"], "num_blocks": 9}}
    tiny.write_config("conf/low.yaml", lower)
    conf = {"num_blocks": config["encoder_conf"]["num_blocks"]}
    return {"base": "low.yaml", "max_epoch": config["max_epoch"], "encoder_conf": conf}


def test_a_trained_directory_stays_valid(recipe):
    config = tiny.asr_config()
    plan = Plan(tiny.asr_job("plain_seed0", inherited(config)))
    tiny.asr_job("plain_seed0", config)  # put the config file back
    Path("conf/low.yaml").unlink()
    assert plan.done


def test_espnet_is_given_one_flat_file(fresh):
    wanted = tiny.asr_config(epochs=1)
    job = tiny.asr_job("top_x", inherited(wanted))
    plan = Plan(job)
    tiny.write_config("conf/low.yaml", {"encoder": "edited meanwhile"})
    plan.command(job.out)
    assert yaml.safe_load((job.out / CONFIG).read_text()) == wanted
    (job.out / CONFIG).unlink()
    job.out.rmdir()

    job = tiny.asr_job("top_x", inherited(wanted))
    assert run_jobs([job]) == 1
    assert yaml.safe_load((job.out / CONFIG).read_text()) == wanted
    used = yaml.safe_load((job.out / "config.yaml").read_text())
    assert "base" not in used and used["config"] == str(job.out / CONFIG)
    for conf in ("encoder_conf", "decoder_conf", "optim_conf"):
        assert wanted[conf].items() <= used[conf].items()
    assert run_jobs([tiny.asr_job("top_x", wanted)]) == 0


@pytest.mark.parametrize(
    ("given", "cores", "nj", "used"), [(3, 8, 2, 3), (0, 8, 2, 4), (0, 8, 16, 4), (0, 1, 2, 1)]
)
def test_threads_are_those_asked_for_or_the_cores_shared_out(
    fresh, monkeypatch, given, cores, nj, used
):
    monkeypatch.setattr(jobs, "cores", lambda: cores)
    monkeypatch.setattr(
        jobs, "_run", lambda plan, threads, *_: (plan.job.out / "threads").write_text(str(threads))
    )
    two = [tiny.asr_job(f"threads_{i}", tiny.asr_config()) for i in range(2)]
    assert run_jobs(two, nj=nj, threads=given) == 2
    assert [(job.out / "threads").read_text() for job in two] == [str(used)] * 2


@pytest.mark.parametrize(
    ("low", "top", "message"),
    [
        ({"encodr": "x"}, {}, r"^conf/train_asr_bad\.yaml \(base conf/low\.yaml\): unknown key"),
        ({}, {"encodr": "x"}, r"^conf/train_asr_bad\.yaml: unknown key 'encodr'"),
        ({"encoder": "y"}, {}, r"\(base conf/low\.yaml\): encoder: no such class 'y'"),
        ({"encoder": "y"}, {"encoder": "x"}, r"bad\.yaml: encoder: no such class 'x'"),
        ({"encoder_conf": {"num_block": 1}}, {}, r"low\.yaml\): encoder_conf: .*key 'num_block'"),
        ({"decoder_conf": [1]}, {}, r"\(base conf/low\.yaml\): decoder_conf: must hold"),
        ({"batch_bins": "x"}, {}, r"\(base conf/low\.yaml\): argument --batch_bins: invalid int"),
    ],
)  # fmt: skip
def test_a_bad_key_is_looked_up_in_the_bases(fresh, low, top, message):
    tiny.write_config("conf/low.yaml", {**tiny.asr_config(), **low})
    with pytest.raises(ConfigError, match=message):
        run_jobs([tiny.asr_job("bad_x", {"base": "low.yaml", **top})])
    assert not (fresh / "exp").exists()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_espnet_takes_our_configs(tmp_path, path):
    task = path.stem.split("_")[1]
    config = configs.read_config(path)
    job = Job(task, tmp_path, path, [], {}, ("valid", "acc", "max"), 5, 0)
    args = vars(configs.parse(trainer.task_class(task), path, Plan(job).command(tmp_path)))
    for key in config.keys() - {"best_model_criterion", "keep_nbest_models"}:
        assert args[key] == config[key], key


def test_a_config_that_options_cannot_change_is_named(tmp_path):
    config = tmp_path / "bad.yaml"
    config.write_text("scheduler_conf: [1]\n")
    extra = "--scheduler_conf warmup_steps=3"
    job = Job("lm", tmp_path / "out", config, [], {}, ("valid", "loss", "min"), 1, 0, extra)
    with pytest.raises(ConfigError, match=r"bad\.yaml: scheduler_conf: must hold"):
        Plan(job)
