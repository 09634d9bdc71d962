"""ESPnet's run-time type checks: of each function's first call, and nothing at import.

ESPnet decorates some 500 functions with typeguard's ``typechecked``, which parses and compiles the
whole module anew for each: more than half of what ``import espnet2.tasks.asr`` costs, and, put off
to the first call, still 2 s of each training. What a caller passes changes its types seldom from
call to call, so here arguments and result are checked once, without compiling anything.
"""

import contextlib
import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def on_first_call() -> Iterator[None]:
    """What is imported inside has its type checks later; nothing changes without typeguard."""
    try:
        import typeguard
    except ImportError:
        yield
        return
    at_once = typeguard.typechecked
    typeguard.typechecked = functools.partial(_later, at_once)
    try:
        yield
    finally:
        typeguard.typechecked = at_once


def _later(at_once: Callable, target: Any = None, **options: Any) -> Any:
    """``typechecked`` for functions and methods; classes, class methods and the like are few."""
    if options or not inspect.isfunction(target):
        return at_once(target, **options)

    @functools.wraps(target)
    def first(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked
        if checked:
            return target(*args, **kwargs)
        hints = _hints(target)
        _check_arguments(target, hints, args, kwargs)
        found = target(*args, **kwargs)
        if "return" in hints and not inspect.isgeneratorfunction(target):
            _check("the return value", found, hints["return"])
        checked = True
        return found

    checked = False
    return first


def _hints(target: Callable) -> dict[str, Any]:
    """Annotations, evaluated; none if one names what is not there at run time."""
    try:
        return typing.get_type_hints(target)
    except (NameError, AttributeError, TypeError):
        return {}


def _check_arguments(target: Callable, hints: dict, args: tuple, kwargs: dict) -> None:
    try:
        given = inspect.signature(target).bind(*args, **kwargs)
    except TypeError:
        return  # the call itself says it best
    kinds = given.signature.parameters
    for name, value in given.arguments.items():
        if name not in hints:
            continue
        values = {name: value}
        if kinds[name].kind is inspect.Parameter.VAR_POSITIONAL:
            values = {f"{name}[{i}]": item for i, item in enumerate(value)}
        elif kinds[name].kind is inspect.Parameter.VAR_KEYWORD:
            values = value
        for part, item in values.items():
            _check(f'argument "{part}" of {target.__qualname__}', item, hints[name])


def _check(what: str, value: Any, hint: Any) -> None:
    import typeguard

    try:
        typeguard.check_type(value, hint)
    except typeguard.TypeCheckError as err:
        err.append_path_element(what)
        raise
