"""ESPnet's type checks at a function's first call: the same checks, fewer of them made."""

import importlib
import inspect
import sys

import pytest
import typeguard

from espnet_dice import type_checks

SOURCE = '''
from typeguard import typechecked


@typechecked
def twice(x: int, *, by: float = 2.0) -> float:
    """x, twice."""
    return x * by


@typechecked
def unused(x: int) -> int:
    return x


class Base:
    def name(self):
        return "base"


class Part(Base):
    @typechecked
    def __init__(self, size: int):
        self.size = size

    @typechecked
    def name(self, suffix: str) -> str:
        return super().name() + suffix

    @classmethod
    @typechecked
    def of(cls, size: int):
        return cls(size)


def outer():
    @typechecked
    def inner(x: int) -> int:
        return x

    return inner
'''


@pytest.fixture
def made(monkeypatch):
    """The functions that were instrumented, in order."""
    names = []
    plain = typeguard.typechecked

    def counting(target=None, **options):
        names.append(getattr(target, "__qualname__", None))
        return plain(target, **options)

    monkeypatch.setattr(typeguard, "typechecked", counting)
    return names


@pytest.fixture
def module(tmp_path, monkeypatch, made):
    (tmp_path / "checked_late.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "checked_late", raising=False)
    before = typeguard.typechecked
    with type_checks.on_first_call():
        module = importlib.import_module("checked_late")
    assert typeguard.typechecked is before
    yield module
    sys.modules.pop("checked_late", None)


def test_a_function_is_instrumented_when_it_is_called_and_once(module, made):
    assert made == []
    assert module.twice(2) == 4 and module.twice(3, by=1.5) == 4.5
    assert made == ["twice"]


def test_what_is_called_is_checked_as_typeguard_does(module, made):
    with pytest.raises(typeguard.TypeCheckError, match='argument "x"'):
        module.twice("a")
    with pytest.raises(typeguard.TypeCheckError, match='argument "size"'):
        module.Part("3")
    part = module.Part.of(3)
    assert (part.size, part.name("d")) == (3, "based")
    with pytest.raises(typeguard.TypeCheckError, match='argument "suffix"'):
        part.name(1)
    assert "unused" not in made


def test_a_function_inside_another_is_instrumented_at_once(module, made):
    with type_checks.on_first_call():
        module.typechecked = typeguard.typechecked
        inner = module.outer()
    assert made == ["outer.<locals>.inner"]
    with pytest.raises(typeguard.TypeCheckError):
        inner("a")


def test_a_function_keeps_its_name_and_signature(module):
    assert module.twice.__name__ == "twice" and module.twice.__doc__ == "x, twice."
    assert str(inspect.signature(module.twice)) == "(x: int, *, by: float = 2.0) -> float"


def test_options_of_typechecked_are_passed_on(made):
    with type_checks.on_first_call():
        checked = typeguard.typechecked(collection_check_strategy="all")
    assert callable(checked) and made == [None]
