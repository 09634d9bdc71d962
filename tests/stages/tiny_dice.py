"""A recipe directory of tones: a teacher and two students trained through the stage."""

import numpy as np
import soundfile

from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.io.fingerprint import Fingerprint, key_of
from espnet_dice.records import feature_dir
from espnet_dice.training import dice, trainer
from espnet_dice.training.jobs import run_jobs
from tests.hubert import tiny
from tests.stages.tiny import inside, write_config

SIZES = {"train": 24, "dev": 6}


def write_dump(directory, utterances, seed):
    """Tones of K pitches, 0.1 s each: what label a frame has can be heard."""
    rng = np.random.default_rng(seed)
    directory.mkdir(parents=True)
    lengths, tones = {}, {}
    for i in range(utterances):
        utt = f"{directory.name}{i:02d}"
        tones[utt] = rng.integers(tiny.K, size=int(rng.integers(4, 9)))
        time = np.arange(1600) / 16000
        wave = np.concatenate([np.sin(2 * np.pi * (200 + 150 * k) * time) for k in tones[utt]])
        wave = (0.3 * wave + 0.01 * rng.normal(size=len(wave))).astype(np.float32)
        soundfile.write(directory / f"{utt}.flac", wave, 16000)
        lengths[utt] = len(wave)
    scp = "".join(f"{u} {directory / u}.flac\n" for u in lengths)
    (directory / "wav.scp").write_text(scp)
    (directory / "feats_shape").write_text("".join(f"{u} {n}\n" for u, n in lengths.items()))
    Fingerprint("features", {"seed": seed}, {}).finish(directory)
    return lengths, tones


def write_store(directory, codebook, lengths, tones):
    features = {}
    rng = np.random.default_rng(0)
    for utt, samples in lengths.items():
        middle = np.minimum(np.arange(n_frames(samples)) * 320 + 200, samples - 1) // 1600
        near = codebook.centroids[tones[utt][middle]]
        features[utt] = near + 0.05 * rng.normal(size=near.shape)
    data = key_of(f"dump/raw/{directory.name}", "stage 2")
    tiny.write_store(directory, codebook, features, data=data, quantizer="q")


def config(loss="dice_hard", epochs=2, **more):
    return {
        "student": "hubert",
        "student_conf": dict(tiny.STUDENT),
        "loss": [{"name": loss}] if isinstance(loss, str) else loss,
        "model_conf": {"final_dim": 8},
        "batch_type": "numel",
        "batch_bins": 60000,
        "max_epoch": epochs,
        "keep_nbest_models": 2,
        "optim": "adamw",
        "optim_conf": {"lr": 0.005},
        **more,
    }


def job(tag, conf, labels="labels", exp="exp", seed=0, source=None, extra=""):
    path = write_config(f"conf/train_dice_{tag}.yaml", conf)
    sets = [feature_dir.load(f"dump/raw/{name}") for name in SIZES]
    labels = trainer.Path(labels) if labels else None
    return dice.make_job(tag, path, *sets, labels, trainer.Path(exp), seed, extra, source)


def build(root):
    """exp/dice_teacher, then exp/dice_soft and exp/dice_feature taught by it."""
    with inside(root):
        codebook = tiny.codebook()
        for seed, (name, n) in enumerate(SIZES.items()):
            made = write_dump(root / "dump/raw" / name, n, seed)
            write_store(root / "labels" / name, codebook, *made)
        assert run_jobs([job("teacher", config(epochs=3))]) == 1
        soft = job("soft", config([{"name": "dice_soft", "conf": {"tau": 1.0}}]))
        both = [{"name": "dice_hard"}, {"name": "dice_feature", "weight": 0.1}]
        feature = job("feature", config(both), source="exp/dice_teacher")
        assert run_jobs([soft, feature], nj=2) == 2
    return root
