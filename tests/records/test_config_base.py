import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from espnet_dice.io.errors import ConfigError
from espnet_dice.records import configs
from espnet_dice.records.config_base import KEY, merge, read_layers, to_yaml, where

ROOT = Path(__file__).parents[2]
WITH_W = {"z": 1, "w": 2}
A = {"s": "a", "s_conf": {"x": 1}}  # a choice and its options
CONFIGS = sorted((ROOT / "conf").glob("*.yaml"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, text):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return Path(path)


@pytest.mark.parametrize(
    ("base", "above", "merged"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"c": {"x": 1, "y": {"z": 1}}}, {"c": {"y": {"w": 2}}}, {"c": {"x": 1, "y": WITH_W}}),
        ({"c": {"x": [1, 2], "y": 3}}, {"c": {"x": [4]}}, {"c": {"x": [4], "y": 3}}),
        ({"c": {"x": 1}}, {"c": None}, {"c": None}),
        ({"c": None}, {"c": {"x": 1}}, {"c": {"x": 1}}),
        ({"c": {"x": 1}}, {"c": {}}, {"c": {"x": 1}}),
        ({"c": {"base": 1}}, {"c": {"base": 2}}, {"c": {"base": 2}}),
        # options go with the choice that they are of
        (A, {"s": "b", "s_conf": {"y": 2}}, {"s": "b", "s_conf": {"y": 2}}),
        (A, {"s": "b"}, {"s": "b"}),
        (A, {"s": "a", "s_conf": {"y": 2}}, {"s": "a", "s_conf": {"x": 1, "y": 2}}),
        ({"s_conf": {"x": 1}}, {"s": "b"}, {"s_conf": {"x": 1}, "s": "b"}),
        ({"m": {"s": 1, "s_conf": {"x": 1}}}, {"m": {"s": 2}}, {"m": {"s": 2}}),
    ],
)  # fmt: skip
def test_mappings_are_merged_and_all_else_is_replaced(base, above, merged):
    before = repr((base, above))
    assert merge(base, above) == merged
    assert repr((base, above)) == before


def test_a_base_lies_beside_the_file_that_names_it(here):
    write("conf/top.yaml", "base: more/middle.yaml\na: {x: 1}\n")
    write("conf/more/middle.yaml", "base: ../low.yaml\na: {x: 2, y: 2}\nb: 2\nkeep: {base: it}\n")
    write("conf/low.yaml", "a: {x: 3, y: 3, z: 3}\nb: 3\nc: [3]\n")
    write("low.yaml", "c: wrong\n")
    merged = {"a": {"x": 1, "y": 2, "z": 3}, "b": 2, "c": [3], "keep": {"base": "it"}}
    assert configs.read_config("conf/top.yaml") == merged
    assert configs.read_config(here / "conf/top.yaml") == merged
    write("empty.yaml", "base: conf/top.yaml\n")
    assert configs.read_config("empty.yaml") == merged


def test_a_linked_config_keeps_its_base(here):
    write("tuning/low.yaml", "a: 1\n")
    write("tuning/x.yaml", "base: low.yaml\nb: 2\n")
    write("conf/low.yaml", "a: wrong\n")
    (here / "conf/train_asr.yaml").symlink_to("../tuning/x.yaml")
    assert configs.read_config("conf/train_asr.yaml") == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("top", "low", "message"),
    [
        ("base: gone.yaml", "", r"conf/gone\.yaml, base of conf/top\.yaml: no such config file; "),
        ("base: low.yaml", "base: gone.yaml", r"gone.*, base of conf/low.*, base of conf/top"),
        ("base: ../conf", "", r"conf/\.\./conf, base of conf/top\.yaml: Is a directory"),
        ("base: low.yaml", "a: [", r"conf/low\.yaml, base of conf/top\.yaml: not YAML"),
        ("base: low.yaml", "- a", r"conf/low\.yaml, base of conf/top\.yaml: must hold 'key"),
        ("base: top.yaml", "", r"^conf/top\.yaml: base: conf/top\.yaml is itself built on conf"),
        ("base: low.yaml", "base: ./top.yaml", r"low.*base of.*top\.yaml is itself built on .*low"),
        ("base: [low.yaml]", "", r"^conf/top\.yaml: base: must be .* one file, not \['low"),
        ("base:", "", r"^conf/top\.yaml: base: must be the name of one file, not None"),
        ("base: ''", "", r"^conf/top\.yaml: base: must be the name of one file, not ''"),
        ("base: low.yaml", "base: 3", r"low\.yaml, base of conf/top\.yaml: base: must be .*not 3"),
    ],
)  # fmt: skip
def test_a_bad_base_names_both_files(here, top, low, message):
    write("conf/top.yaml", top + "\n")
    write("conf/low.yaml", low + "\n")
    with pytest.raises(ConfigError, match=message):
        configs.read_config("conf/top.yaml")


def test_a_message_names_the_file_that_says_a_key(here):
    write("top.yaml", "base: low.yaml\na: {x: 1}\n")
    write("low.yaml", "a: {x: 2, y: 2}\nb: null\n")
    assert where("top.yaml", "a", "x") == where("top.yaml", "a") == "top.yaml"
    assert where("top.yaml", "a", "y") == "top.yaml (base low.yaml)"
    assert where("top.yaml", "b") == "top.yaml (base low.yaml)"
    assert where("top.yaml", "c") == where("top.yaml", "b", "x") == "top.yaml"
    with pytest.raises(ConfigError, match=r"^top\.yaml \(base low\.yaml\): model_conf: must hold"):
        write("low.yaml", "model_conf: [x]\n")
        configs.model_conf("top.yaml", "")
    with pytest.raises(ConfigError, match=r"^top\.yaml \(base low\.yaml\): keep_nbest_models: exa"):
        write("low.yaml", "keep_nbest_models: [1, 2]\n")
        configs.criterion_of("top.yaml", configs.read_config("top.yaml"), [], ("a", "b", "max"), 1)


def test_options_that_win_choose_the_checkpoints(here):
    write("top.yaml", "best_model_criterion: [[valid, acc, max]]\nkeep_nbest_models: 5\n")
    default = ("valid", "acc", "max"), 1

    def chosen(extra):
        given = configs.split_args(extra)
        return configs.criterion_of("top.yaml", configs.read_config("top.yaml"), given, *default)

    assert chosen("") == ("valid", "acc", "max", 5)
    assert chosen("--best_model_criterion valid,loss,min") == ("valid", "loss", "min", 5)
    assert chosen("--best_model_criterion='(valid, loss, min)' --keep_nbest_models 10") == (
        "valid", "loss", "min", 10,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="best_model_criterion: exactly one"):
        chosen("--best_model_criterion valid,loss,min valid,acc,max")
    with pytest.raises(ConfigError, match="keep_nbest_models: a whole number"):
        chosen("--keep_nbest_models=x")


def test_the_flat_form_reads_back_the_same():
    shared = {"x": [1, 2.5, 1e-05]}
    config = {
        "z": shared,
        "a": shared,
        "t": "1e-4",
        "n": None,
        "yes": "no",
        "α": [["valid", "acc"]],
    }
    text = to_yaml(config, "conf/x.yaml")
    back = yaml.safe_load(text)
    assert back == config and [*back] == [*config]
    assert isinstance(back["t"], str) and isinstance(back["a"]["x"][2], float)
    assert text.startswith("# conf/x.yaml ") and "α" in text and "&" not in text


def command(module, *args, cwd):
    """A stage's command, where ESPnet and torch cannot be imported."""
    for package in ("espnet2", "torch"):
        write(cwd / "broken" / package / "__init__.py", "raise RuntimeError('imported')\n")
    path = os.pathsep.join(map(str, (cwd / "broken", ROOT)))
    return subprocess.run(
        [sys.executable, "-m", f"espnet_dice.stages.{module}", *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


def test_command_prints_the_flat_form(here):
    write("conf/top.yaml", "base: low.yaml\na: {x: 1}\n")
    write("conf/low.yaml", "a: {y: 2}\n")
    done = command("config", "conf/top.yaml", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    assert yaml.safe_load(done.stdout) == {"a": {"y": 2, "x": 1}}
    (here / "conf/low.yaml").unlink()
    done = command("config", "conf/top.yaml", cwd=here)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: conf/low.yaml, base of conf/top.yaml: no such")


def said(values, before=()):
    """Every key with a value that is no mapping, as a path."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from said(value, (*before, key))
        else:
            yield (*before, key), value


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_our_configs_say_only_what_their_base_does_not(path):
    (_, values), *below = read_layers(path)
    assert KEY not in configs.read_config(path)
    base = dict(said(configs.read_config(below[0][0]))) if below else {}
    assert not {key for key, value in said(values) if key in base and base[key] == value}


def test_where_a_learning_rate_falls_to_nothing():
    def falls_to(lr=(0.0, 0.1, 0.0), scheduler="piecewiselinearwarmuplr", **more):
        conf = {"warmup_steps_list": [0, 20, 90], "warmup_lr_list": list(lr)}
        return configs.falls_to({"scheduler": scheduler, "scheduler_conf": conf, **more})

    assert falls_to() == 90 and falls_to(accum_grad=3) == 270
    assert falls_to(lr=[0.0, 0.1]) is None and falls_to(scheduler="warmuplr") is None
    assert falls_to(accum_grad="many") is None
    with pytest.raises(ConfigError, match="scheduler_conf: must hold 'key: value' lines"):
        configs.with_options({"scheduler_conf": [1]}, [("scheduler_conf", ["warmup_steps=2"])])
    for conf in (None, [1], {}, {"warmup_steps_list": 9, "warmup_lr_list": 0.1}):
        assert falls_to(scheduler_conf=conf) is None
