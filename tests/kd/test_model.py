"""The model inside ESPnet: against plain ESPnet, against the references, and its refusals."""

import argparse
import copy

import numpy as np
import pytest
import torch

from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.kd import cache, teachers
from tests import references

TOKENS = ["<blank>", "<unk>", "▁", *"ABCDE", "<sos/eos>"]
V = len(TOKENS)
ENCODER = {
    "output_size": 16,
    "attention_heads": 2,
    "linear_units": 16,
    "num_blocks": 1,
    "dropout_rate": 0.0,
    "positional_dropout_rate": 0.0,
    "attention_dropout_rate": 0.0,
}
DECODER = {
    "attention_heads": 2,
    "linear_units": 16,
    "num_blocks": 1,
    "dropout_rate": 0.0,
    "positional_dropout_rate": 0.0,
    "self_attention_dropout_rate": 0.0,
    "src_attention_dropout_rate": 0.0,
}
LOSS = {"ctc_weight": 0.3, "lsm_weight": 0.15}


@pytest.fixture(scope="module")
def task():
    import espnet_dice

    espnet_dice.register()
    from espnet2.tasks.asr import ASRTask

    return ASRTask


def build(
    task, seed=0, model="uncertainty_kd", decoder=None, tokens=TOKENS, specaug=None, **model_conf
):
    """An ESPnet ASR model in eval mode, from a config as a recipe would give it."""
    ours = model == "uncertainty_kd"
    conf = task.get_default_config()
    conf.update(
        token_list=tokens,
        input_size=20,
        frontend=None,
        specaug=specaug and "specaug",
        specaug_conf=specaug or {},
        normalize=None,
        encoder="transformer",
        encoder_conf=dict(ENCODER),
        decoder="uncertainty_transformer" if ours else "transformer",
        decoder_conf={**DECODER, **(decoder or {})},
        model=model,
        model_conf={**LOSS, **model_conf},
        init=None,
    )
    torch.manual_seed(seed)
    return task.build_model(argparse.Namespace(**copy.deepcopy(conf))).eval()


@pytest.fixture
def batch():
    gen = torch.Generator().manual_seed(7)
    text = torch.randint(2, V - 1, (3, 4), generator=gen)
    lengths = torch.tensor([4, 2, 3])
    text[torch.arange(4)[None] >= lengths[:, None]] = -1
    return {
        "speech": torch.randn(3, 59, 20, generator=gen),
        "speech_lengths": torch.tensor([59, 43, 51]),
        "text": text,
        "text_lengths": lengths,
    }


def test_convolutions_lie_channels_last_in_training_alone(task):
    net = build(task)
    before = copy.deepcopy(net.state_dict())
    convs = [m.weight for m in net.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert convs and all(weight.is_contiguous() for weight in convs)
    assert net.train() is net and net.training
    now = [m.weight for m in net.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(one is other for one, other in zip(now, convs, strict=True))  # the optimizer's
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in convs)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    again = build(task, seed=1)
    again.load_state_dict(net.state_dict())
    assert all(p.is_contiguous() for p in again.parameters())


def cached(model, batch, name="teacher1", **kwargs):
    """The batch with a teacher's outputs as its cache would give them."""
    args = [batch[k] for k in ("speech", "speech_lengths", "text", "text_lengths")]
    said = teachers.targets(model, *args, **kwargs)
    rows = []
    for b, n in enumerate(batch["text_lengths"].tolist()):
        ids = np.append(batch["text"][b, :n].numpy(), V - 1)
        var = None if said.variances is None else said.variances[b, : n + 1].numpy()
        rows.append(torch.from_numpy(cache.pack(said.log_probs[b, : n + 1].numpy(), var, ids)))
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    more = {name: padded, f"{name}_lengths": torch.tensor([len(r) for r in rows])}
    if said.ctc_log_probs is not None:
        more[f"{name}_ctc"] = said.ctc_log_probs
        more[f"{name}_ctc_lengths"] = said.ctc_lengths
    return {**batch, **more, "utt_id": ["utt1", "utt2", "utt3"]}


def in_a_batch(model, speech, speech_lengths, text, text_lengths):
    """What a student says in training: it hears the padding, as ESPnet's models do."""
    memory, frames = model.encode(speech, speech_lengths)
    logits, variances = teachers.forced(model, memory, frames, text, text_lengths)
    said = (logits.log_softmax(-1), variances, model.ctc.log_softmax(memory), frames)
    return teachers.Targets(*(x.detach() for x in said))


def test_kd_off_is_plain_espnet(task, batch):
    plain = build(task, model="espnet")
    ours = build(task, decoder={"variance": "none"})
    ours.load_state_dict(plain.state_dict())
    (want, want_stats, _), (got, got_stats, _) = plain(**batch), ours(**batch)
    assert got.item() == pytest.approx(want.item(), abs=1e-5)
    for key in ("loss_ctc", "loss_att", "acc", "cer", "wer", "cer_ctc"):
        assert got_stats[key] == pytest.approx(want_stats[key], abs=1e-5), key
    want.backward()
    got.backward()
    ours_grads = dict(ours.named_parameters())
    for name, p in plain.named_parameters():
        torch.testing.assert_close(ours_grads[name].grad, p.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("ctc_weight", [0.0, 0.3])
def test_what_is_reported_is_no_part_of_the_loss(task, batch, ctc_weight):
    """Where gradients accumulate, ESPnet's trainer divides the loss in place."""
    loss, stats, _ = build(task, ctc_weight=ctc_weight)(**batch)
    before = {key: float(stats[key]) for key in ("loss", "loss_att")}
    loss /= 8
    assert {key: float(stats[key]) for key in before} == before
    assert before["loss"] == pytest.approx(8 * loss.item())


def test_without_samples_the_head_changes_no_loss(task, batch):
    plain = build(task, model="espnet")
    ours = build(task, decoder={"train_samples": 0})
    ours.load_state_dict(plain.state_dict(), strict=False)
    assert ours(**batch)[0].item() == pytest.approx(plain(**batch)[0].item(), abs=1e-5)


def test_alpha_zero_is_exactly_the_plain_loss(task, batch):
    entry = [{"name": "a", "weight": 1.0}]
    student = build(task, kd_alpha=0.0, kd_beta=0.7, teachers=entry)
    plain = build(task)
    losses = []
    for model in (student, plain):
        torch.manual_seed(3)
        losses.append(model(**batch)[0])
    assert losses[0].item() == losses[1].item()


@pytest.mark.parametrize("convex", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_the_whole_loss_against_the_references(task, batch, beta, convex):
    alpha, weights, temperature = 0.6, [0.75, 0.25], 2.0
    student = build(
        task,
        kd_alpha=alpha,
        kd_beta=beta,
        kd_temperature=temperature,
        kd_convex=convex,
        teachers=[{"name": n, "weight": w} for n, w in zip("ab", weights, strict=True)],
        decoder={"train_samples": 0},
    )
    tutors = [build(task, seed=s) for s in (1, 2)]
    full = cached(tutors[1], cached(tutors[0], batch), "teacher2")
    _, stats, _ = student(**full)

    lengths = (batch["text_lengths"] + 1).tolist()
    args = [batch[k] for k in ("speech", "speech_lengths", "text", "text_lengths")]
    own = in_a_batch(student, *args)
    tok = unc = 0.0
    for weight, tutor in zip(weights, tutors, strict=True):
        said = teachers.targets(tutor, *args)
        probs = [x.log_probs.double().exp().numpy() for x in (own, said)]
        variances = [x.variances.double().numpy() for x in (own, said)]
        tok += weight * references.token_kd(*probs, lengths, temperature) / 3
        unc += weight * references.uncertainty_matching(*variances, lengths, "variance", "nmse") / 3
    ids = [[*batch["text"][b, : n - 1].tolist(), V - 1] for b, n in enumerate(lengths)]
    nll = references.smoothed_nll(own.log_probs.double().numpy(), ids, lengths, 0.15)
    keep = (lambda w: 1 - w) if convex else (lambda w: 1.0)
    kd = tok if beta == 0 else keep(beta) * tok + beta * unc
    want = keep(alpha) * nll + alpha * kd
    assert stats["loss_att"].item() == pytest.approx(want, rel=1e-5)
    assert stats["loss_nll"].item() == pytest.approx(nll, rel=1e-5)
    total = 0.3 * stats["loss_ctc"].item() + 0.7 * want
    assert stats["loss"].item() == pytest.approx(total, rel=1e-5)


class InPlace(torch.nn.Module):
    """Normalises in place, as ESPnet's GlobalMVN does with features."""

    def forward(self, x, lengths):
        x -= 1.0
        x *= 0.5
        return x, lengths


def test_cached_and_online_teachers_say_the_same(task, batch):
    conf = {"kd_alpha": 0.5, "kd_beta": 0.5, "kd_ctc": 0.3, "teacher_samples": 0}
    tutor = build(task, seed=1)
    student = build(task, teachers=[{"name": "a", "weight": 1.0}], **conf)
    online = build(
        task, teachers=[{"name": "a", "weight": 1.0, "exp": "x"}], teacher_mode="online", **conf
    )
    online._online.models = [tutor.requires_grad_(False)]
    for model in (tutor, student, online):
        model.normalize = InPlace()
    results = []
    for model, data in ((student, cached(tutor, batch, with_ctc=True)), (online, batch)):
        torch.manual_seed(1)
        results.append(model(**{**data, "speech": data["speech"].clone()})[0].item())
    assert results[0] == pytest.approx(results[1], rel=1e-6)


def test_ctc_kd_against_the_reference(task, batch):
    tutor = build(task, seed=1)
    student = build(task, kd_ctc=1.0, kd_temperature=1.5, teachers=[{"name": "a", "weight": 1.0}])
    _, stats, _ = student(**cached(tutor, batch, with_ctc=True))
    args = [batch[k] for k in ("speech", "speech_lengths", "text", "text_lengths")]
    said = in_a_batch(student, *args), teachers.targets(tutor, *args, with_ctc=True)
    frames = torch.minimum(
        *(s.ctc_lengths for s in said)
    ).tolist()  # padding gives the student more
    probs = [s.ctc_log_probs.double().exp().numpy() for s in said]
    want = references.token_kd(*probs, frames, 1.5) / 3
    assert stats["loss_ctc_kd"].item() == pytest.approx(want, rel=1e-5)
    assert stats["loss"].item() == pytest.approx(
        0.3 * want + 0.7 * stats["loss_att"].item(), rel=1e-5
    )


def test_padding_never_contributes(task, batch):
    tutor = build(task, seed=1)
    student = build(
        task,
        kd_alpha=0.5,
        kd_beta=0.5,
        teachers=[{"name": "a", "weight": 1.0}],
        decoder={"train_samples": 0},
    )
    # ESPnet's subsampling sees one frame more of a padded utterance: keep the speech of one length
    full = cached(tutor, {**batch, "speech_lengths": torch.tensor([59, 59, 59])})
    together = student(**full)[0].item()
    alone = 0.0
    for b in range(3):
        n, t = int(batch["text_lengths"][b]), int(full["speech_lengths"][b])
        one = {
            "speech": full["speech"][b : b + 1, :t],
            "speech_lengths": full["speech_lengths"][b : b + 1],
            "text": full["text"][b : b + 1, :n],
            "text_lengths": full["text_lengths"][b : b + 1],
            "teacher1": full["teacher1"][b : b + 1, : n + 1],
            "teacher1_lengths": full["teacher1_lengths"][b : b + 1],
        }
        alone += student(**one)[0].item() / 3
    assert together == pytest.approx(alone, rel=1e-4)


def test_kd_teaches(task, batch):
    """A few steps of KD alone bring the student to the teacher."""
    tutor = build(task, seed=1)
    student = build(task, kd_alpha=1.0, kd_beta=0.5, teachers=[{"name": "a", "weight": 1.0}])
    full = cached(tutor, batch)
    optim = torch.optim.Adam(student.parameters(), lr=1e-2)
    history = []
    for _ in range(30):
        loss, stats, _ = student.train()(**full)
        optim.zero_grad()
        loss.backward()
        optim.step()
        history.append((stats["loss_tok"].item(), stats["loss_unc"].item()))
    assert history[-1][0] < history[0][0] and history[-1][1] < 0.5 * history[0][1]


def test_sampled_decoding_repeats(task, batch):
    model = build(task, decoder={"decode_samples": 20})
    plain = build(task)
    memory, _ = model.encode(batch["speech"][:1], batch["speech_lengths"][:1])
    sos = torch.tensor([[V - 1]])
    first, again = (model.decoder.batch_score(sos, [None], memory)[0] for _ in range(2))
    assert torch.equal(first, again)
    assert first.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    assert not torch.allclose(first, plain.decoder.batch_score(sos, [None], memory)[0], atol=1e-3)


def test_ctc_frames_may_differ_by_two_and_no_more():
    """ESPnet's subsampling depends on the padding; what is not common does not count."""
    gen = torch.Generator().manual_seed(0)
    student = torch.randn(2, 6, V, generator=gen)
    said = torch.randn(2, 8, V, generator=gen)
    tutor = teachers.Teacher("a", 1.0)
    found = teachers.Targets(said, None, said, torch.tensor([8, 3]))
    mine, theirs, valid = teachers.ctc_pair(student, torch.tensor([6, 4]), found, tutor)
    assert torch.equal(mine, student) and torch.equal(theirs, said[:, :6])
    assert valid.sum(1).tolist() == [6, 3]
    with pytest.raises(DataError, match="teacher a has 3 CTC frames where the student has 6"):
        teachers.ctc_pair(student, torch.tensor([6, 6]), found, tutor)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"kd_alpha": 0.5}, "needs at least one entry"),
        ({"kd_alpha": 0.5, "teachers": [{"name": "a", "weight": 0.6}]}, "must sum to 1"),
        ({"kd_alpha": 1.5, "teachers": [{"name": "a", "weight": 1.0}]}, r"kd_alpha must be in"),
        ({"kd_alpha": 0.5, "teachers": [{"tag": "a", "weight": 1.0}]}, "name and weight at least"),
        ({"teacher_mode": "offline"}, "teacher_mode must be one of"),
        (
            {"teacher_mode": "online", "teachers": [{"name": "a", "weight": 1.0}]},
            "needs `exp`",
        ),
        ({"kd_temperature": 0.0}, "kd_temperature must be > 0"),
        ({"unc_vector": "x"}, "unc_vector must be one of"),
        ({"unc_norm": "x"}, "unc_norm must be one of"),
        ({"interctc_weight": 0.3}, "no interctc_weight"),
    ],
)
def test_bad_config(task, conf, message):
    with pytest.raises(ConfigError, match=message):
        build(task, **conf)


def test_a_student_without_variances_cannot_match_them(task):
    with pytest.raises(ConfigError, match="student with variances"):
        build(
            task,
            kd_alpha=0.5,
            kd_beta=0.5,
            teachers=[{"name": "a", "weight": 1.0}],
            decoder={"variance": "none"},
        )


def test_bad_teacher_outputs(task, batch):
    entry = [{"name": "libri", "weight": 1.0}]
    student = build(task, kd_alpha=0.5, kd_beta=0.5, teachers=entry)
    tutor = build(task, seed=1)
    with pytest.raises(ConfigError, match="libri.*no `teacher1`"):
        student(**batch)
    full = cached(tutor, batch)
    other = {**full, "text": full["text"].clone()}
    other["text"][1, 0] = 2 if full["text"][1, 0] != 2 else 3
    with pytest.raises(DataError, match="libri.*utt2.*another transcript"):
        student(**other)
    short = {**full, "teacher1_lengths": full["teacher1_lengths"] - 1}
    with pytest.raises(DataError, match="another transcript"):
        student(**short)
    narrow = {**full, "teacher1": full["teacher1"][..., 1:]}
    with pytest.raises(DataError, match="another token list"):
        student(**narrow)
    quiet = cached(build(task, decoder={"variance": "none"}), batch)
    with pytest.raises(ConfigError, match="libri has no variances"):
        student(**quiet)


def test_a_teacher_with_another_token_list():
    with pytest.raises(ConfigError, match="exp/asr_a has another token list .* entry 2"):
        teachers.check_tokens(TOKENS, [*TOKENS[:2], "X", *TOKENS[3:]], "exp/asr_a")
    with pytest.raises(ConfigError, match="train it first"):
        teachers.load("nowhere", "valid.acc.ave.pth", TOKENS)
