import datetime
import math

import pytest

from espnet_dice.records import train_log as training
from tests.report import made


@pytest.mark.filterwarnings("ignore:No valid stats")
def test_what_espnets_own_reporter_writes(tmp_path):
    torch = pytest.importorskip("torch")
    reporter = pytest.importorskip("espnet2.train.reporter")
    values = {"loss": [3.0, 2.0], "acc": [0.25, 0.5], "grad_norm": [float("nan"), 1e-7]}
    found = reporter.Reporter()
    lines = []
    for epoch in (1, 2):
        found.set_epoch(epoch)
        for part in ("train", "valid"):
            with found.observe(part) as sub:
                stats = {k: torch.tensor(v[epoch - 1]) for k, v in values.items()}
                sub.register(stats, torch.tensor(1.0))
                sub.next()
            seconds = 93700.25 if part == "train" else 61.5
            found.stats[epoch][part]["time"] = datetime.timedelta(seconds=seconds)
        lines.append(f"(trainer:394) INFO: {epoch}epoch results: {found.log_message()}\n")
    (tmp_path / "train.log").write_text("".join(lines))
    run = training.read(tmp_path / "train.log", "x", "asr")
    assert run.epochs == [1, 2]
    for part in (run.train, run.valid):
        assert part["loss"] == [3.0, 2.0] and part["acc"] == [0.25, 0.5]
        assert math.isnan(part["grad_norm"][0]) and part["grad_norm"][1] == pytest.approx(1e-7)
    assert run.seconds == pytest.approx([93761.75] * 2, abs=60)  # above a day, minutes
    assert "time" not in run.train and "total_count" not in run.train


def test_an_epoch_begun_again_counts_once(tmp_path):
    log = made.log(3, {"loss": 4.0, "acc": 0.3}) + "noise: 4epoch:train:1-9batch: loss=9\n"
    log += made.log(2, {"loss": 8.0}, start=3)
    (tmp_path / "train.log").write_text(log)
    run = training.read(tmp_path / "train.log", "x", "asr")
    assert run.epochs == [1, 2, 3, 4]
    assert run.train["loss"] == run.valid["loss"] == [4.0, 2.0, 2.667, 2.0]
    assert run.valid["acc"][:2] == [0.3, 0.15] and all(map(math.isnan, run.valid["acc"][2:]))
    assert run.seconds == [62.0, 63.0, 64.0, 65.0]  # att_plot is drawing, not training


def test_a_run_without_an_epoch_is_left_out(tmp_path):
    for name, text in (("asr_a", made.log(1, {"loss": 1.0})), ("asr_b", "nothing yet\n")):
        made.write(tmp_path / name / "train.log", text)
    made.write(tmp_path / "other_c/train.log", made.log(1, {"loss": 1.0}))
    assert [(r.kind, r.name) for r in training.read_all(tmp_path)] == [("asr", "a")]
