"""Each check on an experiment with its fault, and on one without."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from espnet_dice.checks import check_data, check_labels, check_results, check_training, checks
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.records import train_log as training
from espnet_dice.stages import checks as checks_stage
from espnet_dice.stages import tokens
from espnet_dice.training.jobs import run_jobs
from tests.corpus import write_tables
from tests.hubert import tiny as tiny_models
from tests.stages import tiny

COMMON = Path(__file__).parents[2] / "egs2/TEMPLATE/common.sh"
# a line of ESPnet 202511, shortened
EPOCH = (
    "2026-11-21 12:47:01,339 (trainer:394) INFO: {n}epoch results: [train] iter_time=0.004, "
    "{stat}={train}, loss={loss}, optim0_lr0=3.300e-04, train_time=0.064, time=1.93 seconds, "
    "total_count={count}, [valid] {stat}={valid}, loss={loss}, time=0.17 seconds, total_count=8\n"
)
SKIPPED = "2026-11-21 (trainer:743) WARNING: The grad norm is nan. Skipping updating the model.\n"
FALLING = [3.0, 2.5, 2.2, 2.0, 1.9, 1.8]


def write_log(directory, losses=FALLING, valid=None, train=None, stat="acc", skipped=0):
    """A training log of ESPnet: 30 updates an epoch."""
    directory.mkdir(parents=True, exist_ok=True)
    valid = valid or [0.5] * len(losses)
    lines = [
        EPOCH.format(n=n, loss=x, stat=stat, valid=a, train=b, count=30 * n)
        for n, (x, a, b) in enumerate(zip(losses, valid, train or valid, strict=True), 1)
    ]
    (directory / "train.log").write_text(SKIPPED * skipped + "".join(lines))
    return training.read(directory / "train.log", directory.name.partition("_")[2], "asr")


@pytest.mark.parametrize("losses", [[3.0, math.nan, math.nan], [3.0, 2.0, math.inf]])
def test_a_loss_that_is_no_number(tmp_path, losses):
    one = write_log(tmp_path / "asr_x", losses)
    number = 2 if math.isnan(losses[1]) else 3
    found = check_training.not_finite(one)
    assert found.where == "asr_x" and f"of 3 epochs, from epoch {number} on" in found.what
    assert check_training.constant(one) is None
    assert check_training.not_finite(write_log(tmp_path / "asr_y")) is None


@pytest.mark.parametrize(
    ("losses", "fault"),
    [
        ([3.0, 3.0, 3.0, 3.0], True),
        ([3.0, 3.02, 2.98, 2.99, 3.01, 3.0], True),
        ([3.0, 3.1, 3.4, 4.0], True),
        ([3.0, 2.9, 2.85], False),
        ([3.0, 3.0], False),
        (FALLING, False),
    ],
)
def test_a_loss_that_does_not_fall(tmp_path, losses, fault):
    found = check_training.constant(write_log(tmp_path / "asr_x", losses))
    assert bool(found) == fault
    assert not fault or "does not fall: 3.000 in epoch 1" in found.what


def test_the_end_of_a_curve_is_flat(tmp_path):
    one = write_log(tmp_path / "asr_x", [9.0, 3.0, 3.0, 3.0])
    log = tmp_path / "asr_x/train.log"
    log.write_text("".join(log.read_text().splitlines(True)[1:]))  # a launcher began a new log
    assert check_training.constant(training.read(log, "x", "asr")) is None
    assert check_training.constant(one) is None


@pytest.mark.parametrize(("skipped", "fault"), [(0, False), (1, False), (2, True)])
def test_updates_that_were_left_out(tmp_path, skipped, fault):
    one = write_log(tmp_path / "asr_x", skipped=skipped)
    updates, left_out = training.updates(tmp_path / "asr_x/train.log")
    assert (updates, left_out) == (180, skipped)
    found = check_training.skipped_updates(one, updates, left_out)
    assert bool(found) == fault and (not fault or "2 of 180 updates" in found.what)


def test_the_best_guess_of_tokens():
    """By hand: after ▁ comes A (2 of 3), after A B (3 of 3), after B the end (2 of 4)."""
    train = ["▁AB", "▁AB▁BB"]
    # <sos>▁ ▁A AB B<eos>; <sos>▁ ▁B BB B<eos>
    assert check_training.tokens_guess(train, ["▁AB"]) == 1.0
    assert check_training.tokens_guess(train, ["▁BB"]) == 0.5
    assert check_training.tokens_guess(train, ["▁AB", "▁BB"]) == 0.75
    assert check_training.tokens_guess(train, ["▁C"]) == 1 / 3


@pytest.fixture
def asr(tmp_path):
    """What a training of a recogniser leaves, and its texts; curves are the tests'."""
    spoken = {"train": ["ONE TWO", "TWO TWO"], "dev": ["TWO ONE"]}
    for name, texts in spoken.items():
        directory = tmp_path / "dump/fbank" / name
        write_tables(directory, text=[f"{name}{i} {t}" for i, t in enumerate(texts)])
        shapes = "".join(f"{name}{i} 100,83\n" for i in range(len(texts)))
        (directory / "feats_shape").write_text(shapes)
    config = {
        f"{part}_data_path_and_name_and_type": [[f"dump/fbank/{name}/text", "text", "text"]]
        for part, name in (("train", "train"), ("valid", "dev"))
    }
    config |= {"scheduler_conf": {"warmup_steps": 150}, "input_size": 83}
    directory = tmp_path / "exp/asr_x"
    (directory / "shapes/train").mkdir(parents=True)
    shapes = tmp_path / "dump/fbank/train/feats_shape"
    shutil.copy(shapes, directory / "shapes/train/speech_shape")
    tiny.write_config(str(directory / "config.yaml"), config)
    return directory


def test_a_recogniser_at_chance(asr, capsys):
    texts = ["▁ONE▁TWO", "▁TWO▁TWO"], ["▁TWO▁ONE"]
    chance = check_training.tokens_guess(*texts)
    assert chance == 5 / 9  # ▁T W O then ▁, and after the second ▁ not O
    exp = asr.parent
    write_log(asr, valid=[0.2, 0.4, 0.5, 0.55, 0.6, 0.6])
    (found,) = checks.find(exp)
    assert found.where == "asr_x"
    assert "60 % in validation, where the token that most often follows" in found.what
    assert "56 %" in found.what
    write_log(asr, valid=[0.2, 0.4, 0.5, 0.55, 0.6, 0.7])
    assert checks.find(exp) == []
    write_log(asr, losses=FALLING[:5], valid=[0.2] * 5)  # warming up
    assert checks.find(exp) == []


def test_transcripts_that_ctc_ignores(asr):
    write_log(asr, valid=[0.9] * 6)
    shapes = asr / "shapes/train/speech_shape"
    # conv2d makes 8 frames of 35: ▁TWO▁TWO needs them all; of 34 it makes 7
    shapes.write_text("train0 100,83\ntrain1 35,83\n")
    assert checks.find(asr.parent) == []
    shapes.write_text("train0 100,83\ntrain1 34,83\n")
    (found,) = checks.find(asr.parent)
    assert found.what.startswith(
        "CTC learns nothing from 1 of 2 training utterances (50 %), train1"
    )


def test_pieces_of_words_need_fewer_frames_than_letters(asr):
    """One token a word: ▁TWO ▁TWO needs a frame each, and one between them."""
    pieces = asr.parent.parent / "tok"
    texts = [asr.parent.parent / f"dump/fbank/{name}/text" for name in ("train", "dev")]
    tokens.make_tokens(pieces, texts[1:], "bpe", texts[:1], nbpe=15, mode="bpe")
    config = yaml.safe_load((asr / "config.yaml").read_text()) | {"bpemodel": "tok/bpe.model"}
    tiny.write_config(str(asr / "config.yaml"), config)
    write_log(asr, valid=[0.9] * 6)
    shapes = asr / "shapes/train/speech_shape"
    for frames, fault in ((15, False), (14, True)):  # conv2d makes 3 and 2 of them
        shapes.write_text(f"train0 100,83\ntrain1 {frames},83\n")
        found = checks.find(asr.parent)
        assert ["fewer encoder frames than tokens" in f.what for f in found] == [True] * fault
    # a guess of letters has 56 % of them; one of words has none of ▁TWO ▁ONE <eos>
    shapes.write_text("train0 100,83\ntrain1 100,83\n")
    write_log(asr, valid=[0.2, 0.3, 0.4, 0.4, 0.5, 0.5])
    assert checks.find(asr.parent) == []


@pytest.mark.parametrize("layer", list(check_data.KERNELS))
def test_frames_of_an_encoder_are_those_of_espnet(layer):
    """Against the layers themselves, as plain convolutions over time."""
    import torch

    for frames in (40, 41, 42, 43, 47):
        x = torch.zeros(1, 1, frames)
        for kernel, stride in check_data.KERNELS[layer]:
            x = torch.nn.Conv1d(1, 1, kernel, stride)(x)
        assert check_data.encoder_frames(frames, layer) == x.shape[2]


def dice_experiment(tmp_path, share):
    """Labels in which one has ``share`` of the frames, and a config that names them."""
    frames = {"train": 2000, "dev": 400}
    rng = np.random.default_rng(0)
    codebook = tiny_models.codebook()
    for name, n in frames.items():
        # near a centroid each; the first as often as it is told
        labels = rng.integers(1, tiny_models.K, n)
        labels[: int(share * n)] = 0
        near = codebook.centroids[labels] + 0.01 * rng.normal(size=(n, tiny_models.DIM))
        utts = {f"{name}{i}": part for i, part in enumerate(np.split(near, 20))}
        tiny_models.write_store(tmp_path / "exp/labels/l" / name, codebook, utts)
        (tmp_path / f"exp/labels/l/agreement_{name}.json").write_text("{}")
        meta = tmp_path / "exp/labels/l" / name / "store.json"
        used = {"clusters_used": len(np.unique(labels))}
        meta.write_text(json.dumps(json.loads(meta.read_text()) | used))
    config = {
        f"{part}_data_path_and_name_and_type": [[f"exp/labels/l/{name}", "labels", "dice_ids"]]
        for part, name in (("train", "train"), ("valid", "dev"))
    }
    directory = tmp_path / "exp/dice_x"
    tiny.write_config(str(directory / "config.yaml"), config)
    return directory


def test_a_student_at_chance(tmp_path):
    directory = dice_experiment(tmp_path, share=0.3)
    exp = directory.parent
    at = [0.1, 0.2, 0.29, 0.3, 0.3, 0.31]
    better = [0.1, 0.2, 0.29, 0.3, 0.32, 0.4]
    write_log(directory, valid=at, train=at, stat="acc_m")
    (found,) = checks.find(exp)
    assert found.where == "dice_x"
    assert "31 % in training, where the most frequent label has 30 %" in found.what
    for valid, train in ((at, better), (better, at)):
        write_log(directory, valid=valid, train=train, stat="acc_m")
        assert checks.find(exp) == []


def test_a_cluster_that_dominates(tmp_path):
    dice_experiment(tmp_path, share=0.5)
    (found,) = checks.find(tmp_path / "exp")
    assert found.where == "labels/l/train" and found.what == "cluster 0 has 50 % of the frames"
    # of few clusters each has much
    assert check_labels.dominating(np.array([45, 55]), "x") is None
    assert check_labels.dominating(np.array([30, *[1] * 70]), "x")


@pytest.mark.parametrize(
    ("used", "frames", "fault"), [(100, 5000, False), (99, 5000, True), (99, 1500, False)]
)
def test_a_dead_cluster(used, frames, fault):
    meta = {"clusters": 100, "clusters_used": used, "frames": frames}
    found = check_labels.dead(meta, "x")
    assert bool(found) == fault and (not fault or "1 of 100 clusters are dead" in found.what)


def test_utterances_that_went_missing(tmp_path):
    def directory(path, n, **settings):
        write_tables(tmp_path / path, text=[f"u{i} ONE" for i in range(n)])
        if settings:
            Fingerprint("x", settings, {}).finish(tmp_path / path)
        return tmp_path / path

    directory("espnet/raw/org/train", 1000)
    source = directory("espnet/raw/train", 900)
    for n, lost in ((990, 0), (989, 1)):
        data = directory("data/train", n, **{"from": str(source)})
        assert len(checks.find(tmp_path / "exp")) == lost
    found = check_data.taken(data)
    assert "11 of 1000 utterances (1.1 %) were dropped from" in found.what
    assert found.what.endswith("raw/org/train")
    directory("data/train", 1000)
    dump = directory("dump/raw/train", 1000, speeds=[0.9, 1.0, 1.1])
    for n, lost in ((3000, 0), (2900, 1)):
        (dump / "feats_shape").write_text("".join(f"u{i} 9\n" for i in range(n)))
        assert len(checks.find(tmp_path / "exp")) == lost


def decoded(exp, tag, texts, references, taught=False, train_set="train"):
    """A recogniser and its results on a set."""
    directory = exp / f"asr_{tag}"
    conf = {"kd_alpha": 0.5, "teachers": [{"name": "t"}]} if taught else {}
    directory.mkdir(parents=True)
    model = {"sha256": tag, "seed": 0, "parameters": 1, "averaged": [[1, 0.5]]}
    (directory / "model.json").write_text(json.dumps(model | {"train_set": train_set}))
    Fingerprint("train_asr", {"config": {"model_conf": conf}}, {}).finish(directory)
    out = directory / "decode_x/test"
    ids = [f"u{i:02d}" for i in range(len(references))]
    write_tables(out, text=[f"{u} {t}" for u, t in zip(ids, texts, strict=True)])
    reference = [f"{u} {t}" for u, t in zip(ids, references, strict=True)]
    write_tables(exp.parent / "dump/fbank/test", text=reference)
    meta = {"system": tag, "set": "test", "lm": None, "reference": "dump/fbank/test/text"}
    (out / "meta.json").write_text(json.dumps(meta | {"cpu_s_per_audio_s": 0.1}))
    Fingerprint("decode", {}, {"model": tag}).finish(out)


SAID = [
    f"{a} {b}" for a in "ONE TWO SIX TEN CAT".split() for b in "DOG PIG HEN COW EWE".split()
] * 2


def wrong(n):
    """The transcripts with n words that are wrong, each in another utterance."""
    return [s.replace(" ", " X", 1) if i < n else s for i, s in enumerate(SAID)]


def test_empty_results(tmp_path):
    decoded(tmp_path / "exp", "x_seed0", ["", *SAID[1:]], SAID)
    (found,) = checks.find(tmp_path / "exp")
    assert found.where == "asr_x_seed0/decode_x/test"
    assert found.what == "1 of 50 results (2.0 %) are empty, u00 for one"
    hundred = {str(i): "A" for i in range(100)}
    assert check_results.empty(hundred, hundred | {"7": ""}, "x") is None
    assert check_results.empty(hundred, hundred | {"7": "", "8": ""}, "x")


def test_one_result_for_all(tmp_path):
    decoded(tmp_path / "exp", "x_seed0", ["ONE DOG"] * 30 + SAID[30:], SAID)
    (found,) = checks.find(tmp_path / "exp")
    assert found.what == "30 of 50 results are the same: 'ONE DOG'"
    same = {str(i): "YES" for i in range(50)}
    assert check_results.alike(same, same, "x") is None  # so were they said


def test_teachers_and_students_that_are_worse(tmp_path):
    exp = tmp_path / "exp"
    for tag, errors, taught in (
        ("plain_seed0", 10, False),
        ("kd_seed0", 30, True),
        ("kd2_seed0", 12, True),
        ("teacher_bad", 40, False),
        ("teacher_fair", 12, False),
    ):
        decoded(exp, tag, wrong(errors), SAID, taught)
    found = {f.where: f.what for f in checks.find(exp)}
    assert found.keys() == {"asr_kd", "asr_teacher_bad"}
    assert found["asr_kd"].startswith(
        "student of 30.0 % WER; the student without KD, plain, has 10.0 %"
    )
    assert found["asr_teacher_bad"].startswith("teacher of 40.0 % WER")


def test_recognisers_with_as_many_errors_as_words(tmp_path):
    exp = tmp_path / "exp"
    three = [f"{s} {s} X" for s in SAID]
    for tag, said, taught in (
        ("plain_seed0", three, False),
        ("kd_seed0", wrong(50), True),
        ("teacher_good", wrong(10), False),
    ):
        decoded(exp, tag, said, SAID, taught)
    found = {f.where: f.what for f in checks.find(exp)}
    words = sum(len(s.split()) for s in SAID)
    assert found["asr_plain"].startswith(f"{100 * (words + 50) / words:.0f} % WER: as many errors")
    kd = 100 * 50 / words
    assert found["asr_kd"] == f"{kd:.0f} % WER, its teacher teacher_good {kd / 5:.0f} %"
    assert "asr_teacher_good" not in found


def probe_results(**scores):
    labels = {"teacher": "mfcc_k5", "student": "teacher_l2_k9", "scratch": "mfcc_k5", "feature": ""}
    systems = [
        {"system": n, "labels": labels[n], "scores": {t: {"0": x, "1": x} for t, x in s.items()}}
        for n, s in scores.items()
    ]
    floors = {"char": 100.0, "sid": 3.0, "kws": 45.0}
    return {"systems": systems, "probes": {t: {"floor": f} for t, f in floors.items()}}


GOOD = {"char": 40.0, "sid": 80.0, "kws": 10.0}


def test_probes():
    worse = {"char": 41.0, "sid": 79.0, "kws": 11.0}
    mixed = {"char": 41.0, "sid": 81.0, "kws": 11.0}

    def found(**scores):
        return [(f.where, f.what) for f in check_results.probes(probe_results(**scores))]

    assert found(teacher=GOOD, student=mixed, scratch=GOOD, feature=worse) == []
    ((where, what),) = found(teacher=GOOD, student=worse, scratch=GOOD)
    assert where == "probes of student" and what.startswith("student worse than scratch, which had")
    better = {"char": 40.5, "sid": 90.0, "kws": 10.5}
    ((where, what),) = found(teacher=worse, student=GOOD, scratch=better)
    assert where == "probes of teacher" and what.startswith("teacher worse than scratch")
    ((where, what),) = found(teacher=GOOD, student=mixed | {"sid": 3.0})
    assert what == "no better than without any features: sid 3.0 (without 3.0)"


def test_the_command(tmp_path, capsys):
    exp = tmp_path / "exp"
    write_log(exp / "asr_x", [3.0] * 4)

    def run(*more):
        with pytest.raises(SystemExit) as end:
            checks_stage.main(["--exp", str(exp), *more])
        return end.value.code, capsys.readouterr()

    code, said = run()
    assert code == 0 and not said.out
    assert "1 warnings" in said.err and "asr_x: the training loss does not fall" in said.err
    assert "perhaps: learning rate 0" in said.err and "what to do: look at optim0_lr0" in said.err
    assert run("--strict")[0] == 1
    assert "- **asr_x**: the training loss" in (exp / "WARNINGS.md").read_text()
    write_log(exp / "asr_x")
    code, said = run("--strict")
    assert code == 0 and not said.err and "No warnings." in (exp / "WARNINGS.md").read_text()
    (exp / "results.json").write_text("{half")
    assert "could not be checked" in run()[1].err


def test_a_training_that_learns_nothing_is_told(tmp_path, monkeypatch):
    """Two real trainings: learning rate 0, and one beyond all measure."""
    monkeypatch.chdir(tmp_path)
    for seed, (name, n) in enumerate({"train": 8, "dev": 4}.items()):
        tiny.write_dump(tiny.DUMP / name, n, seed, name)
    tokens.make_tokens(tiny.TOKENS, [tiny.DUMP / name / "text" for name in ("train", "dev")])
    still = {"dropout_rate": 0.0, "positional_dropout_rate": 0.0, "attention_dropout_rate": 0.0}

    def job(tag, lr):
        config = tiny.asr_config(epochs=3)
        config["encoder_conf"] |= still
        config["decoder_conf"] |= dict.fromkeys(list(still)[:2], 0.0)
        return tiny.asr_job(tag, {**config, "optim": "sgd", "optim_conf": {"lr": lr}})

    run_jobs([job("still_x", 0.0), job("wild_x", 1e30)])
    found = {tag: [] for tag in ("asr_still_x", "asr_wild_x")}
    for one in checks.find(tiny.EXP):
        found[one.where].append(one.what)
    still, wild = found.values()
    assert sum("the training loss does not fall" in said for said in still) == 1
    assert "at chance in its best epoch" in " ".join(still)
    assert sum("the training loss is NaN or infinite" in said for said in wild) == 1
    # these letters are 1.5 frames long: CTC learns nothing where two of them are alike
    assert all("CTC learns nothing from" in said[-1] for said in found.values())


def test_a_recipe_ends_with_its_warnings(tmp_path):
    write_log(tmp_path / "out/asr_x", [3.0] * 4)
    (tmp_path / "RESULTS.md").write_text("the table\n")
    lines = f"source {COMMON}; expdir=out; py=({sys.executable}); end_recipe RESULTS.md"
    env = os.environ | {"PYTHONPATH": str(COMMON.parents[2])}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.strip() == "the table"
    assert "1 warnings (out/WARNINGS.md):\n  asr_x: the training loss does not fall" in done.stderr
