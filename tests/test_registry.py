"""The plug-in in ESPnet's registries, and the shim that runs tools with it."""

import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest

from espnet_dice import registry, run
from espnet_dice.io.errors import ConfigError

REPO = Path(__file__).resolve().parent.parent
TASK = "fake_espnet.tasks"


class Base:
    """Stands for AbsESPnetModel."""


class Model(Base):
    """Stands for the plug-in's model."""


class Choices:
    """What register() uses of ESPnet's ClassChoices (the real one is in the tests below)."""

    def __init__(self, base_type=Base):
        self.classes = {"espnet": Base}
        self.base_type = base_type


@pytest.fixture
def task(monkeypatch):
    """A task module with one registry, and an entry for it."""
    module = types.ModuleType(TASK)
    module.model_choices = Choices()
    monkeypatch.setitem(sys.modules, TASK, module)
    entry = registry.Entry(TASK, "model_choices", "uncertainty_kd", __name__, "Model")
    monkeypatch.setattr(registry, "ENTRIES", (entry,))
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this_module())
    return module


def _this_module():
    module = types.ModuleType(__name__)
    module.Model = Model
    return module


def test_registering_twice_changes_nothing(task):
    registry.register_task(TASK)
    once = dict(task.model_choices.classes)
    registry.register_task(TASK)
    assert task.model_choices.classes == once == {"espnet": Base, "uncertainty_kd": Model}


def test_a_name_taken_by_another_class_is_refused(task):
    other = type("Other", (Base,), {})
    task.model_choices.classes["uncertainty_kd"] = other
    with pytest.raises(ConfigError, match=r"model_choices already has 'uncertainty_kd'.*Other"):
        registry.register_task(TASK)
    assert task.model_choices.classes["uncertainty_kd"] is other


def test_a_class_of_the_wrong_kind_is_refused(task):
    task.model_choices.base_type = dict
    with pytest.raises(ConfigError, match=r"Model is not a builtins\.dict"):
        registry.register_task(TASK)
    assert "uncertainty_kd" not in task.model_choices.classes


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["-m", "a.b", "-m", "x"], ([], "-m", "a.b", ["-m", "x"])),
        (["-ma.b"], ([], "-m", "a.b", [])),
        (["-um", "a.b", "x"], (["-u"], "-m", "a.b", ["x"])),
        (["-u", "-W", "error", "-Xdev", "s.py", "-h"], (["-u", "-W", "error", "-Xdev"], "file",
                                                       "s.py", ["-h"])),
        (["-c", "print(1)", "-u"], ([], "-c", "print(1)", ["-u"])),
        (["-uc", "1"], (["-u"], "-c", "1", [])),
        (["-", "a"], ([], "-", "-", ["a"])),
        (["-h"], ([], "help", "", [])),
        (["-B", "--check-hash-based-pycs", "never", "s.py"],
         (["-B", "--check-hash-based-pycs", "never"], "file", "s.py", [])),
        ([], ([], "-", "-", [])),
    ],
)  # fmt: skip
def test_the_command_line_is_split_as_by_python(args, expected):
    assert run.split_command(args) == expected


def test_a_flag_without_its_value_is_refused():
    with pytest.raises(run.Usage, match="-m"):
        run.split_command(["-u", "-m"])


SHOW = """\
\"\"\"Doc.\"\"\"
from __future__ import annotations
import json, os, pickle, sys
def f(): ...
json.dump({"argv": sys.argv, "name": __name__, "file": globals().get("__file__"), "doc": __doc__,
           "package": __package__, "globals": sorted(k for k in globals() if k[:2] != "__"),
           "path0": sys.path[0], "main": sys.modules["__main__"].__dict__ is globals(),
           "pickled": pickle.loads(pickle.dumps(f)) is f, "flags": list(sys.flags)}, sys.stdout)
"""


def python(*args, cwd, shim, stdin=None, flags=()):
    """Run python, or the shim, with the same arguments; returns the finished process."""
    start = [sys.executable, *flags] + (["-m", "espnet_dice.run"] if shim else [])
    path = {"PYTHONPATH": str(REPO), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [*start, *args], cwd=cwd, env=path, input=stdin, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def scripts(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "show.py").write_text(SHOW)
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "pkg" / "near.py").write_text("HERE = 1\n")
    (tmp_path / "pkg" / "__main__.py").write_text("from .near import HERE\n" + SHOW[11:].replace(
        "from __future__ import annotations\n", ""))  # fmt: skip
    return tmp_path


@pytest.mark.parametrize(
    "args",
    [
        ("sub/show.py", "a", "-m", "--help"),
        ("-m", "sub.show", "-c"),
        ("-m", "pkg", "x"),
        ("-c", SHOW, "a"),
        ("-", "a"),
        ("-u", "-W", "error", "sub/show.py", "a"),
        ("-Bm", "sub.show"),
    ],
)
def test_a_target_sees_what_python_shows_it(scripts, args):
    plain, shim = (
        python(*args, cwd=scripts, shim=shim, stdin=SHOW if args[0] == "-" else None)
        for shim in (False, True)
    )
    assert (plain.returncode, plain.stderr) == (0, "")
    assert (shim.returncode, shim.stderr, shim.stdout) == (0, "", plain.stdout)


def test_flags_before_the_shim_stay(scripts):
    args = ("-u", "-c", "import sys; print(sys.flags.optimize, sys.argv)")
    result = python(*args, cwd=scripts, shim=True, flags=("-O",))
    assert result.stdout == "1 ['-c']\n", result.stderr


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("nothing.py",), 2, "error: can't open file 'nothing.py': No such file"),
        (("-m", "nothing.here"), 2, "error: No module named nothing.here"),
        (("-m", "sub"), 2, "error: No module named sub.__main__"),
        (("-c", "raise SystemExit(7)"), 7, ""),
        (("-c", "1/0"), 1, "ZeroDivisionError"),
        (("-c", "from espnet_dice.io.errors import DiceError as E\nraise E('r_k: 0.4')"), 2,
         "error: r_k: 0.4\n"),
    ],
)  # fmt: skip
def test_exit_codes_and_errors(scripts, args, code, message):
    result = python(*args, cwd=scripts, shim=True)
    assert result.returncode == code
    assert message in result.stderr
    assert ("Traceback" in result.stderr) == (code == 1)


def test_help(tmp_path):
    assert "espnet_dice.run -m" in python("--help", cwd=tmp_path, shim=True).stdout


def test_espnet_is_not_imported_unless_the_target_does(tmp_path):
    code = "import sys; print([m for m in ('espnet2', 'torch', 'numpy') if m in sys.modules])"
    assert python("-c", code, cwd=tmp_path, shim=True).stdout == "[]\n"
    bare = python("-c", f"import espnet_dice, espnet_dice.compat; {code}", cwd=tmp_path, shim=False)
    assert bare.stdout == "[]\n"


SPAWN = """
import multiprocessing, sys

def hooked(number):
    finders = [type(finder).__name__ for finder in sys.meta_path]
    return number, __name__, sys.argv, finders.count("_TaskFinder")

def classes(number):
    from espnet2.tasks import asr
    first = [dict(c.classes) for c in (asr.model_choices, asr.decoder_choices)]
    import espnet_dice
    espnet_dice.register()
    again = [dict(c.classes) for c in (asr.model_choices, asr.decoder_choices)]
    model = asr.model_choices.get_class("uncertainty_kd")
    decoder = asr.decoder_choices.get_class("uncertainty_transformer")
    args = asr.ASRTask.get_parser().parse_args(
        ["--output_dir", "x", "--model", "uncertainty_kd", "--decoder", "uncertainty_transformer"])
    fits = issubclass(model, asr.ESPnetASRModel) and issubclass(decoder, asr.AbsDecoder)
    return number, first == again, fits, model.__name__, decoder.__name__, args.model, args.decoder

if __name__ == "__main__":
    function = globals()[sys.argv[1]]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(function, [17])[0])
    assert "espnet2" not in sys.modules
"""


@pytest.mark.parametrize("how", ["file", "module"])
def test_a_spawned_child_imports_the_target_behind_the_hook(tmp_path, how):
    (tmp_path / "spawn.py").write_text(SPAWN)
    target, argv0 = {
        "file": (["spawn.py"], "spawn.py"),
        "module": (["-m", "spawn"], str(tmp_path / "spawn.py")),
    }[how]
    result = python(*target, "hooked", cwd=tmp_path, shim=True)
    assert result.stdout == f"(17, '__mp_main__', ['{argv0}', 'hooked'], 1)\n", result.stderr


def test_a_spawned_child_sees_the_classes(tmp_path):
    if importlib.util.find_spec("espnet2") is None:
        pytest.skip("ESPnet is not installed")
    (tmp_path / "spawn.py").write_text(SPAWN)
    result = python("spawn.py", "classes", cwd=tmp_path, shim=True)
    assert result.stdout.endswith(  # ESPnet may say that it found no Flash Attention
        "(17, True, True, 'UncertaintyKDModel', 'UncertaintyTransformerDecoder', "
        "'uncertainty_kd', 'uncertainty_transformer')\n"
    ), result.stderr


def test_the_first_import_says_that_it_takes_long(tmp_path, monkeypatch, caplog):
    (tmp_path / "a_task.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    assert not registry.is_compiled("a_task")
    registry._import_task("a_task")
    assert "first import of ESPnet in this environment: Python compiles it" in caplog.text
    assert "later ones take some 10 s" in caplog.text
    assert registry.is_compiled("a_task")
    monkeypatch.delitem(sys.modules, "a_task")
    caplog.clear()
    registry._import_task("a_task")
    assert caplog.text == ""
    monkeypatch.delitem(sys.modules, "a_task")
