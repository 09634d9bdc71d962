"""Teachers and students trained through the stage, by ESPnet's own trainer, on tones."""

import re

import pytest
import torch
import yaml

from espnet_dice.hubert import frozen
from espnet_dice.hubert.formats import teacher_files
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.io.errors import ConfigError, DiceError, ProblemList, StaleError
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.labels import codec, store
from espnet_dice.records import experiment, feature_dir
from espnet_dice.stages import train
from espnet_dice.training import dice, trainer
from espnet_dice.training.jobs import Plan, run_jobs
from tests.hubert import tiny
from tests.labels.mixture import mixture
from tests.stages.tiny import write_config
from tests.stages.tiny_dice import SIZES, config, job


@pytest.fixture
def recipe(trained_dice, monkeypatch):
    monkeypatch.chdir(trained_dice)
    return trained_dice


@pytest.fixture
def fresh(trained_dice, tmp_path, monkeypatch):
    for name in ("dump", "labels"):
        (tmp_path / name).symlink_to(trained_dice / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def test_what_was_trained_is_an_experiment_and_a_teacher(recipe):
    e = experiment.load("exp/dice_teacher")
    assert e.task == "dice" and e.model == "valid.acc_m.ave_2best.pth"
    assert (e.train_set, e.valid_set, e.max_epoch) == ("train", "dev", 3)
    student = {k: v for k, v in load(e.model_file).items() if k.startswith("student.")}
    assert e.parameters == sum(v.numel() for v in student.values())
    loaded = frozen.load("exp/dice_teacher")
    assert (loaded.layers, loaded.dim) == (2, 16)
    from espnet_dice.dice.task import DiceHubertTask

    model, _ = DiceHubertTask.build_model_from_file(e.config, e.model_file)
    wave = torch.from_numpy(tiny.speech(9000))[None]
    ours, theirs = model.eval().student(wave), loaded(wave)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_a_checkpoint_of_ours_is_a_teacher(recipe):
    (path,) = trainer.Path("exp/dice_teacher").glob("3epoch.pth")
    assert teacher_files.find(path).kind == teacher_files.OURS
    student = {k: v for k, v in load(path).items() if k.startswith("student.")}
    loaded = frozen.load(str(path)).model.state_dict()
    for name, value in student.items():
        torch.testing.assert_close(loaded[name.removeprefix("student.")], value)


def test_training_learns(recipe):
    log = trainer.Path("exp/dice_teacher/train.log").read_text()
    losses = [float(x) for x in re.findall(r"\[valid\].*?loss=([\d.]+)", log)]
    assert len(losses) == 3 and losses[-1] < losses[0]
    assert "acc_m=" in log and "acc_u=" in log and "masked=" in log


def test_students_hear_of_their_teacher_by_labels_or_beside_them(recipe):
    for tag in ("soft", "feature"):
        e = experiment.load(f"exp/dice_{tag}")
        keys = {key.partition(".")[0] for key in load(e.model_file)}
        assert keys == {"student", "heads"} | ({"terms"} if tag == "feature" else set())
    conf = yaml.safe_load(trainer.Path("exp/dice_feature/config.yaml").read_text())
    assert conf["num_classes"] == tiny.K
    resolved = {"layers": [[1, 1], [2, 2]], "alphas": [0.5, 0.5], "teacher_dim": 16}
    assert conf["loss"][1] == {"name": "dice_feature", "weight": 0.1, "conf": resolved}


def test_what_is_whole_is_skipped_and_what_changed_is_not(recipe):
    plain = job("teacher", config(epochs=3))
    assert run_jobs([plain]) == 0
    assert not Plan(job("teacher", config(epochs=3), seed=1)).done
    assert not Plan(job("teacher", config("dice_soft", epochs=3))).done
    both = [{"name": "dice_hard"}, {"name": "dice_feature", "weight": 0.1}]
    inputs = job("feature", config(both), source="exp/dice_teacher").inputs
    assert set(inputs) == {"train", "valid", "labels_train", "labels_valid", "teacher"}
    assert inputs["teacher"] == teacher_files.key_of("exp/dice_teacher")
    job("teacher", config(epochs=3))  # put the config file back
    job("feature", config(both), source="exp/dice_teacher")


def test_feature_distillation_needs_no_labels(recipe):
    conf = config("dice_feature", model_conf={"mask_prob": 0.0})
    made = job("f", conf, labels=None, source="exp/dice_teacher")
    assert set(made.inputs) == {"train", "valid", "teacher"}
    assert made.criterion == ("valid", "loss", "min")
    assert not any("dice_ids" in o or "dice_labels" in o for o in made.data)


def test_hard_labels_are_read_without_their_codes(recipe):
    def types(name):
        return {o.rpartition(",")[2] for o in job("x", config(name)).data if ",labels," in o}

    assert types("dice_hard") == {"dice_ids"} and types("dice_soft") == {"dice_labels"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student": "hubrt"}, r"train_dice_bad\.yaml: student must be one of hubert"),
        ({"student_conf": {"hiden_size": 8}}, r"train_dice_bad\.yaml: .*no such key: hiden_size"),
        ({"model_conf": {"mask_prb": 0.8}}, r"model_conf: .*no key 'mask_prb'; did you mean"),
        ({"model_conf": {"n_clusters": 8}}, r"model_conf: n_clusters is an option of its own"),
        ({"collate_fn_conf": {"max_frame": 8}}, r"collate_fn_conf: no key 'max_frame'"),
        ({"loss": [{"name": "dice_sft"}]}, r"no such loss 'dice_sft'; one of dice_hard"),
        ({"loss": "dice_hard"}, r"loss: must be a list"),
        ({"stduent": "hubert"}, r"unknown key 'stduent'; did you mean 'student'"),
    ],
)
def test_a_bad_config_is_named_before_anything_starts(fresh, change, message):
    with pytest.raises(ConfigError, match=message):
        run_jobs([job("bad", {**config(), **change})])
    assert not (fresh / "exp").exists()


def test_labels_must_be_there_and_fit(recipe, tmp_path):
    with pytest.raises(ConfigError, match="dice_hard: give labels"):
        job("x", config(), labels=None)
    with pytest.raises(ConfigError, match="dice_feature needs --teacher"):
        job("x", config("dice_feature"))
    with pytest.raises(StaleError, match="missing: run the labelling stage"):
        job("x", config(), labels=tmp_path / "none")
    codebook = tiny.codebook()

    def write(**inputs):
        for name in SIZES:
            dump = feature_dir.load(f"dump/raw/{name}")
            frames = {u: n_frames(n) for u, n in dump.lengths.items()}
            frames["train03"] = frames.get("train03", 0) + 1
            frames.pop("dev01", None)
            features = {u: tiny.feature(u, n) for u, n in frames.items()}
            made_from = {"data": dump.key, "quantizer": "q", "source": name, **inputs}
            tiny.write_store(tmp_path / "other" / name, codebook, features, **made_from)

    write(data="old speech")
    with pytest.raises(StaleError, match="train: these labels were made from another data"):
        job("x", config(), labels=tmp_path / "other")
    write()
    with pytest.raises(StaleError, match="dev: these labels were made from another teacher"):
        job("x", config(), labels=tmp_path / "other")
    write(source="t")
    with pytest.raises(ProblemList, match=r"(?s)train03: \d+ frames, \d+ labels.*dev01: has no la"):
        job("x", config(), labels=tmp_path / "other")


def test_a_training_that_diverges_ends_with_its_reason(fresh):
    conf = config(optim_conf={"lr": 1e30}, grad_clip=-1)
    with pytest.raises(DiceError, match=r"dice_bad: the loss is not finite.*utterances: train"):
        run_jobs([job("bad", conf)])
    with pytest.raises(StaleError, match="never finished"):
        experiment.load("exp/dice_bad")


def test_command_trains_and_tells(fresh, capsys):
    write_config("conf/train_dice_one.yaml", config(epochs=1))
    arguments = ["--task", "dice", "--dump", "dump/raw", "--train", "train", "--valid", "dev"]
    arguments += ["--job", "one", "conf/train_dice_one.yaml", "labels=labels", "--seed", "3"]
    train.main(arguments)
    assert re.search(
        r"dice_one: 0\.0\d M parameters; averaged epochs: 1 \(", capsys.readouterr().out
    )
    assert experiment.load("exp/dice_one").seed == 3


def test_options_that_win_ask_for_the_teacher(recipe):
    with pytest.raises(ConfigError, match="init needs --teacher"):
        job("x", config(), extra="--model_conf init=teacher")
    with pytest.raises(ConfigError, match="dice_feature needs --teacher"):
        job("x", config(), extra="--loss '[{name: dice_feature}]'")


def test_soft_labels_below_the_stores_temperature_are_refused(tmp_path):
    Fingerprint("labels", {"tau": 5.0}, {}).finish(tmp_path)
    for fits in ({"dice_soft": {"tau": 5}}, {"dice_soft": {}}, {"dice_hard": {}}):
        dice._check_tau(fits, tmp_path)
    with pytest.raises(ConfigError, match=r"dice_soft: tau 1: .* good for 5 .* with --tau 1"):
        dice._check_tau({"dice_soft": {"tau": 1}}, tmp_path)


def test_soft_labels_that_say_little_are_warned_of(tmp_path, caplog):
    features, centroids = mixture(2000, 20, 16)
    book = codec.fit(centroids, features)
    records = {"u": book.encode(features[:50])}
    store.write(tmp_path / "train", book, records)
    Fingerprint("labels", {"tau": 1.0}, {}).finish(tmp_path / "train")
    sharp = [t for t, clusters in book.spread.items() if clusters <= 10]
    vague = [t for t, clusters in book.spread.items() if clusters > 10]
    assert sharp and vague
    dice.warn_of_vague(sharp[-1], tmp_path / "train")
    assert not caplog.records
    dice.warn_of_vague(vague[0] + 0.1, tmp_path / "train")
    assert f"spread over {book.spread[vague[0]]:.0f} of 20 clusters" in caplog.text
    assert f"{book.spread[sharp[0]]:.1f} at {sharp[0]:g}" in caplog.text


def test_what_predictions_know_of_phones(recipe):
    from sklearn.metrics import homogeneity_score

    from benchmarks.search import predictions
    from espnet_dice.records.phones import Phone, on_frames

    dump = feature_dir.load("dump/raw/dev")
    waves, utts = feature_dir.Waves(dump), list(dump.lengths)
    heard, clusters = predictions.predictions("exp/dice_teacher", waves, utts)
    assert clusters == [tiny.K]
    state = load(experiment.load("exp/dice_teacher").model_file)
    teacher = frozen.load("exp/dice_teacher")
    spoken = {}
    for place, utt in enumerate(utts):
        (hidden,) = teacher.hidden([waves[utt]])
        x = hidden[-1] @ state["heads.0.project.weight"].T + state["heads.0.project.bias"]
        wanted = torch.cosine_similarity(x[:, None], state["heads.0.embeddings"][None], dim=-1)
        assert heard[utt][:, 0].tolist() == wanted.argmax(1).tolist()
        spans = range(round(len(waves[utt]) / 1600))
        spoken[utt] = [
            Phone(utt, t / 10, t / 10 + 0.1, f"p{(t + place) % 3}", "", "", "", "") for t in spans
        ]
    frames = [on_frames(spoken[utt], n_frames(dump.lengths[utt])) for utt in utts]
    said = [ids for utt in utts for ids in heard[utt][:, 0]]
    wanted = homogeneity_score([name for names in frames for name in names], said)
    found = predictions.pnmi("exp/dice_teacher", waves, spoken)
    assert found == pytest.approx(100 * wanted)
