import json
import math

import pytest
import yaml

from espnet_dice.hubert import upstreams
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.results import dice_results
from espnet_dice.results.dice_results import Row
from espnet_dice.stages import dice_results as dice_results_stage

SCORES = {"char": 40.0, "sid": 90.0, "kws": 12.0}


@pytest.fixture
def models(monkeypatch):
    """Source → key of its model; the tests change it."""
    keys = {}

    def key_of(source):
        if source not in keys:
            raise ConfigError(f"{source}: no such directory")
        return keys[source]

    monkeypatch.setattr(upstreams, "key_of", key_of)
    return keys


def probed(exp, models, systems, seeds=(0,), tasks=("char", "sid", "kws"), phones=None):
    """Results of systems (name → added to every score), as the probes write them."""
    run = {"systems": {}, "results": {}}
    for name, more in systems.items():
        source = str(exp / f"dice_{name}")
        models[source] = f"key of {name}"
        run["systems"][name], files = source, {}
        for task in tasks:
            for seed in seeds:
                record = {
                    "key": f"{name} {task} {seed}",
                    "task": task,
                    "seed": seed,
                    "parameters": 1234567,
                    "about": f"all about {task}",
                    "score": SCORES[task] + more + seed,
                    "low": SCORES[task] + more + seed - 2,
                    "high": SCORES[task] + more + seed + 1,
                    "floor": 50.0,
                    "train": 100,
                    "dev": 10,
                    "test": 30,
                    "made_from": {
                        "settings": {"phones": phones},
                        "inputs": {"upstream": models[source]},
                    },
                }
                files[f"{task}_seed{seed}.json"] = record["key"]
                path = exp / "probes" / name / f"{task}_seed{seed}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(record))
        speed = {"cpu_s_per_audio_s": 0.0123}
        (exp / "probes" / name / "speed.json").write_text(json.dumps(speed))
        run["results"][name] = files
    (exp / "probes" / "run.json").write_text(json.dumps(run))


def trained(exp, name, seed, loss, labels):
    """What training leaves in an experiment."""
    directory = exp / f"dice_{name}"
    directory.mkdir(parents=True)
    (directory / "model.json").write_text(json.dumps({"seed": seed}))
    config = {"loss": loss, "labels": labels and f"exp/labels/{labels}/train"}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))


def cells(line):
    return [cell.strip() for cell in line.strip("| ").split("|")]


def around(*scores):
    """Scores with the intervals that :func:`probed` gives them."""
    return [f"{x:.1f} ({x - 2:.1f}–{x + 1:.1f})" for x in scores]


def test_the_table(tmp_path, models, capsys):
    probed(tmp_path, models, {"teacher": 0, "b_soft_seed3": 1, "a_both_seed0": 2})
    trained(tmp_path, "b_soft_seed3", 3, [{"name": "dice_soft", "conf": {"tau": 5.0}}], "t_l9_k500")
    both = [{"name": "dice_hard"}, {"name": "dice_feature", "weight": 0.1}]
    trained(tmp_path, "a_both_seed0", 0, both, "")
    dice_results_stage.main(["--exp", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert [cells(line) for line in table[:1] + table[2:]] == [
        [*"system|loss|labels|M param|CER %|SID acc %|KWS EER %|CPU-s/audio-s|seed".split("|")],
        ["teacher", "–", "–", "1.23", *around(40, 90, 12), "0.0123", "–"],
        ["b_soft_seed3", "soft τ=5", "t_l9_k500", "1.23", *around(41, 91, 13), "0.0123", "3"],
        ["a_both_seed0", "hard + 0.1·feature", "–", "1.23", *around(42, 92, 14), "0.0123", "0"],
    ]
    assert len({len(line) for line in table}) == 1
    assert "all about sid. Without any features 50.0" in text and "Over seeds" not in text
    printed = capsys.readouterr().out
    assert all(line in printed for line in table)
    found = json.loads((tmp_path / "results.json").read_text())
    assert [r["system"] for r in found["systems"]] == ["teacher", "b_soft_seed3", "a_both_seed0"]
    assert found["systems"][1]["scores"]["kws"] == {"0": 13.0}
    assert set(found["probes"]) == {"char", "sid", "kws"}


def test_some_tasks_and_phones(tmp_path, models):
    probed(tmp_path, models, {"teacher": 0}, tasks=("char",), phones="data/phones")
    rows, records = dice_results.collect(tmp_path)
    head = cells(dice_results.table(rows, records).splitlines()[0])
    assert head == ["system", "loss", "labels", "M param", "PER %", "CPU-s/audio-s", "seed"]


def row(system, seed, *values, task="char"):
    return Row(system, "", "", 1, seed, 0.1, {task: dict(enumerate(values))})


def test_the_spread_over_trainings_and_heads():
    rows = [row(f"hard_seed{k}", k, x, x + 2) for k, x in enumerate((9.0, 12.0, 15.0))]
    rows += [row("teacher", None, 5.0, 7.0), row("single_seed0", 0, 3.0)]
    found = {e["system"]: e for e in dice_results.spread(rows)}
    assert set(found) == {"hard", "teacher"}
    hard = {"n": 3, "over": "trainings", "mean": 13.0, "sd": 3.0, "min": 10.0, "max": 16.0}
    assert {k: found["hard"][k] for k in hard} == hard
    assert found["teacher"]["over"] == "heads" and found["teacher"]["mean"] == 6.0
    assert found["teacher"]["sd"] == pytest.approx(math.sqrt(2))
    table = dice_results.spread_table(
        rows, {"char": {"task": "char", "made_from": {"settings": {}}}}
    )
    lines = [cells(line) for line in table.splitlines()]
    assert lines[0] == ["system", "over", "CER %"]
    assert lines[2] == ["hard", "3 trainings", "13.0 ± 3.0 (10.0–16.0)"]
    assert dice_results.spread_table(rows[-1:], {}) == ""


def test_results_that_no_longer_hold_are_left_out(tmp_path, models, caplog):
    probed(tmp_path, models, {"kept": 0, "trained_again": 0, "removed": 0, "not_finished": 0})
    models[str(tmp_path / "dice_trained_again")] = "another key"
    del models[str(tmp_path / "dice_removed")]
    (tmp_path / "probes/not_finished/kws_seed0.json").unlink()
    rows, _ = dice_results.collect(tmp_path)
    assert [r.system for r in rows] == ["kept"]
    for name in ("trained_again", "removed", "not_finished"):
        assert f"{name}: not probed, or trained again since" in caplog.text


def test_nothing_to_show(tmp_path, models):
    with pytest.raises(DataError, match="nothing was probed .* run stage 6"):
        dice_results.collect(tmp_path)
    probed(tmp_path, models, {"a": 0})
    models.clear()
    with pytest.raises(DataError, match="no probe .* belongs to the models"):
        dice_results.collect(tmp_path)
