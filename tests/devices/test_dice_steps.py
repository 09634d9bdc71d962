"""A step of every model and loss on a device that is not there: what it gives, where it waits."""

import pytest
import torch

from espnet_dice.dice.model import DiceHubertModel
from espnet_dice.hubert.frozen import FrozenSSLModel
from espnet_dice.hubert.models import students
from tests.devices import waits
from tests.devices.steps import step
from tests.devices.waits import check
from tests.dice import test_heads as several
from tests.hubert import tiny
from tests.hubert.tiny_models import ENCODER, MEL, WAVLM

books = several.books
EQUAL, PADDED = {"a": 9000, "b": 9000}, {"a": 9000, "b": 12000, "c": 5005}
FEATURE = {"name": "dice_feature", "conf": {"layers": [[1, 1], [2, 2]], "teacher_dim": 16}}
HARD, SOFT = {"name": "dice_hard"}, {"name": "dice_soft"}
LAYERED = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
STILL = {"dropout_rate": 0.0, "positional_dropout_rate": 0.0, "attention_dropout_rate": 0.0}


def teacher(kind: str = "base") -> FrozenSSLModel:
    torch.manual_seed(5)
    if kind == "wavlm":
        from transformers import WavLMConfig

        from espnet_dice.hubert.models.wavlm import WavLM

        return FrozenSSLModel(WavLM(WavLMConfig(**tiny.STUDENT, **WAVLM)), "k", "t")
    large = LAYERED if kind == "large" else {}
    model = students.build("hubert", {**tiny.STUDENT, **large})
    return FrozenSSLModel(model, "k", "t", normalize=kind == "large")


def dice(frozen=None, **conf) -> DiceHubertModel:
    """A model in training, with the codebook and the teacher of its terms in place."""
    model = tiny.model(**conf).train()
    if "dice_soft" in model.terms:
        model.terms["dice_soft"]._soft._tables = [tiny.codebook().as_dict()]
    if "dice_feature" in model.terms:
        model.terms["dice_feature"]._teacher.append(frozen or teacher())
    return model


@pytest.mark.parametrize(
    "conf",
    [
        {"loss": [HARD]},
        {"loss": [SOFT]},
        {"loss": [HARD, SOFT, FEATURE], "features_pen": 10.0, "unmasked_weight": 0.5},
        {"head": "linear", "heads": [{"layer": 1}, {"layer": 2}]},
        {"loss": [HARD, {**FEATURE, "weight": {"start": 1, "end": 0, "to": 3}}]},
        {"student": MEL | {"conv_dim": [8, 8]}},
        {"student": MEL | {"conv_dim": [8, 8], "mel_norm": "corpus"}},
        {"student": LAYERED},
        {"student": {"layerdrop": 0.5, "feature_grad_mult": 0.0}},
    ],
    ids=[
        "hard",
        "soft",
        "all",
        "heads",
        "schedule",
        "mel",
        "mel corpus",
        "layer norm",
        "layerdrop",
    ],
)
@pytest.mark.parametrize("lengths", [EQUAL, PADDED], ids=["cut", "padded"])
def test_a_step_of_dicehubert(conf, lengths):
    model = dice(**conf)
    soft = "dice_soft" in model.terms
    found = step(model, tiny.batch(lengths, tiny.codebook() if soft else None))
    student = conf.get("student", {})
    expected = [waits.DICE, waits.LABELS]
    expected += [waits.SCHEDULE] if "updates" in dict(model.named_buffers()) else []
    expected += [waits.PADDED] if lengths == PADDED else []
    plain = "stem" not in student and student != LAYERED
    expected += [waits.GROUP_NORM] if lengths == PADDED and plain else []
    check(found, *expected)


@pytest.mark.parametrize(
    "frozen", [teacher, lambda: teacher(LAYERED), lambda: teacher(kind="wavlm")]
)
def test_a_step_of_feature_distillation_alone(frozen):
    model = dice(frozen(), loss=[FEATURE], mask_prob=0.0)
    given = tiny.batch(EQUAL)
    del given["labels"], given["labels_lengths"]
    check(step(model, given), waits.DICE)


@pytest.mark.parametrize("loss", ["dice_hard", "dice_soft"])
def test_a_step_with_several_codebooks(loss, books):
    model = several.model(loss).train()
    if loss == "dice_soft":
        model.terms[loss]._soft._tables = [book.as_dict() for book in books.books]
    found = step(model, several.batch(books, loss == "dice_soft"))
    check(found, waits.DICE, waits.LABELS, waits.PADDED, waits.GROUP_NORM)


@pytest.mark.parametrize("kind", ["conformer", "transformer", "e_branchformer", "conv"])
def test_a_step_of_other_students(kind):
    conf = {"hidden_size": 16, "num_hidden_layers": 1, "kernel_size": 3, "hidden_dropout": 0.0}
    if kind != "conv":
        more = {"cgmlp_linear_units": 16} if kind == "e_branchformer" else {}
        conf = {"encoder": kind, "encoder_conf": {**ENCODER, **STILL, **more}}
    torch.manual_seed(0)
    student = students.build("conv" if kind == "conv" else "espnet", conf | {"conv_dim": [8] * 7})
    model = DiceHubertModel(student, [HARD], n_clusters=tiny.K).train()
    check(step(model, tiny.batch(EQUAL)), waits.DICE, waits.LABELS)


class InSSLTask(torch.nn.Module):
    """What ESPnet's SSL task does with a loss: one linear encoder, and masks."""

    def __init__(self, loss):
        super().__init__()
        self.encoder, self.loss = torch.nn.Linear(6, 8), loss

    def forward(self, x, lengths, text, mask):
        loss, stats = self.loss([self.encoder(x)], lengths, text, lengths, {"mask_m": mask})
        return loss, stats, lengths.sum()


@pytest.mark.parametrize("kind", ["Hard", "Soft"])
def test_a_step_of_the_losses_in_espnets_ssl_task(kind):
    from espnet_dice.dice import ssl_losses

    torch.manual_seed(0)
    if kind == "Hard":
        loss, records = ssl_losses.Hard(8, tiny.K), None
    else:
        loss, records = ssl_losses.Soft(8, tiny.K, "x"), tiny.codebook()
        loss._soft._tables = [records.as_dict()]
    labels = tiny.batch(PADDED, records)["labels"]
    lengths = torch.tensor([labels.size(1), 20, 9])
    x, mask = torch.randn(3, labels.size(1), 6), torch.rand(3, labels.size(1)) < 0.5
    given = {"x": x, "lengths": lengths, "text": labels, "mask": mask}
    check(step(InSSLTask(loss), given), waits.SSL_LOSS)
