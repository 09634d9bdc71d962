"""The model: its losses against plain references, what it normalises by, and its refusals."""

import math

import numpy as np
import pytest
import torch

from espnet_dice.dice import loss_terms, losses
from espnet_dice.hubert.models import mask, students
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.io.errors import ConfigError, DataError, DiceError
from espnet_dice.labels import targets
from tests.hubert import tiny
from tests.hubert.tiny_models import ENCODER

LENGTHS = {"a": 9000, "b": 16000, "c": 5005}


@pytest.fixture(scope="module")
def codebook():
    return tiny.codebook()


@pytest.fixture
def stored(monkeypatch, codebook):
    """A label store that needs no directory."""

    def on(self, device):
        return [codebook.as_dict()]

    monkeypatch.setattr(loss_terms.SoftLabels, "_on", on)


class Teacher:
    """A frozen model in place of a checkpoint: what loss_terms.Feature uses of it."""

    layers, dim, key = 3, 5, "key"

    def __init__(self):
        torch.manual_seed(9)
        self.weight = torch.randn(4, 5)
        self.asked = []

    def to(self, device):
        return self

    def __call__(self, speech, lengths, layers=None):
        self.asked.append((speech, lengths, layers))
        frames = speech.unfold(1, 400, 320)
        stats = torch.stack([frames.mean(-1), frames.std(-1), *frames[..., :2].unbind(-1)], -1)
        return [(k + 1) * stats @ self.weight for k in range(layers + 1)]


@pytest.fixture
def teacher(monkeypatch):
    made = Teacher()
    monkeypatch.setattr(loss_terms.Feature, "_load", lambda self, device: made)
    return made


def drawn(utt, samples, **conf):
    """The mask that an utterance has in validation."""
    return mask.span_mask(n_frames(samples), mask.utterance_rng(0, utt), **conf)


def log_probs(model, batch, row, samples, masked):
    """log p of the utterance alone, (T, K) float64."""
    speech = batch["speech"][row : row + 1, :samples]
    hidden = model.student(speech, None, torch.from_numpy(masked)[None])
    x = model.student.final(hidden[-1])[0].double()
    (head,) = model.heads
    p = x @ head.project.weight.double().T + head.project.bias.double()
    cos = torch.nn.functional.cosine_similarity(p[:, None], head.embeddings.double()[None], dim=-1)
    return torch.log_softmax(cos / 0.1, -1).detach().numpy()


def test_what_is_reported_is_no_part_of_the_loss():
    """Where gradients accumulate, ESPnet's trainer divides the loss in place."""
    loss, stats, _ = tiny.model()(**tiny.batch(LENGTHS))
    before = float(stats["loss"])
    loss /= 8
    assert float(stats["loss"]) == before == pytest.approx(8 * loss.item())


def test_hard_loss_and_accuracies_are_those_of_a_plain_loop():
    model, batch = tiny.model(), tiny.batch(LENGTHS)
    loss, stats, weight = model(**batch)
    lost, right_m, right_u = [], [], []
    for row, (utt, samples) in enumerate(LENGTHS.items()):
        masked = drawn(utt, samples)
        log_p = log_probs(model, batch, row, samples, masked)
        for t, m in enumerate(masked):
            z = int(batch["labels"][row, t])
            (right_m if m else right_u).append(log_p[t].argmax() == z)
            if m:
                lost.append(-log_p[t, z])
    assert loss.item() == pytest.approx(math.fsum(lost) / len(lost), abs=1e-4)
    assert weight.item() == len(lost)
    assert stats["acc_m"].item() == pytest.approx(np.mean(right_m))
    assert stats["acc_u"].item() == pytest.approx(np.mean(right_u))
    total = sum(n_frames(n) for n in LENGTHS.values())
    assert stats["masked"].item() == pytest.approx(len(lost) / total)


@pytest.mark.parametrize("tau", [1.0, 5.0])
def test_soft_loss_is_the_divergence_from_exact_labels(stored, codebook, tau):
    model = tiny.model(loss=[{"name": "dice_soft", "conf": {"tau": tau}}])
    batch = tiny.batch(LENGTHS, codebook)
    loss, _, weight = model(**batch)
    lost = []
    for row, (utt, samples) in enumerate(LENGTHS.items()):
        masked = drawn(utt, samples)
        log_p = log_probs(model, batch, row, samples, masked)[masked]
        features = tiny.feature(utt, n_frames(samples))[masked]
        p = targets.soft_labels(features, codebook.centroids, tau)
        lost += (p * (np.log(p) - log_p)).sum(-1).tolist()
    assert weight.item() == len(lost)
    assert loss.item() == pytest.approx(math.fsum(lost) / len(lost), abs=2e-3)


def test_hard_labels_of_records_are_their_first_column(codebook):
    model = tiny.model()
    records = tiny.batch(LENGTHS, codebook)
    ids = {**records, "labels": records["labels"][..., 0]}
    torch.testing.assert_close(model(**records)[0], model(**ids)[0])


def test_feature_loss_is_eq_1(teacher):
    conf = {"layers": [[1, 2], [2, 3]], "alphas": [0.3, 2.0]}
    model = tiny.model(loss=[{"name": "dice_feature", "conf": conf}], teacher="x", mask_prob=0.0)
    batch = tiny.batch({"a": 9000, "b": 9000})
    del batch["labels"], batch["labels_lengths"]
    loss, stats, weight = model(**batch)
    assert set(stats) == {"loss", "masked"} and stats["masked"] == 0
    assert weight.item() == 2 * n_frames(9000)
    theirs = Teacher()(batch["speech"], None, 3)
    ours = model.student(batch["speech"])
    wanted = 0.0
    for (s, t), alpha, project in zip(
        conf["layers"], conf["alphas"], model.terms["dice_feature"].projections, strict=True
    ):
        mapped = ours[s].double() @ project.weight.double().T
        wanted += alpha * ((mapped - theirs[t].double()) ** 2).mean()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)
    assert teacher.asked[0][1:] == (None, 3)
    project.weight.grad = None
    loss.backward()
    assert project.weight.grad.abs().sum() > 0


def test_padding_is_no_frame_of_the_feature_loss(teacher):
    loss = [{"name": "dice_feature", "conf": {"layers": [[2, 3]]}}]
    model = tiny.model(loss=loss, teacher="x", mask_prob=0.0)
    whole, parts = together_and_alone(model, LENGTHS)
    assert whole == pytest.approx(parts, rel=1e-4)


def test_ssl_and_feature_add_up(teacher):
    both = [{"name": "dice_hard"}, {"name": "dice_feature", "weight": 0.1}]
    model = tiny.model(loss=both, teacher="x")
    loss, stats, weight = model(**tiny.batch({"a": 9000, "b": 9000}))
    assert {"loss_hard", "loss_feature", "acc_m"} <= set(stats)
    assert loss.item() == pytest.approx(
        stats["loss_hard"].item() + 0.1 * stats["loss_feature"].item(), rel=1e-5
    )
    masked = sum(drawn(u, 9000).sum() for u in "ab")
    assert weight.item() == masked


@torch.no_grad()
def convolved(model, wave):
    """The output of the stem's convolutions, in float64 and step by step: (C, T)."""
    x = torch.from_numpy(wave).double()[None, None]
    for layer in model.student.feature_extractor.conv_layers:
        x = torch.nn.functional.conv1d(x, layer.conv.weight.double(), stride=layer.conv.stride)
        if getattr(layer, "layer_norm", None) is not None:  # a norm of each channel over time
            norm = layer.layer_norm
            mean, var = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
            x = (x - mean) / (var + norm.eps).sqrt()
            x = x * norm.weight.double()[:, None] + norm.bias.double()[:, None]
        x = 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    return x[0]


@pytest.mark.parametrize("lengths", [LENGTHS, {"a": 9000, "b": 9000}])
def test_the_penalty_on_the_stems_features_is_fairseqs(lengths):
    """loss / sample_size, where loss = Σ -log p + 10 · mean(features²) · sample_size."""
    plain, penal = (tiny.model(loss="dice_hard", features_pen=w) for w in (0.0, 10.0))
    with torch.no_grad():
        for p, q in zip(plain.parameters(), penal.parameters(), strict=True):
            p += 0.05 * torch.randn_like(p)
            q.copy_(p)
    batch = tiny.batch(lengths)
    loss, stats, weight = plain(**batch)
    found, shown, same = penal(**batch)
    features = [convolved(plain, tiny.speech(n)) for n in lengths.values()]
    wanted = sum(float(x.square().sum()) for x in features) / sum(x.numel() for x in features)
    sample_size = float(weight)
    of_fairseq = (float(loss) * sample_size + 10 * wanted * sample_size) / sample_size
    assert float(found) == pytest.approx(of_fairseq, rel=1e-5) and same == weight
    assert float(shown["loss_features_pen"]) == pytest.approx(wanted, rel=1e-5)
    assert float(shown["loss_hard"]) == pytest.approx(float(loss), rel=1e-6)
    assert "loss_features_pen" not in stats and wanted > 1e-3


def test_the_penaltys_gradient_is_scaled_as_the_stems_others_are():
    """fairseq takes the penalty behind GradMultiply."""
    model, without = tiny.model(features_pen=10.0), tiny.model()
    batch = tiny.batch({"a": 9000})
    convs = [m.student.feature_extractor.conv_layers[-1].conv.weight for m in (model, without)]
    whole, of_loss = (
        torch.autograd.grad(m(**batch)[0].sum(), conv)[0]
        for m, conv in zip((model, without), convs, strict=True)
    )
    x = batch["speech"][:, None]
    for layer in model.student.feature_extractor.conv_layers:
        x = layer(x)
    alone = torch.autograd.grad(x.square().mean(), convs[0])[0]
    assert model.student.feature_grad_mult == 0.1
    torch.testing.assert_close(whole - of_loss, 0.1 * 10 * alone, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_the_penalty_of_a_student_that_sees_lengths_apart(training):
    conf = {"encoder": "conformer", "encoder_conf": ENCODER, "conv_dim": [8] * 7}
    student = students.build("espnet", conf)
    lengths = torch.tensor(list(LENGTHS.values()))
    speech = tiny.batch(LENGTHS)["speech"]
    student.train(training)
    with torch.no_grad(), student.measured() as squares:
        student(speech, lengths)
    alone = []
    for row, n in zip(speech, lengths, strict=True):
        with torch.no_grad(), student.measured() as one:
            student(row[None, :n])
        alone += one
    assert len(squares) == (1 if training else 3)
    assert float(losses.features_pen(squares)) == pytest.approx(
        float(losses.features_pen(alone)), rel=1e-5
    )
    with torch.no_grad():
        student(speech, lengths)
    assert len(squares) == (1 if training else 3)


def test_default_layers_are_of_the_same_height(teacher):
    assert loss_terms.matched_layers(12, 12) == [[n, n] for n in range(1, 13)]
    assert loss_terms.matched_layers(2, 12) == [[1, 6], [2, 12]]
    model = tiny.model(loss="dice_feature", teacher="x")
    resolved = model.terms["dice_feature"].resolved()
    assert resolved == {"layers": [[1, 2], [2, 3]], "alphas": [0.5, 0.5], "teacher_dim": 5}


def test_a_trained_student_is_built_without_its_teacher(teacher, monkeypatch):
    model = tiny.model(loss="dice_feature", teacher="x")
    monkeypatch.undo()
    entry = {"name": "dice_feature", "conf": model.terms["dice_feature"].resolved()}
    again = tiny.model(seed=1, loss=[entry])
    again.load_state_dict(model.state_dict())
    with pytest.raises(ConfigError, match="--teacher"):
        again(**tiny.batch({"a": 9000}))


def together_and_alone(model, lengths, **kwargs):
    """The loss of a batch, and what a distributed trainer makes of one utterance a process."""
    whole, _, _ = model(**tiny.batch(lengths, **kwargs))
    total = weights = 0.0
    for utt, n in lengths.items():
        loss, _, weight = model(**tiny.batch({utt: n}, **kwargs))
        total += loss.item() * weight.item()
        weights += weight.item()
    return whole.item(), total / weights


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("unmasked", [0.0, 0.5])
def test_the_mean_is_over_the_frames_of_all_processes(norm, unmasked):
    """…and no utterance's mask, padding or norm depends on its neighbours."""
    stable = norm == "layer"
    student = {"feat_extract_norm": norm, "do_stable_layer_norm": stable, "conv_bias": stable}
    model = tiny.model(student=student, unmasked_weight=unmasked)
    whole, parts = together_and_alone(model, {**LENGTHS, "tiny": 730})
    assert whole == pytest.approx(parts, abs=1e-4)


def test_masks_are_drawn_anew_in_training_and_stay_in_validation():
    model, batch = tiny.model(), tiny.batch(LENGTHS)
    assert model(**batch)[0] == model(**batch)[0]
    model.train()
    torch.manual_seed(0)
    drawn = [model(**batch)[0].item() for _ in range(4)]
    assert len(set(drawn)) == 4
    torch.manual_seed(0)
    assert model(**batch)[0].item() == drawn[0]


def test_without_masks_all_frames_can_count():
    model = tiny.model(mask_prob=0.0, unmasked_weight=1.0)
    _, stats, weight = model(**tiny.batch(LENGTHS))
    assert weight.item() == sum(n_frames(n) for n in LENGTHS.values())
    assert stats["masked"] == 0 and stats["acc_m"].isnan() and not stats["acc_u"].isnan()


@pytest.mark.parametrize("penalty", [0.0, 10.0])
def test_a_batch_without_a_masked_frame_weighs_nothing(penalty):
    model = tiny.model(features_pen=penalty).train()
    loss, _, weight = model(**tiny.batch({"a": 400, "b": 719}))
    loss.backward()
    assert loss.item() == 0 and weight.item() == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_state_dict_is_the_student_the_head_and_the_projections(stored, teacher, codebook):
    both = [{"name": "dice_soft"}, {"name": "dice_feature"}]
    model = tiny.model(loss=both, teacher="x", labels="y")
    model(**tiny.batch({"a": 9000}, codebook))
    names = {key.partition(".")[0] for key in model.state_dict()}
    assert names == {"student", "heads", "terms"}
    terms_ = [key for key in model.state_dict() if key.startswith("terms")]
    assert terms_ == [f"terms.dice_feature.projections.{k}.weight" for k in (0, 1)]


@pytest.mark.parametrize("kind", ["espnet", "conv"])
def test_other_students_train_too(kind):
    from espnet_dice.dice.model import DiceHubertModel
    from espnet_dice.hubert.models import students

    conf = {"conv_dim": [8] * 7}
    if kind == "espnet":
        encoder = {"output_size": 16, "attention_heads": 2, "linear_units": 16, "num_blocks": 1}
        conf |= {"encoder": "transformer", "encoder_conf": encoder}
    else:
        conf |= {"hidden_size": 16, "num_hidden_layers": 1, "kernel_size": 3}
    student = students.build(kind, conf)
    model = DiceHubertModel(student, [{"name": "dice_hard"}], n_clusters=tiny.K).train()
    loss, _, weight = model(**tiny.batch({"a": 9000, "b": 9000}))
    loss.backward()
    assert weight > 0 and model.heads[0].embeddings.grad.abs().sum() > 0
    assert all(p.grad is not None for p in student.feature_extractor.parameters())


def test_bfloat16_stays_near_float32():
    model = tiny.model().train()
    batch = tiny.batch({"a": 9000, "b": 9000})
    torch.manual_seed(0)
    wanted, _, _ = model(**batch)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _, _ = model(**batch)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(wanted.item(), rel=0.02)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_float16_that_overflows_is_named_and_stopped(monkeypatch):
    model = tiny.model()
    plain = model.student.forward

    def overflowing(speech, lengths, mask):
        hidden = [h.half() for h in plain(speech, lengths, mask)]
        hidden[-1][1] *= torch.tensor(1e30).half()
        return hidden

    monkeypatch.setattr(model.student, "forward", overflowing)
    model.heads.half()
    with pytest.raises(DiceError, match=r"(?s)not finite.*float16.*utterances: b: float16 over"):
        model(**tiny.batch({"a": 9000, "b": 9000, "c": 9000}))


def test_lost_parameters_are_named():
    model = tiny.model().train()
    with torch.no_grad():
        model.student.encoder.layers[0].attention.q_proj.weight[0, 0] = torch.nan
    batch = tiny.batch({"a": 9000, "b": 9000})
    batch["speech"][1] = 0
    with pytest.raises(DiceError, match=r"layers\.0\.attention\.q_proj\.weight.*silent: b"):
        model(**batch)


def test_labels_that_do_not_fit_are_refused(codebook):
    model, batch = tiny.model(), tiny.batch(LENGTHS)
    with pytest.raises(DataError, match="c: 15 frames of speech, 14 labels"):
        model(**{**batch, "labels_lengths": batch["labels_lengths"] - torch.tensor([0, 0, 1])})
    with pytest.raises(DataError, match="a: there are no labels"):
        model(**{k: v for k, v in batch.items() if not k.startswith("labels")})
    soft = tiny.model(loss="dice_soft")
    with pytest.raises(ConfigError, match="dice_labels"):
        soft(**batch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": []}, "must be a list"),
        ({"loss": [{"nam": "dice_hard"}]}, "an entry has name, weight and conf"),
        ({"loss": [{"name": "hubert"}]}, "no such loss 'hubert'; one of dice_hard, dice_soft"),
        ({"loss": [{"name": "dice_hard"}] * 2}, "listed twice"),
        ({"loss": [{"name": "dice_soft", "conf": {"tua": 5}}]}, "no key 'tua'; its keys: tau"),
        ({"loss": [{"name": "dice_soft", "conf": {"tau": 0}}]}, "tau must be > 0"),
        ({"mask_prob": 0.0}, "no frame counts"),
        ({"masked_weight": 0.0}, "no frame counts"),
        ({"features_pen": -1.0}, "features_pen must be >= 0, not -1"),
    ],
)
def test_a_bad_config_is_named(change, message):
    with pytest.raises(ConfigError, match=message):
        tiny.model(**change)


@pytest.mark.parametrize("layers", [[[3, 1]], [[1, 4]], [[1]]])
def test_layers_that_do_not_exist_are_refused(teacher, layers):
    with pytest.raises(ConfigError, match="the student has 2, the teacher 3"):
        tiny.model(loss=[{"name": "dice_feature", "conf": {"layers": layers}}], teacher="x")
