"""What is remembered of a teacher is what it says, and no more is kept than was allowed."""

import pytest
import torch

from espnet_dice.dice import loss_terms, teacher_cache
from espnet_dice.hubert import frozen
from espnet_dice.io.errors import ConfigError
from tests.hubert import tiny
from tests.hubert.tiny_models import BASE, LARGE, noise, save

LAYERS = (1, 3)
SAMPLES = [6000, 3210, 4400]


@pytest.fixture(scope="module", params=["base", "large"])
def source(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    conf = {"base": BASE, "large": LARGE}[request.param]
    save(directory, conf, do_normalize=request.param == "large")
    return directory


class Counted:
    """A teacher, and the waveforms that it has heard."""

    def __init__(self, source):
        self.model, self.waves = frozen.load(source), []

    def __call__(self, wave):
        self.waves.append(wave.clone())
        return self.model.hidden([wave], max(LAYERS))[0]


def batch():
    waves = [noise(n, seed=n) for n in SAMPLES]
    return torch.nn.utils.rnn.pad_sequence(waves, batch_first=True), torch.tensor(SAMPLES)


def test_it_says_what_the_teacher_says_and_asks_once(source):
    listen = Counted(source)
    mine = teacher_cache.TeacherCache(listen, LAYERS, 10**9)
    speech, lengths = batch()
    wanted = listen.model(speech, lengths, max(LAYERS))
    for order in ([0, 1, 2], [2, 0, 1], [1]):  # in any batch, with any padding
        said = mine(speech[order], lengths[order])
        assert sorted(said) == list(LAYERS)
        for layer, states in said.items():
            for row, of in zip(states, order, strict=True):
                frames = (SAMPLES[of] - 400) // 320 + 1
                torch.testing.assert_close(
                    row[:frames], wanted[layer][of, :frames], rtol=0, atol=2e-5
                )
                assert not row[frames:].any()
    assert [len(w) for w in listen.waves] == SAMPLES
    assert mine.size == sum(4 * 48 * len(LAYERS) * ((n - 400) // 320 + 1) for n in SAMPLES)


def test_batches_without_padding_and_other_samples(source):
    listen = Counted(source)
    mine = teacher_cache.TeacherCache(listen, LAYERS, 10**9)
    speech = noise(2, 4000)
    first = mine(speech, None)[3]
    torch.testing.assert_close(first, listen.model(speech, None, 3)[3], rtol=0, atol=2e-5)
    speech[1, 1234] += 1e-3  # one sample is another waveform
    again = mine(speech, None)[3]
    assert len(listen.waves) == 3
    assert torch.equal(again[0], first[0]) and not torch.equal(again[1], first[1])


def test_a_full_memory_takes_no_more_and_changes_nothing(source):
    listen = Counted(source)
    speech, lengths = batch()
    whole = teacher_cache.TeacherCache(listen, LAYERS, 10**9)(speech, lengths)
    listen.waves.clear()
    one = 4 * 48 * len(LAYERS) * ((SAMPLES[0] - 400) // 320 + 1)
    small = teacher_cache.TeacherCache(listen, LAYERS, one)
    for _ in range(2):
        said = small(speech, lengths)
        assert all(torch.equal(said[layer], whole[layer]) for layer in LAYERS)
    assert small.size == one
    assert [len(w) for w in listen.waves] == [*SAMPLES, *SAMPLES[1:]]


def test_the_loss_is_the_same_with_memory(tmp_path):
    save(tmp_path, BASE, do_normalize=False)
    found = []
    for keep_gb in (0, 1):
        loss = [{"name": "dice_feature", "conf": {"keep_gb": keep_gb}}]
        model = tiny.model(loss=loss, teacher=str(tmp_path), mask_prob=0.0)
        assert "keep_gb" not in model.terms["dice_feature"].resolved()
        given = tiny.batch({"a": 9000, "b": 6000})
        found += [model(**given)[0].item() for _ in range(2)]
    assert found[0] == found[1] and found[2] == found[3]
    assert found[2] == pytest.approx(found[0], rel=1e-5)
    assert model.terms["dice_feature"]._cache.size > 0


def test_less_than_no_memory_is_refused():
    with pytest.raises(ConfigError, match="keep_gb must be ≥ 0, not -1"):
        loss_terms.Feature(loss_terms.LossContext([6, 6]), [[1, 1]], teacher_dim=4, keep_gb=-1)
