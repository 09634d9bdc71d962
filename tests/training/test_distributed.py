"""Two CPU processes (gloo) train what one does, and what one of them left half done goes on."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from espnet_dice.io.atomic import only_writer
from espnet_dice.io.errors import ConfigError, DataError, DiceError, StaleError
from espnet_dice.records import experiment
from espnet_dice.stages import train
from espnet_dice.training import process as one_process
from espnet_dice.training import trainer
from espnet_dice.training.jobs import Plan, run_jobs
from espnet_dice.training.monitor import Watched
from espnet_dice.work import launch
from tests.stages import tiny
from tests.stages import tiny_dice as dice

ROOT = Path(__file__).parents[2]
EPOCHS = 3
HANGS_S = 120


def dice_config(epochs=EPOCHS):
    conf = dice.config(epochs=epochs, batch_bins=60000, optim="sgd", optim_conf={"lr": 0.1})
    # whole utterances: a batch is cut to its shortest, and half a batch has another shortest
    conf["collate_fn_conf"] = {"pad": True}
    # normalised by itself: "group" norms an utterance over its length, padding included
    conf["student_conf"] |= {"feat_extract_norm": "layer", "conv_bias": True}
    return {**conf, "min_batch_size": 2, "keep_nbest_models": EPOCHS}


def kd_config(epochs=EPOCHS):
    """Token KD and uncertainty matching, by schedules, without dropout and noise."""
    still = {"dropout_rate": 0.0, "positional_dropout_rate": 0.0, "attention_dropout_rate": 0.0}
    falls, rises = {"start": 0.8, "end": 0.2, "to": 5}, {"start": 0, "end": 0.5, "to": 5}
    conf = tiny.asr_config("uncertainty_kd", epochs, kd_alpha=falls, kd_beta=rises)
    # ESPnet's conv2d gives an utterance a frame more where a longer one stands beside it
    conf["encoder_conf"] |= {**still, "input_layer": "linear"}
    still = {"self_attention_dropout_rate": 0.0, "src_attention_dropout_rate": 0.0}
    still |= {"dropout_rate": 0.0, "positional_dropout_rate": 0.0, "train_samples": 0}
    conf["decoder_conf"] |= still
    return {**conf, "optim": "sgd", "optim_conf": {"lr": 0.05}, "min_batch_size": 2}


def kd_job(tag, conf):
    return tiny.asr_job(tag, conf, teacher="t=exp/asr_teacher_t")


def torchrun(rank, port):
    env = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    return {**env, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def srun(rank, port):
    return {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NTASKS": "2"}


def fork_ranks(job, launcher=torchrun, before=lambda rank: None):
    """Run a launcher's processes, forked where ESPnet is imported; their exit codes."""
    plan = Plan(job)
    if not plan.goes_on:
        job.out.mkdir(parents=True)
        plan.fingerprint.begin(job.out)
    job.prepare()
    command = launch.command(job.task, plan.command(job.out), job.out, 0, ["srun"])
    command = command[command.index("espnet_dice.training.process") + 1 :]
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    children = []
    for rank in range(2):
        pid = os.fork()
        if pid == 0:
            try:
                sys.stderr = open(job.out / f"rank{rank}.log", "a", buffering=1)
                logging.root.handlers = []
                torch.set_num_threads(1)
                os.environ |= launcher(rank, port)
                before(rank)
                one_process.main(command)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    return [ended(pid) for pid in children]


def ended(pid):
    limit = time.monotonic() + HANGS_S
    while time.monotonic() < limit:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hangs"


def curve(out, part, stat="loss"):
    from espnet2.train.reporter import Reporter

    reporter = Reporter()
    states = torch.load(out / trainer.CHECKPOINT, map_location="cpu", weights_only=False)
    reporter.load_state_dict(states["reporter"])
    return [float(reporter.get_value(part, stat, e + 1)) for e in range(reporter.get_epoch())]


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def same_model(one, other, **bounds):
    a, b = (load(out / f"{EPOCHS}epoch.pth") for out in (one, other))
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], **bounds, msg=lambda m, k=key: f"{k}: {m}")


@pytest.fixture(scope="module")
def world(trained, trained_dice, tmp_path_factory):
    """Data of both recipes; each model trained by one process and by two."""
    root = tmp_path_factory.mktemp("distributed")
    for name, at in (("data", trained), ("dump/fbank_pitch", trained)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(at.root / name)
    (root / "dump/raw").symlink_to(trained_dice / "dump/raw")
    (root / "labels").symlink_to(trained_dice / "labels")
    (root / "exp").mkdir()
    for name in ("asr_teacher_t", "teacher_outputs"):
        (root / "exp" / name).symlink_to(trained.root / "exp" / name)
    with tiny.inside(root):
        run_jobs([dice.job("alone", dice_config(epochs=EPOCHS - 1)), kd_job("alone", kd_config())])
        for job, by in (
            (dice.job("shared", dice_config()), torchrun),
            (kd_job("shared", kd_config()), srun),
        ):
            assert fork_ranks(job, by) == [0, 0], (job.out / "rank0.log").read_text()[-3000:]
    return root


@pytest.fixture
def recipe(world, monkeypatch):
    monkeypatch.chdir(world)
    return world


def test_raised_max_epoch_goes_on_in_the_same_directory(recipe):
    """After its end, and as if it had been asked for at once."""
    before = load(Path(f"exp/dice_alone/{EPOCHS - 1}epoch.pth"))
    assert run_jobs([dice.job("alone", dice_config())]) == 1
    after = load(Path(f"exp/dice_alone/{EPOCHS - 1}epoch.pth"))
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert experiment.load("exp/dice_alone").max_epoch == EPOCHS
    assert run_jobs([dice.job("once", dice_config())]) == 1
    # not to the bit: two models at a time have one thread each, one has all
    same_model(Path("exp/dice_alone"), Path("exp/dice_once"), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["dice", "asr"])
def test_two_processes_follow_the_curve_of_one(recipe, name):
    """The same batches, each cut in two: what is left is the order of float32 sums."""
    alone, shared = Path(f"exp/{name}_alone"), Path(f"exp/{name}_shared")
    stats = ["loss", *(["acc_m"] if name == "dice" else ["loss_ctc", "loss_tok", "loss_unc"])]
    for stat in stats:
        for part in ("train", "valid"):
            one, two = curve(alone, part, stat), curve(shared, part, stat)
            assert two == pytest.approx(one, rel=1e-6), (part, stat)
    same_model(alone, shared, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("begun_by", [1, 2])
def test_another_number_of_processes_goes_on(recipe, begun_by):
    """Two of three epochs, by one process and then two, and the other way round, with momentum."""

    def jobs(tag, epochs):
        more = {"optim_conf": {"lr": 0.05, "momentum": 0.9}}
        conf = {**kd_config(epochs), **more}
        return dice.job(tag, {**dice_config(epochs), **more}), kd_job(tag, conf)

    def by(processes, *todo):
        if processes == 1:
            run_jobs(list(todo))
        else:
            assert [fork_ranks(job) for job in todo] == [[0, 0]] * len(todo)

    by(1, *jobs("moving_alone", EPOCHS))
    by(begun_by, *jobs(f"moving_{begun_by}", EPOCHS - 1))
    changed = jobs(f"moving_{begun_by}", EPOCHS)
    by(3 - begun_by, *changed)
    for job in changed:
        alone = Path(f"exp/{job.task}_moving_alone")
        for part in ("train", "valid"):
            assert curve(job.out, part) == pytest.approx(curve(alone, part), rel=1e-6), job.task
        same_model(alone, job.out, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_accumulated_gradients_follow_the_curve_of_whole_batches(recipe):
    """One update an epoch, of one batch, or of two halves with as many utterances.

    ESPnet takes the mean over the halves, whatever is in them: a loss that is a mean over frames,
    as DiceHuBERT's, is another one where one half has more of them.
    """
    conf = {**kd_config(), "batch_type": "sorted", "min_batch_size": 1}
    for tag, size, parts in (("whole", 48, 1), ("halves", 24, 2)):
        job = kd_job(tag, {**conf, "batch_size": size, "accum_grad": parts})
        assert run_jobs([job]) == 1
    whole, halves = Path("exp/asr_whole"), Path("exp/asr_halves")
    for stat in ("loss", "loss_ctc", "loss_tok", "loss_unc"):
        for part in ("train", "valid"):
            wanted = curve(whole, part, stat)
            assert curve(halves, part, stat) == pytest.approx(wanted, rel=1e-6), (part, stat)
    same_model(whole, halves, atol=1e-5, rtol=1e-4)


def test_a_killed_rank_leaves_a_run_that_goes_on(recipe, monkeypatch):
    from espnet_dice.dice.model import DiceHubertModel

    def die(rank):
        """Rank 1 is killed in the second step of the second epoch."""
        forward, seen = DiceHubertModel.forward, []

        def killed(self, *args, **kwargs):
            seen.append(self.training)
            if rank == 1 and False in seen and seen[-2:] == [True, True]:
                os.kill(os.getpid(), signal.SIGKILL)
            return forward(self, *args, **kwargs)

        monkeypatch.setattr(DiceHubertModel, "forward", killed)

    job = dice.job("killed", dice_config())
    assert fork_ranks(job, before=die) == [1, -signal.SIGKILL]
    assert (job.out / "1epoch.pth").exists() and not (job.out / "2epoch.pth").exists()
    with pytest.raises(StaleError, match="never finished"):
        experiment.load(job.out)
    monkeypatch.undo()
    monkeypatch.chdir(recipe)
    job = dice.job("killed", dice_config())
    assert fork_ranks(job) == [0, 0]
    assert "2/3epoch started" in (job.out / "rank0.log").read_text()
    shared = Path("exp/dice_shared")
    for part in ("train", "valid"):
        assert curve(job.out, part) == curve(shared, part)
    same_model(job.out, shared, atol=0, rtol=0)
    # one process takes up what two have trained
    assert run_jobs([job]) == 1
    assert experiment.load(job.out).max_epoch == EPOCHS


SLURM_PL = """\
while [[ "$1" == --* ]]; do shift 2; done
"${@:2}" >"$1" 2>&1
"""
SRUN = """\
while [[ "$1" == -* ]]; do shift; done
export SLURM_NTASKS=2 SLURM_STEP_NUM_NODES=2 SLURM_STEP_NODELIST=localhost SLURM_LOCALID=0
SLURM_PROCID=1 SLURM_NODEID=1 "$@" &
SLURM_PROCID=0 SLURM_NODEID=0 "$@" && wait $!
"""


def test_espnets_launcher_starts_the_processes_of_a_stage(recipe, monkeypatch, capsys):
    """``espnet2.bin.launch`` on stand-ins of slurm.pl and srun, two hosts, one process each."""
    for name, text in (("slurm.pl", SLURM_PL), ("srun", SRUN)):
        (recipe / "bin").mkdir(exist_ok=True)
        (recipe / "bin" / name).write_text(f"#!/usr/bin/env bash\n{text}")
        (recipe / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{recipe / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config = tiny.write_config("conf/train_asr_launched.yaml", kd_config())
    start = f"{sys.executable} -m espnet2.bin.launch --cmd slurm.pl --num_nodes 2 --ngpu 0 "
    start += "--log {out}/launch.log --init_file_prefix {out}/.dist_init_ --"
    arguments = [
        "--task",
        "asr",
        "--dump",
        str(tiny.DUMP),
        "--token_list",
        str(tiny.TOKENS),
        "--launch",
        start,
    ]
    arguments += ["--job", "launched", str(config), "train=train", "valid=dev"]
    arguments += ["--teacher", "t=exp/asr_teacher_t", "--teacher_outputs", "exp/teacher_outputs"]
    train.main(arguments)
    said = capsys.readouterr()
    assert "asr_launched: 0.0" in said.out
    assert "asr_launched: 3 of 3 epochs, valid acc" in said.err
    out = Path("exp/asr_launched")
    log = (out / "launch.log").read_text()
    # the first process tells the results, the other only what goes wrong
    assert log.count("1epoch results") == 1 and not list(out.glob(".dist_init*"))
    same_model(out, Path("exp/asr_shared"), atol=0, rtol=0)


def test_ranks_are_the_launchers():
    second = torchrun(1, 29500)
    slurm = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"}
    said = ["--dist_rank", "3", "--dist_world_size", "4", "--local_rank", "1"]
    assert launch.rank_options([], {}) == []
    assert launch.rank_options([], second) == ["--dist_init_method", "env://"]
    assert launch.rank_options([], slurm) == said
    own = {**slurm, "CUDA_VISIBLE_DEVICES": "2"}  # by --gpus-per-task
    assert launch.rank_options([], own) == [*said[:-1], "0"]
    assert launch.rank_options([], {**slurm, "CUDA_VISIBLE_DEVICES": "0,1"}) == said
    assert launch.rank_options([], {**slurm, "SLURM_NTASKS": "1"}) == []
    espnet = ["--dist_launcher", "slurm", "--multiprocessing_distributed", "true"]
    assert launch.rank_options(espnet, slurm) == []
    assert not launch.is_first(espnet, slurm) and launch.is_first(espnet, {"SLURM_PROCID": "0"})
    assert launch.is_first([], {}) and not launch.is_first([], second)
    assert launch.is_first([], slurm)  # a batch job's variables say nothing to one process
    assert not launch.is_first(said, slurm) and launch.is_first(["--dist_rank=0"], second)


def test_progress_is_read_where_it_is_told(tmp_path):
    start = launch.split("python -m espnet2.bin.launch --log {out}/launch.log --")
    log = launch.log_of(tmp_path, start, "train.log")
    assert log == tmp_path / "launch.log"
    assert launch.log_of(tmp_path, ["torchrun"], "train.log") == tmp_path / "train.log"
    log.write_text("2/9epoch started\n" * 9)
    watched = Watched("x", log, 9, "acc")
    log.unlink()  # the launcher keeps it under another name, and begins a new one
    log.write_text("3/9epoch started\n")
    watched.read(1.0)
    assert watched.epoch == 2


def test_a_stage_is_started_once(recipe, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"one of 2 processes: start the stage once.*--launch"):
        run_jobs([dice.job("once", dice_config())])
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(ConfigError, match="--launch .*: No closing quotation"):
        run_jobs([dice.job("once", dice_config())], launched_by="srun 'x")


def test_a_launch_that_fails_shows_the_end_of_its_log(recipe, monkeypatch):
    job = dice.job("fails", dice_config())
    start = "bash -c 'echo no such partition >&2; exit 3' srun"
    with pytest.raises(DiceError, match=r"(?s)bash ended with code 3.*no such partition.*goes on"):
        run_jobs([job], launched_by=start)
    # processes that were not told their ranks must not write one directory
    monkeypatch.setattr(trainer, "PATIENCE_S", 0.1)
    with only_writer(job.out), pytest.raises(DataError, match="another process is writing"):
        one_process.main(["dice", "--output_dir", str(job.out)])


def test_the_command_of_one_process(capsys):
    one_process.main(["--help"])
    assert "torchrun" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="one of asr, lm, dice"):
        one_process.main(["tts"])
    with pytest.raises(ConfigError, match="--output_dir is missing"):
        one_process.main(["dice", "--ngpu", "0"])


SPAWNED = """
import runpy, sys
runpy.run_module("espnet_dice.training.process", run_name="__mp_main__", alter_sys=True)
import torch
assert torch.save.whole and type(sys.meta_path[0]).__name__ == "_TaskFinder"
assert "espnet2" not in sys.modules
"""


def test_a_rank_that_espnet_spawns_is_prepared():
    """For each GPU of --ngpu ESPnet spawns a child, which imports the command's module first."""
    done = subprocess.run([sys.executable, "-c", SPAWNED], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
