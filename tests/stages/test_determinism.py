"""Same seed, same machine: the same bytes and the same losses, whatever else is changed.

Two processes follow one within the order of float32 sums, and each other to the bit:
``test_distributed.py``. Parts of data stages: ``test_shards.py``; decoding: ``test_decode.py``.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from espnet_dice.training import trainer
from espnet_dice.training.jobs import run_jobs
from tests.corpus import make_corpus
from tests.hubert import tiny as tiny_models
from tests.stages import tiny, tiny_dice
from tests.stages.tiny import inside

ROOT = Path(__file__).parents[2]
EPOCHS = 2
DATA_STAGES = """
import sys
from pathlib import Path
from espnet_dice.stages import data, features, kmeans, labels, tokens
from espnet_dice.records import feature_dir

corpus, nj = Path(sys.argv[1]), int(sys.argv[2])
data.check_data(corpus)
for kind in ("fbank_pitch", "raw"):
    features.make_features(corpus, f"dump/{kind}/train", kind, nj, speeds=(0.9, 1.0))
tokens.make_tokens("data/token_list/char31", ["dump/raw/train/text"])
train = feature_dir.load("dump/raw/train")
out = Path("exp/quantizer/mfcc")
kmeans.make_quantizer("mfcc", 0, 8, [train], out, sample_frames=500)
labels.label_sets("mfcc", 0, out, [train], Path("exp/labels/mfcc"), nj)
assert "espnet2" not in sys.modules
"""
TRAININGS = """
import sys
from tests.stages.test_determinism import train_both
train_both("there", int(sys.argv[1]))
"""


def python(code, *args, cwd, hash_seed):
    """Run code in another interpreter, with another order of sets."""
    env = os.environ | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_data_stages_are_the_same_bytes(tmp_path):
    corpus = make_corpus(tmp_path / "corpus", 104, 0.06)  # with speeds: three shards
    made = []
    for hash_seed, nj in ((1, 1), (2, 3)):
        directory = tmp_path / str(nj)
        directory.mkdir()
        python(DATA_STAGES, corpus, nj, cwd=directory, hash_seed=hash_seed)
        files = (p for p in sorted(directory.rglob("*")) if p.is_file() and p.suffix != ".log")
        made.append({str(p.relative_to(directory)): p.read_bytes() for p in files})
    assert {"dump/fbank_pitch/train/feats.3.ark", "exp/labels/mfcc/train/labels.3.bin"} <= {
        *made[0]
    }
    assert made[0].keys() == made[1].keys()
    assert [name for name in made[0] if made[0][name] != made[1][name]] == []


def train_both(tag, workers, seed=0):
    """exp/asr_<tag> and exp/dice_<tag>, with dropout, noise of the variance head, crops, masks."""
    asr = {**tiny.asr_config("uncertainty_kd", EPOCHS), "num_workers": workers}
    masks = {"apply_time_warp": False, "time_mask_width_range": [0, 6]}
    asr |= {"specaug": "specaug", "specaug_conf": masks, "batch_bins": 4000}
    soft = [{"name": "dice_soft", "conf": {"tau": 1.0}}]
    noisy = {**tiny_models.STUDENT, "hidden_dropout": 0.1, "layerdrop": 0.1}
    dice = tiny_dice.config(soft, EPOCHS, student_conf=noisy, num_workers=workers)
    jobs = [tiny.asr_job(tag, asr, seed), tiny_dice.job(tag, dice, seed=seed)]
    # two at a time: one thread each, as sums of several threads have another order
    assert run_jobs(jobs, nj=2) == 2


def trained_as(tag):
    """Everything that a training has recorded of its losses, and its last parameters."""
    found = {}
    for kind in ("asr", "dice"):
        out = Path("exp") / f"{kind}_{tag}"
        states = torch.load(out / trainer.CHECKPOINT, map_location="cpu", weights_only=False)
        reported = states["reporter"]
        stats = reported.get("stats", reported)
        for epoch, parts in stats.items():
            if not isinstance(epoch, int):
                continue
            for part in ("train", "valid"):
                for name, value in parts[part].items():
                    if not name.endswith(("time", "cached_mem_GB")):
                        found[kind, epoch, part, name] = value
        parameters = torch.load(out / f"{EPOCHS}epoch.pth", map_location="cpu", weights_only=True)
        found |= {(kind, name): value.numpy().tobytes() for name, value in parameters.items()}
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Both recipes' tiny data, and both models trained once in this process."""
    root = tmp_path_factory.mktemp("determinism")
    with inside(root):
        codebook = tiny_models.codebook()
        for seed, name in enumerate(("train", "dev")):
            tiny.write_dump(tiny.DUMP / name, 16, seed, name)
            made = tiny_dice.write_dump(root / "dump/raw" / name, tiny_dice.SIZES[name], seed)
            tiny_dice.write_store(root / "labels" / name, codebook, *made)
        tiny.tokens.make_tokens(tiny.TOKENS, [tiny.DUMP / "train/text", tiny.DUMP / "dev/text"])
        train_both("here", workers=0)
    return root


def test_trainings_follow_their_seed(world, monkeypatch):
    """Whatever the number of loading processes, and in an interpreter with another hash seed."""
    monkeypatch.chdir(world)
    wanted = trained_as("here")
    assert ("dice", 2, "train", "acc_m") in wanted and ("asr", 2, "valid", "acc") in wanted
    python(TRAININGS, 2, cwd=world, hash_seed=3)
    assert differing(wanted, trained_as("there")) == []
    train_both("other", workers=0, seed=1)
    found = {key[:1] + key[3:] for key in differing(wanted, trained_as("other")) if len(key) > 2}
    assert {("asr", "loss"), ("dice", "loss")} <= found


def differing(one, other):
    assert one.keys() == other.keys()
    return [key for key in one if one[key] != other[key]]
