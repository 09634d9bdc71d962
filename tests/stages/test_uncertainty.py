import logging

import numpy as np
import pytest

from espnet_dice.decoding.noise import noisy_inputs
from espnet_dice.io.errors import ConfigError, DataError, StaleError
from espnet_dice.records import experiment, feature_dir
from espnet_dice.results import token_uncertainty
from espnet_dice.stages import decode, uncertainty
from tests.stages import tiny

TEST = tiny.DUMP / "test"


@pytest.fixture(scope="module")
def asked(trained):
    """A model without variances and one with, both decoded and asked, utterance by utterance."""
    with tiny.inside(trained.root), pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_uncertainty, "BATCH", 1)
        systems = [trained.plain, trained.student]
        decode.run(decode.plan(systems, [TEST], None, [False], tiny.Path("conf/decode.yaml")), nj=1)
        todo = uncertainty.plan(systems, [TEST], tiny.TOKENS, n_samples=3)
        assert uncertainty.run(todo, tiny.TOKENS, nj=2) == 2
        return {a.system.name: token_uncertainty.read(a.out / token_uncertainty.FILE) for a in todo}


def stepwise(e, speech, tokens):
    """log p of every step, one step of ESPnet's own beam search after the other."""
    import torch

    from espnet_dice.kd import teachers

    entries = (tiny.TOKENS / "tokens.txt").read_text().splitlines()
    model = teachers.load(e.directory, e.model, entries)
    memory, _ = model.encode(torch.as_tensor(speech)[None], torch.tensor([len(speech)]))
    prefix, state, rows = [model.sos], None, []
    for token in [*(entries.index(t) for t in tokens), model.eos]:
        with torch.no_grad():
            log_probs, state = model.decoder.score(torch.tensor(prefix), state, memory[0])
        rows.append((token, log_probs.numpy().astype(np.float64)))
        prefix.append(token)
    return rows


@pytest.mark.parametrize("name", ["asr_plain_seed0", "asr_unc_seed0"])
def test_each_token_as_in_beam_search(recipe, asked, name):
    found, e = asked[name], experiment.load(tiny.EXP / name)
    dump = feature_dir.load(TEST)
    assert found.utterances == sorted(dump.lengths)
    hypotheses = uncertainty.texts_of(
        uncertainty.plan([e.directory], [TEST], tiny.TOKENS)[0], tiny.TOKENS
    )
    speech = feature_dir.Inputs(dump)
    for which in ("ref", "hyp"):
        said = {k: found.utterance(which, k) for k in ("ids", "top", "p", "confidence", "entropy")}
        for u, utt in enumerate(found.utterances):
            rows = stepwise(e, speech(utt), hypotheses[which][utt])
            assert said["ids"][u].tolist() == [token for token, _ in rows]
            for t, (token, log_probs) in enumerate(rows):
                p = np.exp(log_probs)
                measured = [said[k][u][t] for k in ("p", "top", "confidence", "entropy")]
                expected = [p[token], p.argmax(), p.max(), -(p * log_probs).sum()]
                assert measured == pytest.approx(expected, abs=1e-4)


def test_batches_say_the_same_in_the_same_order(recipe, asked):
    (a,) = uncertainty.plan([recipe.student], [TEST], tiny.TOKENS, n_samples=3)
    alone = asked["asr_unc_seed0"]
    assert token_uncertainty.BATCH > 1
    uncertainty.ask(a, tiny.TOKENS)
    batched = token_uncertainty.read(a.out / token_uncertainty.FILE)
    assert batched.utterances == alone.utterances
    for which in ("ref", "hyp"):
        assert np.array_equal(batched.passes[which]["ids"], alone.passes[which]["ids"])
        assert np.array_equal(batched.ends[which], alone.ends[which])
        for measure in ("p", "variance", "variance_top"):
            # the mask of ESPnet's subsampling lets a frame of padding in
            one, other = batched.passes[which][measure], alone.passes[which][measure]
            assert np.abs(one - other).max() < 0.1 * other.max()
            assert np.corrcoef(one, other)[0, 1] > 0.99


def test_a_model_without_a_head_has_no_variances(asked):
    assert "variance" not in asked["asr_plain_seed0"].passes["ref"]
    variance = asked["asr_unc_seed0"].passes["ref"]["variance"]
    assert variance.min() > 0
    groups = asked["asr_unc_seed0"].groups("ref")
    assert len(groups) == len(variance) and groups.max() == tiny.SIZES["test"] - 1


def test_skipped_unless_something_changed(recipe, asked, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(uncertainty.trainer, "task_class", None)  # not called
    plan = uncertainty.plan([recipe.plain], [TEST], tiny.TOKENS, n_samples=3)
    assert uncertainty.run(plan, tiny.TOKENS) == 0
    (a,) = uncertainty.plan([recipe.plain], [TEST], tiny.TOKENS, n_samples=4)
    assert not a.fingerprint.is_done(a.out)


def test_what_cannot_be_asked(recipe, tmp_path):
    with pytest.raises(ConfigError, match="--samples must be ≥ 0"):
        uncertainty.plan([recipe.plain], [TEST], tiny.TOKENS, n_samples=-1)
    with pytest.raises(StaleError, match="nowhere is missing"):
        uncertainty.plan([recipe.plain], [tmp_path / "nowhere"], tiny.TOKENS)
    with pytest.raises(DataError, match="does not say how its features were made"):
        noisy_inputs(feature_dir.load(TEST), tiny.Path("data"), 10)


def test_noise_at_zero_decibels_is_noise(recipe, asked):
    """0 dB is no "no noise": it has its own directory, and no hypothesis of clean speech."""
    clean, noisy = uncertainty.plan([recipe.plain], [TEST], tiny.TOKENS, snrs=[0.0])
    assert clean.hypothesis is not None and noisy.hypothesis is None
    assert (clean.out.name, noisy.out.name) == ("test", "test_snr0")
