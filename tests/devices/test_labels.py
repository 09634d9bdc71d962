"""k-means, labels and teachers on a device that is not there give what they give on a CPU."""

import numpy as np
import pytest
import torch

from espnet_dice.hubert.frozen import LayerFeatures
from espnet_dice.labels import codec, kmeans, targets
from tests.devices.accelerator import DEVICE, Accelerator
from tests.devices.test_dice_steps import teacher
from tests.hubert import tiny
from tests.labels.mixture import mixture


@pytest.fixture(scope="module")
def features():
    return torch.from_numpy(mixture(2000, 8, 6, seed=0)[0].astype(np.float32))


def test_kmeans(features):
    wanted = kmeans.fit(features, 8, seed=3)
    with Accelerator():
        found = kmeans.fit(features.to(DEVICE), 8, seed=3)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_labels(features):
    centroids = kmeans.fit(features, 8)
    book = codec.fit(centroids, features.numpy())
    with Accelerator():
        x = features.to(DEVICE)
        hard = targets.hard_labels(x, centroids).cpu()
        soft = targets.soft_labels(x, centroids, 5.0).cpu()
        records = book.encode(x)
    assert torch.equal(hard, targets.hard_labels(features, centroids))
    torch.testing.assert_close(soft, targets.soft_labels(features, centroids, 5.0))
    assert np.array_equal(records, book.encode(features.numpy()))


@pytest.mark.parametrize("kind", ["base", "large", "wavlm"])
def test_features_of_a_teacher(kind):
    frozen = teacher(kind)
    waves = [tiny.speech(n) for n in (9000, 5005)]
    wanted = LayerFeatures(frozen, [1, 2]).batch(waves)
    with Accelerator():
        found = [x.cpu() for x in LayerFeatures(frozen.to(DEVICE), [1, 2]).batch(waves)]
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want)


def test_a_generator_of_the_cpu_draws_nothing_on_the_device():
    with Accelerator():
        generator = torch.Generator(device=DEVICE).manual_seed(0)
        drawn = torch.randn(3, generator=generator, device=DEVICE).cpu()
        with pytest.raises(RuntimeError, match="generator of another device"):
            torch.randn(3, generator=torch.Generator(), device=DEVICE)
    assert torch.equal(drawn, torch.randn(3, generator=torch.Generator().manual_seed(0)))
