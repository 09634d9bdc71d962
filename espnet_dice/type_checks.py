"""ESPnet's run-time type checks, made when a function is first called and not when it is imported.

ESPnet decorates some 500 functions with typeguard's ``typechecked``, which parses and compiles the
whole module anew for each: more than half of what ``import espnet2.tasks.asr`` costs. A command
calls a few dozen of them, and those are checked as before.
"""

import contextlib
import functools
import inspect
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
    """``typechecked``, put off for functions and methods of a module.

    Those inside functions need the frame that they are made in; classes, class methods and the
    like are few.
    """
    if options or not inspect.isfunction(target) or "<locals>" in target.__qualname__:
        return at_once(target, **options)

    @functools.wraps(target)
    def first(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked
        if checked is None:
            checked = at_once(target)
        return checked(*args, **kwargs)

    checked = None
    return first
