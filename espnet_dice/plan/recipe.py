"""A recipe that is about to run: its options, its stages, what each makes, its sets."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        number: from 1.
        title: in words.
        made: directories that it makes, each with a fingerprint; none for a stage that is quick
            and always done.
    """

    number: int
    title: str
    made: tuple[Path, ...]


@dataclass(frozen=True)
class Recipe:
    """What a recipe's script was asked.

    Attributes:
        name: ``kd1`` or ``dice1``.
        options: of the script, each a text.
        stages: all that it has.
        configs: directory of a model → its config.
        data_made: stage 1 has prepared the data just now.
    """

    name: str
    options: Mapping[str, str]
    stages: tuple[Stage, ...] = ()
    configs: dict[Path, Path] = field(default_factory=dict)
    data_made: bool = False

    def __getitem__(self, option: str) -> str:
        return self.options.get(option, "")

    def words(self, option: str) -> list[str]:
        """An option of several words."""
        return self[option].split()

    def number(self, option: str) -> int:
        """An option that is a whole number; 0 where it is empty."""
        return int(self[option] or 0)

    def is_true(self, option: str) -> bool:
        """An option that is true or false."""
        return self[option] == "true"

    def runs(self, *numbers: int) -> bool:
        """Whether any of these stages is asked for."""
        first, last = self.number("stage") or 1, self.number("stop_stage") or 99
        skipped = set(self.words("skipped"))
        return any(first <= n <= last and str(n) not in skipped for n in numbers)

    def path(self, option: str) -> Path:
        """A directory that the user names: it starts where the user was."""
        return Path(os.environ.get("CALLER_DIR") or ".") / self[option]

    def place(self, name: str) -> Path | None:
        """Where the tables of a set are: prepared here, or to be taken by ``--data_dir``.

        None where the set is not made yet.
        """
        if self["data_dir"] and not self.data_made and self.runs(1):
            names = dict(entry.partition("=")[::2] for entry in self.words("data_names"))
            found = self.path("data_dir") / names.get(name, name)
        else:
            found = Path(self["datadir"]) / name
        return found if (found / "wav.scp").is_file() else None

    @property
    def trained_teachers(self) -> dict[str, tuple[str, str]]:
        """Teacher of kd1 that is trained here → its sets."""
        entries = (entry.partition("=") for entry in self.words("teachers"))
        sets = {name: value for name, _, value in entries if not value.startswith("exp:")}
        return {name: tuple(value.split("/")[:2]) for name, value in sets.items()}

    @property
    def taken_teachers(self) -> dict[str, Path]:
        """Teacher of kd1 that another recipe trained → its experiment."""
        entries = (entry.partition("=") for entry in self.words("teachers"))
        return {
            name: Path(value.removeprefix("exp:"))
            for name, _, value in entries
            if value.startswith("exp:")
        }

    @property
    def sets(self) -> list[str]:
        """All sets, each once."""
        named = ("train_set", "valid_set", "probe_train", "probe_dev", "dev_set")
        found = [self[option] for option in named] + self.words("test_sets")
        found += [one for pair in self.trained_teachers.values() for one in pair]
        return [name for name in dict.fromkeys(found) if name]


def parse(name: str, pairs: Sequence[str], made: Sequence[Sequence[str]], **more) -> Recipe:
    """A recipe from the words of a command.

    Args:
        name: of the recipe.
        pairs: ``OPTION=VALUE``.
        made: of each stage its number, title and directories.
        more: see :class:`Recipe`.
    """
    options = dict(pair.partition("=")[::2] for pair in pairs)
    stages = tuple(Stage(int(n), title, tuple(map(Path, dirs))) for n, title, *dirs in made)
    return Recipe(name, options, stages, **more)


def split(text: str) -> list[str]:
    """Words of an option that may hold quotes."""
    return shlex.split(text)
