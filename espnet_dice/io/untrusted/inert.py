"""What a foreign class in a pickle becomes: a stand-in that keeps what the file says of it.

An unpickler that knows no other classes cannot run anything: a stand-in may be called, filled and
indexed by the file, and does nothing but remember it.
"""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

NAMED = ("builtins.getattr", "__builtin__.getattr")
"""How Python 3.11.0 to 3.11.3 wrote an enum's member: by its name, fairseq's value as well."""
DEEPEST = 8
"""Stand-ins around a value: an omegaconf node in a container has two."""


class Inert:
    """An object of a class that was not loaded.

    Attributes:
        origin: ``module.name`` of the class, on subclasses.
        args: what it was made with.
        state: what it was filled with.
    """

    origin = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Inert":
        """Keep the arguments."""
        self = object.__new__(cls)
        self.args = args
        self.state = None
        return self

    def __init__(self, *args: Any, **kwargs: Any):
        """Nothing: :meth:`__new__` kept them."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Nothing: a dictionary's subclass is not worth its contents."""

    def append(self, value: Any) -> None:
        """Nothing, as above, for a list's."""

    def extend(self, values: Any) -> None:
        """The same."""


def stand_in(origin: str) -> type[Inert]:
    """A class of its own for ``module.name``."""
    return type("Inert", (Inert,), {"origin": origin})


def opened(value: Any) -> Any:
    """The value in a stand-in of an omegaconf node or an enum; other things as they are.

    A stand-in with attributes, such as that of an ``argparse.Namespace``, becomes a dictionary of
    them; so does the real thing. Only the outermost level is opened.
    """
    for _ in range(DEEPEST):
        if isinstance(value, Namespace):
            return vars(value)
        if not isinstance(value, Inert):
            return value
        if isinstance(value.state, dict):
            inner = [value.state[k] for k in ("_content", "_val") if k in value.state]
            value = inner[0] if inner else value.state
        elif value.origin in NAMED and len(value.args) == 2:
            value = value.args[1]
        else:
            value = value.args[0] if len(value.args) == 1 else None
    return None


def fields(value: Any) -> dict[str, Any]:
    """What :func:`opened` finds, if that is a mapping with names; else nothing."""
    found = opened(value)
    if not isinstance(found, Mapping):
        return {}
    return {k: v for k, v in found.items() if isinstance(k, str)}
