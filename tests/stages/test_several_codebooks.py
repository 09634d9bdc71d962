"""Several layers and numbers of clusters: one pass, and what each would have been alone."""

import numpy as np
import pytest
import torch
import yaml

from espnet_dice.hubert import frozen
from espnet_dice.io.errors import ConfigError, StaleError
from espnet_dice.labels import label_report, quantizer, sample, store
from espnet_dice.records import experiment
from espnet_dice.stages import kmeans, labels
from espnet_dice.training.jobs import run_jobs
from tests.hubert import tiny, tiny_models
from tests.stages.test_labels import make_dump
from tests.stages.tiny_dice import SIZES, config, job

LAYERS, CLUSTERS = (1, 3), (4, 6)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Speech of two sets, a teacher of three layers, its quantizer of four codebooks, labels."""
    root = tmp_path_factory.mktemp("several")
    train, dev = make_dump(root, "train", 12, 0.3), make_dump(root, "dev", 5, 0.3)
    tiny_models.save(root / "hubert")
    source = str(root / "hubert")
    assert kmeans.make_quantizer(source, LAYERS, CLUSTERS, [train], root / "km")
    assert labels.label_sets(source, LAYERS, root / "km", [train, dev], root / "labels") == 2
    return root, source, train, dev


def test_every_codebook_is_what_it_would_be_alone(world, tmp_path):
    root, source, train, dev = world
    several = quantizer.load(root / "km")
    assert several.layers == (1, 1, 3, 3)
    assert several.spans == [(0, 48), (0, 48), (48, 96), (48, 96)]
    readers = [store.Reader(root / "labels" / d.name) for d in (train, dev)]
    for n, (layer, k) in enumerate((layer, k) for layer in LAYERS for k in CLUSTERS):
        name = f"{layer}_{k}"
        assert kmeans.make_quantizer(source, layer, k, [train], tmp_path / name)
        alone = quantizer.load(tmp_path / name).centroids
        np.testing.assert_array_equal(several.codebooks[n], alone)
        labels.label_sets(source, layer, tmp_path / name, [train, dev], tmp_path / f"l{name}")
        for reader, dump in zip(readers, (train, dev), strict=True):
            one = store.Reader(tmp_path / f"l{name}" / dump.name)
            for utt in one:
                np.testing.assert_array_equal(reader.ids(utt)[:, n], one.ids(utt))
            said = store.each(reader.meta)[n]
            for key in ("layer", "clusters", "clusters_used", "perplexity"):
                assert said[key] == one.meta[key]
    assert readers[0].meta["height"] == [1 / 3, 1 / 3, 1, 1]
    readers[0].check()
    lines = label_report.describe(root / "labels/train").splitlines()
    assert "codebook 3, layer 3: " in lines[4] and "KL" in lines[0]


def test_one_pass_of_the_teacher_an_utterance(world, tmp_path, monkeypatch):
    _, source, train, _ = world
    heard = []
    plain = frozen.FrozenSSLModel.hidden
    monkeypatch.setattr(
        frozen.FrozenSSLModel,
        "hidden",
        lambda self, w, n: heard.append(len(w)) or plain(self, w, n),
    )
    assert kmeans.make_quantizer(source, LAYERS, CLUSTERS, [train], tmp_path / "km")
    assert sum(heard) == len(train.lengths)


def test_clusters_of_one_layer(world, tmp_path):
    _, source, train, dev = world
    assert kmeans.make_quantizer(source, 2, CLUSTERS, [train], tmp_path / "km")
    hard = labels.Coding(soft=False)
    labels.label_sets(source, 2, tmp_path / "km", [dev], tmp_path / "l", coding=hard)
    reader = store.Reader(tmp_path / "l/dev")
    assert reader.meta["layer"] == [2, 2] and reader.meta["clusters"] == [4, 6]
    assert reader.width == 2 and reader.meta["kl"] == {}


def test_nothing_is_redone_and_other_layers_are_refused(world, tmp_path):
    root, source, train, dev = world
    assert not kmeans.make_quantizer(source, LAYERS, CLUSTERS, [train], root / "km")
    assert labels.label_sets(source, LAYERS, root / "km", [train, dev], root / "labels") == 0
    for other in ((3, 1), (1, 2), 3):
        with pytest.raises(StaleError, match="was not made from layer"):
            labels.label_sets(source, other, root / "km", [dev], tmp_path)
    with pytest.raises(ConfigError, match="--layer 1 1: give each number once"):
        kmeans.make_quantizer(source, (1, 1), 4, [train], tmp_path / "km")
    with pytest.raises(ConfigError, match="one file is one codebook"):
        kmeans.main(
            ["--source", "mfcc", "--given", "x.npy", "--layer", "1", "2", "--dump", "d", "--sets"]
            + ["train", "--out", str(tmp_path / "km")]
        )


def test_a_sample_of_many_layers_is_bounded():
    assert sample.most_frames(768) * 768 * 4 * 2 <= 2e9
    assert sample.most_frames(*[768] * 12) * (12 + 1) * 768 * 4 <= 2e9


def test_a_student_of_several_codebooks_is_trained_and_used_without_heads(
    trained_dice, tmp_path, monkeypatch
):
    """Its config says where its heads are, so it is built again without labels or teacher."""
    (tmp_path / "dump").symlink_to(trained_dice / "dump")
    monkeypatch.chdir(tmp_path)
    source = str(trained_dice / "exp/dice_teacher")
    sets = [kmeans.feature_dir.load(f"dump/raw/{name}") for name in SIZES]
    kmeans.make_quantizer(source, (1, 2), (4, 6), sets[:1], tmp_path / "km")
    hard = labels.Coding(soft=False)
    labels.label_sets(source, (1, 2), tmp_path / "km", sets, tmp_path / "l", coding=hard)
    conf = config(epochs=1, model_conf={"final_dim": 8, "heads": "matched"})
    assert run_jobs([job("deep", conf, labels="l")]) == 1
    e = experiment.load("exp/dice_deep")
    said = yaml.safe_load(e.config.read_text())
    wanted = [{"codebook": c, "layer": layer} for layer, c in ((1, 0), (1, 1), (2, 2), (2, 3))]
    assert said["model_conf"]["heads"] == wanted and said["num_classes"] == [4, 6, 4, 6]
    log = (tmp_path / "exp/dice_deep/train.log").read_text()
    assert all(f"acc_m_l{p['layer']}_c{p['codebook']}=" in log for p in wanted)
    from espnet_dice.dice.task import DiceHubertTask

    (tmp_path / "l").rename(tmp_path / "gone")
    model, _ = DiceHubertTask.build_model_from_file(e.config, e.model_file)
    assert len(model.heads) == 4
    loaded = frozen.load("exp/dice_deep")
    wave = torch.from_numpy(tiny.speech(9000))[None]
    for a, b in zip(model.eval().student(wave), loaded(wave), strict=True):
        torch.testing.assert_close(a, b)
    students = sum(v.numel() for v in loaded.model.state_dict().values())
    assert e.parameters == students < sum(p.numel() for p in model.parameters())
    bad = config(epochs=1, model_conf={"heads": [{"codebook": 4, "layer": 1}]})
    (tmp_path / "gone").rename(tmp_path / "l")
    with pytest.raises(ConfigError, match=r"train_dice_bad\.yaml: .*no codebook 4: the labels"):
        run_jobs([job("bad", bad, labels="l")])
    assert not (tmp_path / "exp/dice_bad").exists()
