"""Batches: cut to one length in training, whole in validation, refused where labels do not fit."""

import logging

import numpy as np
import pytest
import torch

from espnet_dice.dice.collate import DiceCollate
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.io.errors import ConfigError, DataError

LENGTHS = {"a": 16000, "b": 12345, "c": 14007}


def data(lengths=LENGTHS, width=None):
    """Utterances whose sample n is n, and whose label of frame t is t."""
    made = []
    for utt, samples in lengths.items():
        labels = np.arange(n_frames(samples))
        if width:
            labels = labels[:, None] + 1000 * np.arange(width)
        made.append((utt, {"speech": np.arange(samples, dtype=np.float32), "labels": labels}))
    return made


def test_training_batches_have_one_length_and_their_own_labels():
    np.random.seed(0)
    starts = set()
    for _ in range(20):
        utts, batch = DiceCollate(train=True)(data())
        assert utts == ["a", "b", "c"]
        frames = n_frames(12345)
        assert batch["labels"].shape == (3, frames) and batch["labels"].dtype == torch.int32
        assert set(batch["labels_lengths"].tolist()) == {frames}
        assert set(batch["speech_lengths"].tolist()) == {400 + 320 * (frames - 1)}
        assert batch["speech"].shape == (3, 400 + 320 * (frames - 1))
        assert batch["speech"].dtype == torch.float32
        assert torch.equal(batch["speech"][:, 0], 320.0 * batch["labels"][:, 0])
        assert torch.equal(
            batch["labels"] - batch["labels"][:, :1], torch.arange(frames)[None].expand(3, -1)
        )
        starts.add(tuple(batch["labels"][:, 0].tolist()))
    assert len(starts) > 10


def test_crops_follow_the_seed_of_the_epoch():
    def starts(seed, lengths=LENGTHS):
        np.random.seed(seed)
        utts, batch = DiceCollate(train=True)(data(lengths))
        return dict(zip(utts, batch["labels"][:, 0].tolist(), strict=True))

    assert starts(3) == starts(3)
    assert len({tuple(starts(s).values()) for s in range(10)}) > 5
    other = {"b": 12345, "x": 15000, "a": 16000}  # the same crops beside other utterances
    assert starts(3, other)["a"] == starts(3)["a"]


def test_crops_follow_the_epoch_that_is_told():
    def starts(seed, epoch, state):
        np.random.seed(state)  # another one in each loading process
        collate = DiceCollate(train=True, seed=seed)
        collate.epoch = epoch
        return tuple(collate(data())[1]["labels"][:, 0].tolist())

    assert starts(0, 1, state=0) == starts(0, 1, state=1)
    assert len({starts(seed, epoch, 0) for seed in range(3) for epoch in range(3)}) == 9


def test_long_utterances_are_bounded():
    _, batch = DiceCollate(train=True, max_frames=20)(data())
    assert batch["labels"].shape == (3, 20)
    _, batch = DiceCollate(train=True, max_frames=20, random_crop=False)(data())
    assert batch["labels"][0, 0] == (n_frames(16000) - 20) // 2
    with pytest.raises(ConfigError, match="max_frames"):
        DiceCollate(train=True, max_frames=0)


@pytest.mark.parametrize("conf", [{"train": False}, {"train": True, "pad": True}])
def test_whole_utterances_keep_every_sample(conf):
    np.random.seed(0)
    _, batch = DiceCollate(**conf, max_frames=20)(data())
    assert batch["speech_lengths"].tolist() == [16000, 12345, 14007]
    assert batch["labels_lengths"].tolist() == [n_frames(n) for n in LENGTHS.values()]
    for row, n in zip(batch["speech"], LENGTHS.values(), strict=True):
        assert torch.equal(row[:n], torch.arange(float(n))) and not row[n:].any()


def test_records_and_speech_alone():
    _, batch = DiceCollate(train=True)(data(width=4))
    assert batch["labels"].shape == (3, n_frames(12345), 4)
    assert torch.equal(batch["labels"][..., 3], batch["labels"][..., 0] + 3000)
    alone = [(utt, {"speech": parts["speech"]}) for utt, parts in data()]
    _, batch = DiceCollate(train=True)(alone)
    assert set(batch) == {"speech", "speech_lengths"}


def test_waves_are_normalised_before_they_are_cut():
    rng = np.random.default_rng(0)
    waves = {u: (3 + 5 * rng.normal(size=n)).astype(np.float32) for u, n in LENGTHS.items()}
    made = [(u, {"speech": w}) for u, w in waves.items()]
    _, batch = DiceCollate(train=False, normalize=True)(made)
    for row, wave in zip(batch["speech"], waves.values(), strict=True):
        wanted = torch.nn.functional.layer_norm(torch.from_numpy(wave), (len(wave),))
        torch.testing.assert_close(row[: len(wave)], wanted, atol=1e-4, rtol=0)
    silent = [("s", {"speech": np.zeros(4000, np.float32)})]
    assert DiceCollate(train=False, normalize=True)(silent)[1]["speech"].abs().max() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speech": np.zeros(399, np.float32)}, r"b: 399 samples are less than one frame \(400\)"),
        ({"labels": np.arange(39)}, r"b: 38 frames of speech, 39 labels"),
        ({"labels": np.arange(76)}, r"b: 38 frames of speech, 76 labels.*frame rate"),
        ({"speech": np.zeros((12345, 2), np.float32)}, r"b: 2 channels"),
        ({"labels": np.arange(38) - 1}, r"b: labels from -1 to 36, clusters are 0 to 99"),
        ({"labels": np.arange(38) + 63}, r"b: labels from 63 to 100, clusters are 0 to 99"),
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_what_does_not_fit_is_named(change, message, train):
    made = data()
    made[1][1].update(change)
    with pytest.raises(DataError, match=message):
        DiceCollate(train=train, n_clusters=100)(made)


def test_a_batch_that_loses_most_of_its_speech_says_so(caplog):
    caplog.set_level(logging.WARNING)
    DiceCollate(train=True)(data())
    assert not caplog.records
    DiceCollate(train=True)(data({"long": 160000, "longer": 170000, "tiny": 700}))
    assert "tiny (1 frames) to longer (531)" in caplog.text
