"""The heads find what a model tells and nothing where it tells nothing; and always the same."""

import numpy as np
import pytest
import torch

from espnet_dice.hubert.models.layer_sum import LayerSum
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.probes.probe_data import SpeakerSplit
from espnet_dice.probes.probe_features import Features
from espnet_dice.probes.probe_heads import CharHead, KeywordHead, SpeakerHead
from espnet_dice.probes.probe_tasks import Char, Keyword, Parts, Speaker
from espnet_dice.probes.probes import probe
from tests.probes.probing import Told, utterance, wave

WORDS = "CAB FACE BAD DEAF HIDE".split()


def corpus(n, seed):
    rng = np.random.default_rng(seed)
    return [
        utterance(f"u{seed}-{i}", " ".join(rng.choice(WORDS, 2, replace=False)), f"s{i % 4}")
        for i in range(n)
    ]


PARTS = Parts(corpus(60, 0), corpus(12, 1), corpus(40, 2))
SPLIT = SpeakerSplit(PARTS.train, PARTS.dev, PARTS.test, ("s0", "s1", "s2", "s3"))


def hear(directory, noise):
    model = Told(PARTS.all, noise)
    samples = {utt.id: len(wave(utt)) for utt in PARTS.all}
    return Features(
        model, model.read, samples, PARTS.all, PARTS.all, PARTS.train, 0, directory, 1e9
    )


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Of a model that tells everything."""
    return hear(tmp_path_factory.mktemp("told"), 0.3)


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    """Of a model that tells nothing."""
    return hear(tmp_path_factory.mktemp("nothing"), 1e4)


def tasks():
    lengths = {utt.id: len(wave(utt)) for utt in PARTS.all}
    return {"char": Char(PARTS), "sid": Speaker(SPLIT), "kws": Keyword(PARTS, WORDS, lengths)}


@pytest.mark.parametrize("name", ["char", "sid", "kws"])
def test_what_is_told_is_found(features, name):
    found = probe(tasks()[name], features, seed=0, epochs=25)
    assert (found.train, found.dev, found.test) == (60, 12, 40)
    assert {"char": found.score < 5, "sid": found.score > 99, "kws": found.score < 15}[name]
    assert sum(found.layer_weights) == pytest.approx(1)
    assert np.argmax(found.layer_weights) == 2  # the layer that tells


@pytest.mark.parametrize("name", ["char", "sid", "kws"])
def test_nothing_is_found_where_nothing_is_told(nothing, name):
    found = probe(tasks()[name], nothing, seed=0, epochs=25)
    assert {"char": found.score > 60, "sid": found.score < 60, "kws": found.score > 30}[name]


def test_the_same_for_a_seed(features):
    random = torch.get_rng_state()
    for task in tasks().values():
        a, b, c = (probe(task, features, seed, epochs=2) for seed in (0, 0, 1))
        assert a == b and a.dev_cost != c.dev_cost
    assert torch.equal(torch.get_rng_state(), random)


def test_the_epoch_is_chosen_on_the_dev_part(features, monkeypatch):
    task, seen = tasks()["sid"], []
    cost = task.cost
    monkeypatch.setattr(task, "cost", lambda *of: seen.append(cost(*of)) or seen[-1])
    found = probe(task, features, 0, 6)
    assert found.dev_cost == min(seen) == seen[found.epoch - 1]


def test_heads_that_hear_their_neighbours(features):
    assert probe(Char(PARTS, kind="blstm"), features, 0, epochs=8).score < 10
    assert probe(Char(PARTS, kind="conv"), features, 0, epochs=15).score < 10
    with pytest.raises(ConfigError, match="head 'rnn': choose one of linear, conv, blstm"):
        Char(PARTS, kind="rnn")


def test_phones_instead_of_characters(features):
    phones = {utt.id: [f"P{c}" for c in utt.text if c != " "] for utt in PARTS.all}
    task = Char(PARTS, phones)
    found = probe(task, features, 0, epochs=15)
    assert found.score < 5 and "phones" in task.about
    phones.pop(PARTS.test[0].id)
    with pytest.raises(DataError, match="u2-0: has no phones"):
        Char(PARTS, phones)


def test_results_are_written_like_transcripts():
    class Said:
        frames = {PARTS.test[0].id: None}

    task = Char(PARTS)
    path = [
        task.inventory.index(c) if c else 0 for c in [" ", "C", "C", "", "C", " ", "", " ", "A"]
    ]
    log_probs = torch.eye(len(task.inventory))[path][None]
    head = lambda utts: (log_probs, torch.tensor([len(path)]))  # noqa: E731
    assert task.results(head, Said, PARTS.test[:1]) == [list("CC A")]


def test_characters_that_were_never_trained_are_errors():
    parts = Parts([utterance("a", "AB")], [utterance("b", "AB")], [utterance("c", "AXB")])
    task = Char(parts)
    assert task.inventory == ["", "A", "B"]
    assert task.tokens["c"] == ["A", "X", "B"]


def test_floors():
    lengths = {utt.id: 100 * (1 + ("FACE" in utt.text)) for utt in PARTS.all}
    assert Keyword(PARTS, ["FACE"], lengths).floor == 0  # length alone tells
    assert Keyword(PARTS, WORDS, dict.fromkeys(lengths, 1)).floor == 50
    assert Speaker(SPLIT).floor == 25 and Char(PARTS).floor == 100


def test_the_layer_sum_against_a_loop():
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    layer_sum = LayerSum(3).double()
    torch.testing.assert_close(layer_sum(x), x.mean(0))
    layer_sum.weights.data = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    e = np.exp([0.5, -1.0, 2.0])
    want = sum(w / e.sum() * x[i] for i, w in enumerate(e))
    torch.testing.assert_close(layer_sum(x), want)


@pytest.mark.parametrize("kind", ["linear", "conv", "blstm"])
def test_a_head_hears_an_utterance_as_if_it_were_alone(kind):
    torch.manual_seed(0)
    utts = [torch.randn(2, n, 6) for n in (4, 9, 1)]
    head = CharHead(2, 6, 5, kind)
    log_probs, lengths = head(utts)
    assert lengths.tolist() == [4, 9, 1]
    for utt, row, n in zip(utts, log_probs, lengths, strict=True):
        torch.testing.assert_close(row[:n], head([utt])[0][0], atol=1e-6, rtol=0)
    head = KeywordHead(2, 6, 3)
    alone = torch.cat([head([utt]) for utt in utts])
    torch.testing.assert_close(head(utts), alone)


def test_the_speaker_head_is_linear_on_the_weighted_mean():
    torch.manual_seed(0)
    head, means = SpeakerHead(2, 6, 3), torch.randn(2, 5, 6)
    want = means.mean(0) @ head.out.weight.T + head.out.bias
    torch.testing.assert_close(head(means), want)
