"""ESPnet's type checks: of a function's first call, with typeguard's rules."""

import importlib
import inspect
import sys

import pytest
import typeguard

from espnet_dice import type_checks

SOURCE = '''
from collections.abc import Iterator

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


@typechecked
def many(*words: str, **sizes: int) -> int:
    return len(words) + len(sizes)


@typechecked
def lies(x: int) -> str:
    return x


@typechecked
def counted(n: int) -> Iterator[int]:
    yield from range(n)


@typechecked
def unknown(x: "OfTypeCheckersOnly") -> int:
    return x


def outer():
    @typechecked
    def inner(x: int) -> int:
        return x

    return inner
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "checked_late.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "checked_late", raising=False)
    before = typeguard.typechecked
    with type_checks.on_first_call():
        module = importlib.import_module("checked_late")
    assert typeguard.typechecked is before
    yield module
    sys.modules.pop("checked_late", None)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("twice('a')", 'argument "x" of twice'),
        ("twice(2, by=[])", 'argument "by" of twice'),
        ("twice(x=None)", 'argument "x" of twice'),
        ("Part('3')", 'argument "size" of Part.__init__'),
        ("Part.of('3')", 'argument "size" of Part.of'),
        ("Part(3).name(1)", 'argument "suffix" of Part.name'),
        ("many('a', 1)", 'argument "words[1]" of many'),
        ("many(size=2.5)", 'argument "size" of many'),
        ("lies(1)", "the return value is not an instance of str"),
        ("outer()('a')", 'argument "x" of outer.<locals>.inner'),
    ],
)
def test_a_first_call_is_checked_as_typeguard_does(module, call, says):
    with pytest.raises(typeguard.TypeCheckError) as told:
        eval(call, vars(module))
    assert says in str(told.value)


def test_what_typeguard_lets_pass_passes(module):
    assert module.twice(2) == 4 and module.twice(3, by=1.5) == 4.5
    assert module.many("a", "b", size=2, other=3) == 4
    part = module.Part.of(3)
    assert (part.size, part.name("d")) == (3, "based")
    assert list(module.counted(2)) == [0, 1]
    assert module.unknown(1) == 1
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        module.unused()


def test_calls_after_a_right_one_are_not_checked(module, monkeypatch):
    for _ in range(2):
        with pytest.raises(typeguard.TypeCheckError):
            module.twice("a")
    module.twice(2)
    monkeypatch.setattr(typeguard, "check_type", None)
    assert module.twice("a", by=2) == "aa"


def test_a_function_keeps_its_name_and_signature(module):
    assert module.twice.__name__ == "twice" and module.twice.__doc__ == "x, twice."
    assert str(inspect.signature(module.twice)) == "(x: int, *, by: float = 2.0) -> float"


def test_options_of_typechecked_are_passed_on(monkeypatch):
    given = []
    monkeypatch.setattr(typeguard, "typechecked", lambda *args, **options: given.append(options))
    with type_checks.on_first_call():
        typeguard.typechecked(collection_check_strategy="all")
    assert given == [{"collection_check_strategy": "all"}]
