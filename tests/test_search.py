"""The equal search: what is drawn, halved and kept; nothing is trained here."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks.search import plot, sigma, table
from benchmarks.search import search as searching
from benchmarks.search.space import Trial, draw
from espnet_dice.io.errors import ConfigError
from espnet_dice.kd.weights import weights
from espnet_dice.records.configs import read_config

ROOT = Path(__file__).resolve().parents[1]
SPACE = {
    "recipe": "recipe", "dump": "dump", "token_list": "tokens", "train": "tr", "valid": "va",
    "dev": "dev", "inference_config": "conf/decode.yaml", "teachers": {"a": "exp/asr_a"},
    "trials": 4, "seed": 3, "rungs": [{"epochs": 2, "keep": 2}, {"epochs": 4}],
    "groups": {
        "schedule": {
            "optim_conf.lr": {"log": [0.001, 0.01]}, "batch_bins": [1, 2, 3],
            "encoder_conf.drop decoder_conf.drop": [0.1, 0.2],
        },
        "kd": {
            "model_conf.kd_alpha": {"uniform": [0.2, 0.8]},
            "whom": [{"model_conf.a": 1, "model_conf.b": 2}, {"model_conf.c": 3}],
        },
    },
    "arms": {
        "none": {"base": "conf/none.yaml", "groups": ["schedule"]},
        "tok": {"base": "conf/tok.yaml", "groups": ["schedule", "kd"]},
    },
}  # fmt: skip


def test_arms_share_what_they_have_in_common_and_more_trials_keep_the_first():
    few, more = draw(SPACE, 4, 3), draw(SPACE, 30, 3)
    assert few == more[: len(few)] and draw(SPACE, 4, 4) != few
    none, tok = ([t for t in more if t.arm == arm] for arm in ("none", "tok"))
    assert len(none) == len(tok) == 30
    for a, b in zip(none, tok, strict=True):
        assert a.keys.items() <= b.keys.items() and a.tag[-2:] == b.tag[-2:]
    rates = [t.keys["optim_conf.lr"] for t in none]
    assert min(rates) >= 0.001 and max(rates) <= 0.01
    assert sum(r < 0.001 * 10**0.5 for r in rates) in range(8, 23)  # half, on a logarithmic scale
    assert {t.keys["batch_bins"] for t in none} == {1, 2, 3}
    drops = {(t.keys["encoder_conf.drop"], t.keys["decoder_conf.drop"]) for t in none}
    assert drops == {(0.1, 0.1), (0.2, 0.2)}
    assert {tuple(k for k in t.keys if k[-2] == ".") for t in tok} == {
        ("model_conf.a", "model_conf.b"), ("model_conf.c",),
    }  # fmt: skip
    config = tok[0].config("base.yaml", 7)
    assert config["base"] == "base.yaml" and config["max_epoch"] == 7
    assert config["model_conf"]["kd_alpha"] == tok[0].keys["model_conf.kd_alpha"]


def test_another_dimension_changes_no_other():
    wider = json.loads(json.dumps(SPACE))
    wider["groups"]["schedule"]["grad_clip"] = [1, 5]
    for a, b in zip(draw(SPACE, 9, 0), draw(wider, 9, 0), strict=True):
        assert a.keys.items() <= b.keys.items()


@pytest.mark.parametrize("options", [[], {"log": [2, 1]}, {"gauss": [0, 1]}, 3])
def test_a_wrong_range_is_named(options):
    wrong = {**SPACE, "groups": {**SPACE["groups"], "kd": {"model_conf.x": options}}}
    with pytest.raises(ConfigError, match="groups.kd.model_conf.x"):
        draw(wrong, 1, 0)


class Killed(Exception):
    """What a kill is here."""


@pytest.fixture
def search(tmp_path, monkeypatch):
    """Stages that note what they are asked; WER is the learning rate, and \"tok\" is better."""
    asked, budget = [], [10**9]

    def stage(self, words, env=None):
        asked.append(words)
        budget[0] -= 1
        if budget[0] < 0:
            raise Killed
        if words[0] == "train":
            for at in (i for i, w in enumerate(words) if w == "--job"):
                out = self.out / f"asr_{words[at + 1]}"
                out.mkdir(exist_ok=True)
                settings = {"max_epoch": read_config(words[at + 2])["max_epoch"]}
                record = {"key": "", "settings": settings, "inputs": {}, "done": True}
                (out / ".fingerprint.json").write_text(json.dumps(record))

    def rates(self, trial):
        wer = 1e3 * trial.keys["optim_conf.lr"] - (trial.arm == "tok")
        return {"wer": wer, "cer": wer / 2}

    (tmp_path / "recipe/conf").mkdir(parents=True)
    for arm in ("none", "tok"):
        (tmp_path / f"recipe/conf/{arm}.yaml").write_text("grad_clip: 5\n")
    space = tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    monkeypatch.setattr(searching.Search, "stage", stage)
    monkeypatch.setattr(searching.Search, "_rates", rates)
    return lambda: searching.Search(space), asked, budget


def test_a_killed_search_goes_on_and_ends_with_the_same(search):
    make, asked, budget = search
    budget[0] = 3
    with pytest.raises(Killed):
        make().run(3)
    done = len(make().lines)
    assert done == 3
    with open(make().out / "trials.jsonl", "ab") as f:
        f.write(b'{"tag": "tok_0')
    budget[0] = 10**9
    again = make()
    again.run(3)
    trained = [w for words in asked if words[0] == "train" for w in words]
    assert trained.count("none_00") == 1 + 1 * ("none_00" in {t.tag for t in again.survivors(1)})
    assert len(again.known(2)) == 8 and len(again.known(4)) == 4
    for arm in ("none", "tok"):
        first = [x for x in again.known(2).values() if x["arm"] == arm]
        best = {x["tag"] for x in sorted(first, key=lambda x: x["wer"])[:2]}
        assert {x["tag"] for x in again.known(4).values() if x["arm"] == arm} == best
        config = read_config(again.out / f"configs/{min(best)}.yaml")
        assert config["max_epoch"] == 4 and config["grad_clip"] == 5
    winner = yaml.safe_load((again.out / "winners/tok.yaml").read_text())
    assert winner["base"] == "tok.yaml" and winner["max_epoch"] == 4
    said = (again.out / "TABLE.md").read_text()
    assert "| tok − none | -1.0 (-1.0 to -1.0) | 4 of 4 |" in said
    assert make().lines == again.lines


def test_trials_of_another_space_are_not_mixed_in(search):
    make, _, _ = search
    again = make()
    again.run(8)
    file = again.out / "trials.jsonl"
    file.write_text(file.read_text().replace('"batch_bins": ', '"batch_bins": 1'))
    with pytest.raises(ConfigError, match="was drawn from another space"):
        make()


def test_the_interval_is_that_of_the_mean():
    low, high = table.interval([1.0] * 9)
    assert low == high == 1.0
    low, high = table.interval([-1.0, 1.0] * 50)
    assert -0.25 < low < 0 < high < 0.25  # 1.96 / √100


def test_what_a_setting_is_worth_comes_from_pairs_that_share_the_rest():
    lines = []
    for trial, (ctc, alpha, gain) in enumerate(
        [(0.0, 0.1, 1), (0.5, 0.2, -2), (0.0, 0.3, 3), (0.5, 0.4, -4), (0.5, 0.5, -6), (0.5, 9, -8)]
    ):
        shared = {"trial": trial, "keys": {"lr": trial}}
        lines.append({**shared, "arm": "none", "cer": 50.0 + trial})
        drawn = {**shared["keys"], "ctc": ctc, "alpha": alpha, "same": True}
        lines.append({**shared, "arm": "tok", "cer": 50.0 + trial + gain, "keys": drawn})
    lines.append({"arm": "tok", "trial": 7, "cer": 1.0, "keys": {"ctc": 0.7}})  # without its pair
    rows = [r for r in table.effects(lines, ["none", "tok"]) if r.startswith("| tok")]
    said = {r.split(" | ")[1]: (r.split(" | ")[2].split()[0], r.split(" | ")[3]) for r in rows}
    assert said == {
        "ctc 0.0": ("+2.0", "0 of 2 |"),
        "ctc 0.5": ("-5.0", "4 of 4 |"),
        "alpha up to 0.35": ("+0.7", "1 of 3 |"),
        "alpha above 0.35": ("-6.0", "3 of 3 |"),
    }


def test_what_a_value_is_worth_beside_its_arm():
    """Arms differ by ten points, which is none of the settings' doing."""
    lines = [
        {"arm": arm, "cer": level + gain, "keys": {"lr": 0.1, **keys, "only": arm}}
        for arm, level in (("none", 50.0), ("tok", 60.0))
        for gain, keys in ((-2, {"p": 0.5, "init": "pca"}), (0, {"p": 0.5}), (2, {"p": 0.1}))
    ]
    assert table.levers(lines)[5:] == [
        "| init left out | +1.0 | 4 |",
        "| init pca | -2.0 | 2 |",
        "| p 0.1 | +2.0 | 2 |",
        "| p 0.5 | -1.0 | 4 |",
    ]
    assert table.levers([x for x in lines if x["keys"].get("init")]) == []


def test_arms_without_draws_are_compared_over_seeds(search):
    make, asked, _ = search
    space = yaml.safe_load((ROOT / "benchmarks/search/kd_few_effects.yaml").read_text())
    assert len(draw(space, 5, 0)) == 5 * len(space["arms"])
    recipe = ROOT / "benchmarks/search" / space["recipe"]
    for name, arm in space["arms"].items():
        conf = read_config(recipe / arm["base"])
        for key in arm.get("keys", {}):
            part, _, inner = key.partition(".")
            assert inner and (part == "model_conf" or inner in conf[part]), (name, key)
    effects = {**SPACE, "seeds": True, "trials": 3, "rungs": [{"epochs": 2}], "arms": {
        "none": {"base": "conf/none.yaml", "keys": {"optim_conf.lr": 0.02}},
        "tok": {"base": "conf/tok.yaml", "keys": {"optim_conf.lr": 0.02}},
    }}  # fmt: skip
    made = make()
    file = made.recipe.parent / "space.yaml"
    file.write_text(yaml.safe_dump(effects))
    some = searching.Search(file, made.out.parent / "some", arms=["tok"])
    some.run(12)
    seeds = [words[words.index("--seed") + 1 :][:3] for words in asked if words[0] == "train"]
    assert seeds == [["0", "1", "2"]] and len(some.lines) == 3
    whole = searching.Search(file, made.out.parent / "some")
    whole.run(12)
    assert len(whole.lines) == 6
    said = (whole.out / "TABLE.md").read_text()
    assert "| tok | 19.0 ± 0.0 (3) |" in said and "Seeds of the same number" in said
    with pytest.raises(ConfigError, match="has no other"):
        searching.Search(file, arms=["other"])


@pytest.mark.parametrize("name", ["kd_few", "kd_wrong"])
def test_the_spaces_are_whole_and_equal(name):
    space = yaml.safe_load((ROOT / f"benchmarks/search/{name}.yaml").read_text())
    trials = draw(space, space["trials"], space["seed"])
    arms = {arm: [t for t in trials if t.arm == arm] for arm in space["arms"]}
    assert list(arms) == ["none", "tok", "unc"]
    assert {len(found) for found in arms.values()} == {space["trials"]} and space["trials"] >= 24
    recipe = ROOT / "benchmarks/search" / space["recipe"]
    for arm in space["arms"].values():
        assert read_config(recipe / arm["base"])["model"] == "uncertainty_kd"
    kinds = {
        weights(trial.config("base", 1)["model_conf"])["kd_alpha"].moves for trial in arms["unc"]
    }
    assert kinds == {False, True}


def test_students_learn_the_labels_drawn_and_are_ranked_by_their_best_layer(tmp_path, monkeypatch):
    space = yaml.safe_load((ROOT / "benchmarks/search/dice_libri20.yaml").read_text())
    recipe = ROOT / "benchmarks/search" / space["recipe"]
    for arm in space["arms"].values():
        assert read_config(recipe / arm["base"])["student"] == "hubert"
    asked = []

    def stage(self, words):
        asked.append(words)
        for name, _, directory in (w.partition("=") for w in words if w.startswith("dice_")):
            lr = yaml.safe_load((self.out / f"configs/{name[5:]}.yaml").read_text())
            within, across = lr["optim_conf"]["lr"], 3 * lr["optim_conf"]["lr"]
            layers = {"0": {"within": 50, "across": 50}, "3": {"within": within, "across": across}}
            (self.out / "abx").mkdir(exist_ok=True)
            (self.out / f"abx/{name}.json").write_text(json.dumps({"layers": layers}))
            assert directory == str(self.out / name)
        for at in (i for i, w in enumerate(words) if w == "--job"):
            out = self.out / f"dice_{words[at + 1]}"
            out.mkdir(exist_ok=True)
            config = read_config(words[at + 2])
            assert "labels" not in config and words[at + 3].startswith("labels=exp/labels/")
            record = {"key": "", "inputs": {}, "done": True}
            record["settings"] = {"max_epoch": config["max_epoch"]}
            (out / ".fingerprint.json").write_text(json.dumps(record))

    monkeypatch.setattr(searching.Search, "stage", stage)
    space["rungs"] = [{"epochs": 1, "keep": 3}, *space["rungs"]]
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(space))
    search = searching.Search(file, tmp_path / "out", recipe=recipe, arms=["scratch"])
    search.run(4)
    first = search.known(space["rungs"][0]["epochs"])
    for line in first.values():
        lr = line["keys"]["optim_conf.lr"]
        assert (line["abx"], line["within"], line["across"]) == pytest.approx((2 * lr, lr, 3 * lr))
    ranked = sorted(first.values(), key=lambda x: x["keys"]["optim_conf.lr"])
    kept = {x["tag"] for x in ranked[: space["rungs"][0]["keep"]]}
    assert set(search.known(space["rungs"][1]["epochs"])) == kept
    drawn = {x["keys"]["labels"] for x in first.values()}
    assert len(drawn) == len(space["groups"]["spectral"]["labels"])
    labels = ranked[0]["keys"]["labels"]
    search.report()
    winner = (tmp_path / "out/winners/scratch.yaml").read_text()
    assert f"# labels: {labels}" in winner and "labels:" not in winner.split("\n", 2)[2]


def test_curves_are_means_over_seeds_and_time_adds_up(tmp_path):
    lines = [
        {"arm": arm, "trial": seed, "epochs": epochs, "abx": 20 - epochs + seed, "cpu_s": 10 + seed}
        for arm in ("hard", "scratch") for seed in (0, 2) for epochs in (4, 2)
    ] + [{"arm": "hard", "trial": 1, "epochs": 2, "abx": None, "cpu_s": 1}]  # fmt: skip
    drawn = plot.curves(lines, "abx", 100)
    wanted = {"updates": [200, 400], "cpu_s": [11, 22], "mean": [19, 17]}
    assert drawn == dict.fromkeys(
        ("hard", "scratch"), wanted | {"least": [18, 16], "most": [20, 18]}
    )
    for name in ("one.svg", "two.svg"):
        plot.draw(drawn, "ABX", tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_what_sigma_is_worth_is_sklearns_auroc(tmp_path):
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    top, ids, variance = rng.integers(3, size=50), rng.integers(3, size=50), rng.random(50)
    arrays = {"ref_top": top, "ref_ids": ids, "ref_variance_top": variance}
    arrays |= {"ref_ends": np.array([20, 50]), "ref_confidence": rng.random(50)}
    np.savez(tmp_path / "x.npz", utterances=["a", "b"], tokens=["x", "y", "z"], **arrays)
    found = sigma.measured(tmp_path / "x.npz")
    assert found["variance_top"] == pytest.approx(roc_auc_score(top != ids, variance))
    assert 0 < found["ece"] < 1 and set(found) == {"variance_top", "ece"}


def test_rows_of_sigma_are_trials_that_share_a_setting():
    keys = [{}, {"model_conf.unc_vector": "std"}, {"model_conf.unc_vector": "variance"}]
    trials = [
        Trial("unc", n, "x.yaml", {**k, "model_conf.lsm_weight": 0.1}) for n, k in enumerate(keys)
    ]
    rows = {
        name: [t.number for t in trials if belongs(t)] for name, belongs in sigma.classes(trials)
    }
    assert rows == {
        "no matching": [0],
        "matching": [1, 2],
        "unc_vector std": [1],
        "unc_vector variance": [2],
        "lsm_weight 0.1": [0, 1, 2],
    }


KEPT = ["kd_few", "kd_wrong", "kd_few_effects"]
KEPT += ["dice_libri20", "dice_libri20_curves", "dice_libri20_cmvn", "dice_libri20_it2"]


@pytest.mark.parametrize("name", KEPT)
def test_the_tables_kept_are_those_of_the_trials_kept(name):
    """Arms of kd_few_effects differ by schedules, which are mappings; most were not tried."""
    results = ROOT / "benchmarks/search/results"
    lines = [json.loads(line) for line in (results / f"{name}.jsonl").read_text().splitlines()]
    space = yaml.safe_load((ROOT / f"benchmarks/search/{name}.yaml").read_text())
    assert table.layout(lines, space) == (results / f"{name}.md").read_text()
