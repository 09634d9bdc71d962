"""Heads at several layers, on several codebooks: where they are, and their loss in float64."""

import math

import numpy as np
import pytest
import torch

from espnet_dice.dice import head as kinds
from espnet_dice.dice.heads import Place, places
from espnet_dice.dice.model import DiceHubertModel
from espnet_dice.hubert.models import mask, students
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.labels import codebooks, codec, targets
from tests.hubert import tiny

LENGTHS = {"a": 9000, "b": 12000}
SIZES = (5, 9)
FOUR = [{"codebook": c, "layer": layer} for layer in (1, 2) for c in (0, 1)]


@pytest.fixture(scope="module")
def books():
    """Two codebooks, of 6 and of 4 values of a feature of 10."""
    rng = np.random.default_rng(0)
    made = []
    for k, dim in zip(SIZES, (6, 4), strict=True):
        centroids = rng.normal(size=(k, dim)).astype(np.float32)
        made.append(codec.fit(centroids, rng.normal(size=(400, dim))))
    return codebooks.of(made, [(0, 6), (6, 10)])


def features(utt, frames):
    return np.random.default_rng(list(utt.encode())).normal(size=(frames, 10))


def batch(books, records=False):
    made = tiny.batch(LENGTHS)
    rows = [books.encode(features(u, n_frames(n))).astype(np.int32) for u, n in LENGTHS.items()]
    rows = [torch.from_numpy(row if records else row[:, :2]) for row in rows]
    made["labels"] = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return made


def model(loss="dice_hard", **conf):
    torch.manual_seed(0)
    built = students.build("hubert", {**tiny.STUDENT, **conf.pop("student", {})})
    conf = {"final_dim": 8, "heads": FOUR, **conf}
    return DiceHubertModel(built, [{"name": loss}], n_clusters=SIZES, **conf).eval()


def log_probs(net, number, state, kind):
    """log p of one head, (T, K) float64, by the formulas alone."""
    head, x = net.heads[number], state.double()
    if kind == "linear":
        logits = x @ head.weight.double().T + head.bias.double()
    else:
        p = x @ head.project.weight.double().T + head.project.bias.double()
        e = head.embeddings.double()
        logits = (p @ e.T) / p.norm(dim=1)[:, None] / e.norm(dim=1) / 0.1
    return torch.log_softmax(logits, -1).detach().numpy()


@pytest.mark.parametrize("kind", ["cosine", "linear"])
@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("loss", ["dice_hard", "dice_soft"])
def test_two_layers_and_two_codebooks_against_float64(books, monkeypatch, kind, stable, loss):
    """Σ_heads (Σ_t w_t ℓ_t / Σ_t w_t) / 4, w 1 where masked and 0.25 elsewhere."""
    from espnet_dice.dice import loss_terms

    tables = [book.as_dict() for book in books.books]
    monkeypatch.setattr(loss_terms.SoftLabels, "_on", lambda self, device: tables)
    norm = "layer" if stable else "group"
    student = {"do_stable_layer_norm": stable, "feat_extract_norm": norm, "conv_bias": stable}
    net = model(loss, head=kind, unmasked_weight=0.25, student=student)
    given = batch(books, records=loss == "dice_soft")
    found, stats, weight = net(**given)
    lost = np.zeros(4)
    right: dict[int, list[bool]] = {n: [] for n in range(4)}
    weights = 0.0
    for row, (utt, samples) in enumerate(LENGTHS.items()):
        frames = n_frames(samples)
        masked = mask.span_mask(frames, mask.utterance_rng(0, utt))
        w = np.where(masked, 1.0, 0.25)
        weights += w.sum()
        hidden = net.student(
            given["speech"][row : row + 1, :samples], None, torch.from_numpy(masked)[None]
        )
        for n, place in enumerate(FOUR):
            book, (begin, end) = books.books[place["codebook"]], books.spans[place["codebook"]]
            x = features(utt, frames)[:, begin:end]
            state = hidden[place["layer"]][0]
            if place["layer"] == 2:
                state = net.student.final(state)
            log_p = log_probs(net, n, state, kind)
            z = targets.hard_labels(x, book.centroids)
            if loss == "dice_hard":
                values = -log_p[np.arange(frames), z]
            else:
                p = targets.soft_labels(x, book.centroids, 5.0)
                values = (p * (np.log(p) - log_p)).sum(1)
            lost[n] += (w * values).sum()
            right[n] += (log_p.argmax(1) == z)[masked].tolist()
    wanted = (lost / weights).mean()
    assert found.item() == pytest.approx(wanted, abs=1e-4 if loss == "dice_hard" else 2e-3)
    assert weight.item() == pytest.approx(weights)
    names = [f"acc_m_l{place['layer']}_c{place['codebook']}" for place in FOUR]
    assert {name for name in stats if name.startswith("acc_m")} == {"acc_m", *names}
    for n, name in enumerate(names):
        assert stats[name].item() == pytest.approx(np.mean(right[n]))
    assert stats["acc_m"] == stats[names[-1]]


def test_every_head_learns(books):
    net = model().train()
    net(**batch(books))[0].backward()
    assert all(p.grad.abs().sum() > 0 for p in net.heads.parameters())


def test_records_of_other_codebooks_are_refused(books, monkeypatch):
    from espnet_dice.dice import loss_terms

    tables = [book.as_dict() for book in books.books]
    monkeypatch.setattr(loss_terms.SoftLabels, "_on", lambda self, device: tables)
    given = batch(books, records=True)
    with pytest.raises(DataError, match="come from another label store"):
        model("dice_soft")(**{**given, "labels": given["labels"][..., :-1]})


def test_where_heads_are():
    assert places("last", 1, 12) == [Place(0, 12)]
    assert places("last", 2, 3) == [Place(0, 3), Place(1, 3)]
    # the teacher's layers 4, 8, 12 of 12, K = 100 and 500 each, on a student of 6 and of 2
    heights = [4 / 12, 4 / 12, 8 / 12, 8 / 12, 1, 1]
    assert [p.layer for p in places("matched", 6, 6, heights)] == [2, 2, 4, 4, 6, 6]
    assert [p.layer for p in places("matched", 6, 2, heights)] == [1, 1, 1, 1, 2, 2]
    assert places("matched", 2, 4, [1.0, 0.25]) == [Place(1, 1), Place(0, 4)]
    assert places([{"layer": 3}], 2, 4) == [Place(0, 3)]


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ("lst", "must be last, matched or a list"),
        ([], "must be last, matched or a list"),
        ("matched", "matched needs labels of several codebooks"),
        ([{"codebook": 0}], "an entry has codebook and layer"),
        ([{"layer": 1, "k": 1}], "an entry has codebook and layer"),
        ([{"layer": "1"}], "an entry has codebook and layer"),
        ([{"codebook": 2, "layer": 1}], "no codebook 2: the labels have 2"),
        ([{"layer": 3}], "no layer 3: its layers are 1 to 2"),
        ([{"layer": 0}], "no layer 0"),
        ([{"layer": 1}, {"codebook": 0, "layer": 1}], "listed twice"),
    ],
)
def test_heads_that_cannot_be_are_named(heads, message):
    with pytest.raises(ConfigError, match=message):
        model(heads=heads)


def test_another_kind_of_head_and_factor_are_refused():
    with pytest.raises(ConfigError, match="head must be one of cosine, linear, not 'cos'"):
        model(head="cos")
    with pytest.raises(ConfigError, match="head_lr_factor must be > 0"):
        model(head_lr_factor=0)


def test_a_linear_heads_logits_stay_in_float32_under_autocast():
    head, x = kinds.LinearHead(8, 5), torch.randn(7, 8)
    wanted = torch.nn.functional.linear(x, head.weight, head.bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(head(x), wanted)
        assert head(x.bfloat16()).dtype == torch.float32


def test_blocks_that_no_head_is_above_are_warned_of(caplog):
    """Of labels of the teacher's layer 0, say, with heads: matched."""
    model(heads=FOUR).begin(list)
    model(heads="last").begin(list)
    assert not caplog.records
    model(heads="matched", heights=[0.0, 0.0]).begin(list)
    assert "none is above layer 1: the student's blocks from 2 to 2 learn nothing" in caplog.text


@pytest.mark.parametrize("decay", [False, True])
def test_heads_have_a_learning_rate_of_their_own(books, tmp_path, decay):
    """Adam's first step is ± its rate for every parameter: heads go factor times as far."""
    from espnet_dice.dice.task import DiceHubertTask

    args = DiceHubertTask.get_parser().parse_args(["--output_dir", "x", "--optim", "adam"])
    args.optim_conf, args.exclude_weight_decay = {"lr": 1e-3}, decay
    net = model(head_lr_factor=10.0).train()
    (optimizer,) = DiceHubertTask.build_optimizers(args, net)
    named = dict(net.named_parameters())
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, named.values()))
    before = {name: p.detach().clone() for name, p in named.items()}
    net(**batch(books))[0].backward()
    optimizer.step()
    for name, p in named.items():
        large = p.grad.abs() > 1e-6  # beside Adam's epsilon of 1e-8
        moved = (p.detach() - before[name])[large].abs()
        rate = 1e-2 if name.startswith("heads.") else 1e-3
        if large.any():
            assert math.isclose(float(moved.max()), rate, rel_tol=0.05), name


def test_schedulers_with_one_rate_for_all_refuse_the_factor(tmp_path):
    from espnet_dice.dice.task import DiceHubertTask

    args = DiceHubertTask.get_parser().parse_args(["--output_dir", "x", "--num_classes", "5,9"])
    assert args.num_classes == [5, 9]
    args.model_conf = {"head_lr_factor": 2.0}
    for args.scheduler in ("onecyclelr", "piecewiselinearwarmuplr"):
        with pytest.raises(ConfigError, match=f"scheduler {args.scheduler} gives all parameters"):
            DiceHubertTask.check(args)
