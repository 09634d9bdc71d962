"""Run any ESPnet tool, script or command with the plug-in registered.

    python -m espnet_dice.run -m espnet2.bin.asr_inference --help
    python -m espnet_dice.run script.py ARGS
    python -m espnet_dice.run -c 'CODE' ARGS

It takes what ``python`` takes and behaves as ``python`` would, so that an unmodified ``asr.sh``
can be told ``--python "python3 -m espnet_dice.run"``. The plug-in is registered when the target
imports ESPnet's task, at no cost to tools that never do; in spawned children (several GPUs) too.
``python -m espnet_dice.run`` alone, in a terminal, or with ``--help`` prints this.
"""

import builtins
import importlib.machinery
import importlib.util
import io
import json
import os
import sys
import types
from pathlib import Path

from espnet_dice.io.errors import DiceError
from espnet_dice.registry import register_when_imported

TARGET_ENV = "ESPNET_DICE_RUN_TARGET"
"""Tells spawned children what their parent ran; they re-import it, as children of Python do."""

FLAGS_WITH_VALUE = "WX"
ROOT = str(Path(__file__).resolve().parent.parent)


class Usage(DiceError):
    """The command line names nothing that can be run."""


class _MainSpec(importlib.machinery.ModuleSpec):
    """Spec of ``__main__``: children find the shim by its name, relative imports the target."""

    def __init__(self, name: str, loader, origin: str | None, package: str | None):
        super().__init__(name, loader, origin=origin)
        self._package = package

    @property
    def parent(self):
        return self._package


def split_command(args: list[str]) -> tuple[list[str], str, str, list[str]]:
    """Split a command line as ``python`` does.

    Args:
        args: what follows ``python`` (here: what follows ``python -m espnet_dice.run``).

    Returns:
        The interpreter's own flags; the kind of target: ``"-m"``, ``"-c"``, ``"-"`` (standard
        input), ``"file"`` or ``"help"``; the module, code or path; the target's arguments.

    Raises:
        Usage: ``-m``, ``-c`` or a flag lacks its value.
    """
    at = 0
    while at < len(args):
        arg = args[at]
        if arg == "-":
            return args[:at], "-", "-", args[at + 1 :]
        if not arg.startswith("-"):
            return args[:at], "file", arg, args[at + 1 :]
        if arg in ("-h", "-?", "--help"):
            return [], "help", "", []
        at += 1
        if arg == "--check-hash-based-pycs":
            at += 1
        if arg.startswith("--"):
            continue
        for n, letter in enumerate(arg[1:], 1):
            if letter not in f"mc{FLAGS_WITH_VALUE}":
                continue
            value, used = (arg[n + 1 :], 0) if arg[n + 1 :] else (None, 1)
            if value is None and at >= len(args):
                raise Usage(f"argument expected after -{letter}")
            if letter in "mc":
                flags = [*args[: at - 1], *([arg[:n]] if n > 1 else [])]
                return flags, f"-{letter}", value or args[at], args[at + used :]
            at += used
            break
    return args, "-", "-", []


def main(namespace: dict) -> None:
    """Run the target in the namespace of ``__main__``; our own errors are shown in one line.

    Args:
        namespace: the globals of ``__main__`` (or ``__mp_main__`` in a spawned child). The target
            gets them, so what it defines can be pickled, as under plain ``python``.
    """
    try:
        register_when_imported()
        if namespace["__name__"] == "__mp_main__":
            _run_in_child(namespace)
        else:
            _run(namespace)
    except DiceError as err:
        if os.environ.get("ESPNET_DICE_DEBUG"):
            raise
        print(f"error: {err}", file=sys.stderr)
        sys.exit(2)


def _run(namespace: dict) -> None:
    flags, kind, target, args = split_command(sys.argv[1:])
    if kind == "help" or (kind == "-" and len(sys.argv) == 1 and sys.stdin.isatty()):
        print(__doc__.strip())
        return
    if flags:
        _restart_with(flags)
    os.environ[TARGET_ENV] = json.dumps([kind, target])
    sys.argv[1:] = args
    if kind != "-m" and not sys.flags.safe_path:
        _set_path0(kind, target)
    _execute(kind, target, namespace)


def _restart_with(flags: list[str]) -> None:
    """Flags such as ``-u`` or ``-W`` belong to the interpreter, which takes them at its start."""
    ours = len(sys.orig_argv) - len(sys.argv[1:])
    before, after = sys.orig_argv[1:ours], sys.argv[1 + len(flags) :]
    if sys.argv[1 : 1 + len(flags)] != flags:  # "-um MODULE": flags and target in one word
        after = ["-" + sys.argv[len(flags)][len(flags[-1]) :], *after]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *flags, *before, *after])


def _run_in_child(namespace: dict) -> None:
    kind, target = json.loads(os.environ.get(TARGET_ENV, '["-", "-"]'))
    if kind in ("-m", "file"):  # Python's children re-import modules and files, no other code
        _execute(kind, target, namespace)


def _execute(kind: str, target: str, namespace: dict) -> None:
    package = None
    if kind == "-m":
        spec = _find_module(target)
        code, path, package, loader = _code_of(spec), spec.origin, spec.parent, spec.loader
    else:
        path = {"-c": "<string>", "-": "<stdin>"}.get(kind) or str(Path(target).absolute())
        loader = importlib.machinery.BuiltinImporter
        if kind == "file":
            loader = importlib.machinery.SourceFileLoader("__main__", path)
        code = compile(_source_of(kind, target), path, "exec", dont_inherit=True)
    sys.argv[0] = {"-m": path, "file": target}.get(kind, kind)
    shim = namespace["__spec__"]
    for key in list(namespace):
        if not (key.startswith("__") and key.endswith("__")):
            del namespace[key]
    namespace.update(
        __doc__=None,
        __package__=package,
        __loader__=loader,
        __spec__=_MainSpec(shim.name, loader, path, package),
        __builtins__=builtins,
        __cached__=None,
    )
    namespace.pop("__annotations__", None)
    namespace.pop("__file__", None)
    if kind != "-c":
        namespace["__file__"] = path
    exec(code, namespace)


def _find_module(name: str) -> importlib.machinery.ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
            name = f"{name}.__main__"
    except ModuleNotFoundError as err:
        if err.name is None or not f"{name}.".startswith(f"{err.name}."):
            raise
        spec = None
    if spec is None:
        raise Usage(f"No module named {name}")
    return spec


def _code_of(spec: importlib.machinery.ModuleSpec) -> types.CodeType:
    code = spec.loader.get_code(spec.name) if hasattr(spec.loader, "get_code") else None
    if code is None:
        raise Usage(f"No code object available for {spec.name}")
    return code


def _source_of(kind: str, target: str) -> str | bytes:
    if kind == "-c":
        return target
    if kind == "-":
        return sys.stdin.buffer.read()
    try:
        with io.open_code(str(Path(target).absolute())) as file:
            return file.read()
    except OSError as err:
        raise Usage(f"can't open file {target!r}: {err.strerror}") from err


def _set_path0(kind: str, target: str) -> None:
    """``python -m`` put the working directory first; give the target what it would have had."""
    here = os.path.realpath(sys.path[0])
    sys.path[0] = str(Path(target).resolve().parent) if kind == "file" else ""
    if here == ROOT and ROOT not in sys.path:
        sys.path.append(ROOT)  # children must find this package as this process did


if __name__ in ("__main__", "__mp_main__"):
    from espnet_dice import run as shim  # this namespace is about to become the target's

    shim.main(globals())
