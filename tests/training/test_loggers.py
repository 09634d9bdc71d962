"""ESPnet's own logs and plots, where both recipes' options ask for them."""

import subprocess
from pathlib import Path

import pytest

from espnet_dice.records import feature_dir
from espnet_dice.stages import tokens
from espnet_dice.training.jobs import Plan, run_jobs
from tests.hubert import tiny as tiny_hubert
from tests.stages import tiny, tiny_dice

COMMON = Path(__file__).parents[2] / "egs2/TEMPLATE/common.sh"
ASKED = "--use_tensorboard true --use_matplotlib true --num_att_plot 1"


def scalars(directory):
    """Names of what TensorBoard shows of a phase."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = directory.glob("events.out.tfevents.*")
    found = EventAccumulator(str(events))
    found.Reload()
    return set(found.Tags()["scalars"])


def test_a_recogniser(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, (name, n) in enumerate((("train", 12), ("dev", 4))):
        tiny.write_dump(tiny.DUMP / name, n, seed, name)
    texts = [tiny.DUMP / name / "text" for name in ("train", "dev")]
    tokens.make_tokens(tiny.TOKENS, texts, train=texts[:1])
    config = tiny.asr_config("uncertainty_kd", epochs=1)
    job = tiny.asr_job("x_seed0", config, extra=ASKED)
    assert run_jobs([job]) == 1
    assert {"loss", "acc", "cer"} <= {
        s.split("/")[-1] for s in scalars(job.out / "tensorboard/valid")
    }
    assert "loss" in {s.split("/")[-1] for s in scalars(job.out / "tensorboard/train")}
    assert (job.out / "images/loss.png").stat().st_size > 1000
    (utt,) = (job.out / "att_ws").iterdir()
    assert utt.name in feature_dir.load(tiny.DUMP / "dev").lengths
    assert any(path.suffix == ".png" for path in utt.iterdir())
    # asked for or not, it is the same model
    assert Plan(tiny.asr_job("x_seed0", config)).done


def test_a_student(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, (name, n) in enumerate(tiny_dice.SIZES.items()):
        made = tiny_dice.write_dump(tmp_path / "dump/raw" / name, n, seed)
        tiny_dice.write_store(tmp_path / "labels" / name, tiny_hubert.codebook(), *made)
    job = tiny_dice.job("x", tiny_dice.config(epochs=1), extra="--use_tensorboard true")
    assert run_jobs([job]) == 1
    assert "loss" in {s.split("/")[-1] for s in scalars(job.out / "tensorboard/valid")}
    assert Plan(tiny_dice.job("x", tiny_dice.config(epochs=1))).done


@pytest.mark.parametrize(
    ("options", "tag"),
    [
        ("", ""),
        ("--max_epoch 7", ""),
        (ASKED, ""),
        ("--use_wandb true --wandb_project p --wandb_name a-b", ""),
        ("--optim_conf lr=0.1 --use_tensorboard=true --seed 3", "_optim_conf_lr-0.1_seed_3"),
        ("--seed 3 --max_epoch 7", "_seed_3"),
    ],
)
def test_they_are_no_part_of_a_models_name(options, tag, tmp_path):
    lines = 'source "$0"; args_tag "$1"'
    command = ["bash", "-euo", "pipefail", "-c", lines, str(COMMON), options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.removesuffix("\n").rstrip("_") == tag
