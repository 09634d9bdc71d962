import numpy as np
import pytest
import scipy.stats

torch = pytest.importorskip("torch")

from espnet_dice.kd.token_uncertainty import token_uncertainty  # noqa: E402


def drawn(seed=0, steps=9, vocab=7):
    rng = np.random.default_rng(seed)
    logits, variances = 2 * rng.normal(size=(steps, vocab)), rng.random((steps, vocab))
    return logits, variances, rng.integers(vocab, size=steps)


def test_against_plain_numpy():
    logits, variances, ids = drawn()
    tensors = [torch.as_tensor(x) for x in (logits, variances, ids)]
    found = token_uncertainty(*tensors, n_samples=4, generator=torch.Generator().manual_seed(3))
    noise = torch.randn(
        (4, *logits.shape), generator=torch.Generator().manual_seed(3), dtype=torch.float64
    ).numpy()
    for t, (f, var, i) in enumerate(zip(logits, variances, ids, strict=True)):
        p = np.exp(f) / np.exp(f).sum()
        g = [f + np.sqrt(var) * e for e in noise[:, t]]
        q = np.mean([np.exp(x) / np.exp(x).sum() for x in g], axis=0)
        best = int(np.argmax(p))
        expected = {
            "p": p[i], "top": best, "confidence": p[best],
            "entropy": -sum(x * np.log(x) for x in p), "p_noisy": q[i],
            "confidence_noisy": q.max(), "variance": var.mean(), "variance_top": var[best],
            "variance_share": var[best] / var.mean(),
        }  # fmt: skip
        draws = [np.exp(x) / np.exp(x).sum() for x in g]
        whole, within = scipy.stats.entropy(q), np.mean([scipy.stats.entropy(x) for x in draws])
        expected |= {"entropy_noisy": whole, "entropy_draws": within}
        expected["information"] = np.mean([scipy.stats.entropy(x, q) for x in draws])
        assert expected["information"] > 0
        assert {k: v[t].item() for k, v in found.items()} == pytest.approx(expected)


def test_without_variances_nothing_is_said_of_them():
    logits, _, ids = drawn(1)
    found = token_uncertainty(torch.as_tensor(logits), None, torch.as_tensor(ids))
    assert set(found) == {"p", "top", "confidence", "entropy"}


def test_without_draws_there_is_no_noise():
    tensors = [torch.as_tensor(x) for x in drawn(2)]
    found = token_uncertainty(*tensors, n_samples=0)
    assert torch.allclose(found["p"], found["p_noisy"], rtol=1e-12)
    assert torch.equal(found["entropy"], found["entropy_draws"])
    assert found["information"].abs().max() < 1e-12
