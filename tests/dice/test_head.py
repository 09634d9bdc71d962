"""The cosine head against torchaudio's, which expands a frames × K × final_dim tensor."""

import pytest
import torch

from espnet_dice.dice.head import CosineHead


@pytest.fixture
def head():
    torch.manual_seed(0)
    return CosineHead(16, n_clusters=11, final_dim=8)


def test_logits_are_torchaudios(head):
    from torchaudio.models.wav2vec2.components import LogitGenerator

    theirs = LogitGenerator(16, 11, 8, skip_masked=False, skip_nomask=False)
    theirs.final_proj.load_state_dict(head.project.state_dict())
    theirs.label_embeddings.data.copy_(head.embeddings)
    x, labels = torch.randn(3, 20, 16), torch.randint(11, (3, 20))
    mask = torch.rand(3, 20) < 0.5
    # column 0 is the label, the label itself among the others is -inf
    masked, unmasked = theirs(x, labels, mask, ~mask)
    ours = head(x)
    for logits, where in ((masked, mask), (unmasked, ~mask)):
        mine, ids = ours[where], labels[where]
        torch.testing.assert_close(logits[:, 0], mine.gather(1, ids[:, None])[:, 0])
        rest = mine.scatter(1, ids[:, None], -torch.inf)
        torch.testing.assert_close(logits[:, 1:], rest)


def test_float64_reference(head):
    x = torch.randn(5, 16)
    p = x.double() @ head.project.weight.double().T + head.project.bias.double()
    wanted = torch.nn.functional.cosine_similarity(
        p[:, None], head.embeddings.double()[None], dim=-1
    )
    torch.testing.assert_close(head(x).double(), wanted / 0.1, atol=1e-5, rtol=0)


def test_gradients_reach_everything(head):
    x = torch.randn(5, 16, requires_grad=True)
    head(x).square().sum().backward()
    for tensor in (x, head.embeddings, head.project.weight, head.project.bias):
        assert tensor.grad.abs().sum() > 0


def test_similarities_stay_in_float32_under_autocast(head):
    x = torch.randn(50, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = head(x)
        projected = head.project(x)
    assert got.dtype == torch.float32 and projected.dtype == torch.bfloat16
    wanted = torch.nn.functional.cosine_similarity(
        projected.double()[:, None], head.embeddings.double()[None], dim=-1
    )
    assert (got - wanted / 0.1).abs().max() < 1e-4
