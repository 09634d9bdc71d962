"""A step under bfloat16 autocast on a CPU beside the same one in float32, loss by loss.

bfloat16 has 8 bits: a product is off by up to 0.4 %. Loss: relative difference. Gradients:
1 - cosine, and relative difference of their lengths, of all parameters together. Noise is drawn in
the type of the logits, so its draws are others: without it, or with many of them.
"""

import copy

import pytest
import torch

from espnet_dice.kd import losses
from tests.devices.test_dice_steps import EQUAL, FEATURE, HARD, PADDED, SOFT, dice
from tests.hubert import tiny
from tests.hubert.tiny_models import MEL
from tests.kd import test_model as kd
from tests.kd.test_model import batch, task  # noqa: F401

LOSS, ANGLE, LENGTH = 0.01, 0.005, 0.02


def passed(model, given, seed, low) -> tuple[float, torch.Tensor]:
    """Loss, and the gradients as one vector."""
    torch.manual_seed(seed)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
        loss, _, _ = model(**given)
    assert loss.dtype == torch.float32
    loss.sum().backward()
    grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in grads)
    return loss.item(), torch.cat(grads)


def check(model, given, seed=0) -> None:
    """bfloat16 is within the tolerances, and not what float32 gives."""
    wanted, grads = passed(copy.deepcopy(model), given, seed, False)
    found, lows = passed(model, given, seed, True)
    angle = 1 - torch.cosine_similarity(grads.double(), lows.double(), dim=0).item()
    length = (lows.norm() / grads.norm()).item()
    print(f"loss {found / wanted - 1:+.1e}, angle {angle:.1e}, length {length - 1:+.1e}")
    assert found == pytest.approx(wanted, rel=LOSS)
    assert angle < ANGLE and length == pytest.approx(1, abs=LENGTH)
    assert not torch.equal(grads, lows)


@pytest.mark.parametrize(
    "conf",
    [
        {"loss": [HARD]},
        {"loss": [SOFT]},
        {"loss": [FEATURE]},
        {"loss": [HARD, FEATURE], "features_pen": 10.0},
        {"loss": [HARD], "head": "linear"},
        {"loss": [SOFT], "student": MEL | {"conv_dim": [8, 8]}},
    ],
    ids=["hard", "soft", "feature", "penalty", "linear", "mel"],
)
@pytest.mark.parametrize("lengths", [EQUAL, PADDED], ids=["cut", "padded"])
def test_losses_of_dicehubert(conf, lengths):
    soft = SOFT in conf["loss"]
    check(dice(**conf), tiny.batch(lengths, tiny.codebook() if soft else None))


CTC_ONLY = {"ctc_weight": 0.9, "kd_ctc": 1.0}
SAMPLES = 1000


@pytest.mark.parametrize(
    "conf",
    [
        {"kd_alpha": 0.0},
        {"kd_alpha": 1.0, "kd_beta": 0.0},
        {"kd_alpha": 1.0, "kd_temperature": 4.0},
        {"kd_alpha": 0.5, "train_samples": SAMPLES},
        CTC_ONLY,
        *({"kd_alpha": 1.0, "kd_beta": 1.0, "unc_norm": norm} for norm in losses.UNC_NORMS),
        {"kd_alpha": 1.0, "kd_beta": 1.0, "unc_vector": "std"},
        {"kd_alpha": 1.0, "kd_beta": 1.0, "unc_vector": "log_variance"},
    ],
    ids=lambda conf: "-".join(map(str, conf.values())),
)
def test_losses_of_recognisers(task, batch, conf):  # noqa: F811
    decoder = {"train_samples": conf.get("train_samples", 0)}
    conf = {k: v for k, v in conf.items() if k != "train_samples"}
    said = kd.cached(kd.build(task, seed=1), batch, with_ctc=True)
    model = kd.build(task, teachers=[{"name": "a", "weight": 1.0}], decoder=decoder, **conf)
    check(model.train(), said)
