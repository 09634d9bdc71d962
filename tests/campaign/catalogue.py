"""A catalogue of bad input: each case breaks something, and the command must say what.

    python -m tests.campaign.catalogue            # writes tests/campaign/BAD_INPUT.md
    python -m tests.campaign.catalogue CASE …     # runs some, by words in what is wrong

The table is what the commands said when it was written; ``test_bad_input.py`` runs every case and
compares.
"""

import contextlib
import importlib
import io
import json
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from espnet_dice.io import errors

TABLE = Path(__file__).with_name("BAD_INPUT.md")
MODULES = (
    "bad_data", "bad_audio", "bad_text", "bad_config", "bad_quantizers",
    "bad_layers", "bad_alignments", "bad_stores", "bad_results", "bad_teachers", "bad_commands",
)  # fmt: skip
HEAD = """# Bad input: what is wrong, and what the command says

Made by `python -m tests.campaign.catalogue` from the cases beside it, which `./test.sh` runs.
Each command ended with exit code 2, without a traceback, and left nothing half-written.
"""
Command = tuple[Callable[[list[str]], object], list[str]]
CASES: list["Case"] = []


@dataclass(frozen=True)
class Case:
    """One thing that can be wrong.

    Attributes:
        area: of the table.
        wrong: in words.
        says: what the message must contain: where it is, and the way out.
        provoke: makes it in the working directory; returns a command's ``main`` and its arguments.
        theirs: a regular expression for words of another package in the message.
    """

    area: str
    wrong: str
    says: tuple[str, ...]
    provoke: Callable[[], Command]
    theirs: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Attributes:
        code: exit code; None where the command did not end with one.
        message: on stderr, without the temporary directory.
        left: files that should not be there.
    """

    code: int | None
    message: str
    left: list[str]


def case(area: str, wrong: str, *says: str, theirs: str = "") -> Callable:
    """Add a function to the catalogue."""

    def add(provoke: Callable[[], Command]) -> Callable[[], Command]:
        CASES.append(Case(area, wrong, says, provoke, theirs))
        return provoke

    return add


def load() -> list[Case]:
    """All cases, area by area."""
    for name in MODULES:
        importlib.import_module(f"tests.campaign.{name}")
    # one module may import another, and each adds its cases when it is imported
    order = {f"tests.campaign.{name}": at for at, name in enumerate(MODULES)}
    return sorted(CASES, key=lambda one: order[one.provoke.__module__])


def run(one: Case, directory: Path) -> Outcome:
    """Provoke a case in an empty directory."""
    with contextlib.chdir(directory):
        main, argv = one.provoke()
        before = _finished(directory)
        said, code = _captured(lambda: errors.cli(lambda: main(argv)))
        left = [str(p.relative_to(directory)) for p in directory.rglob(".*.tmp")]
        left += sorted(_finished(directory) - before)
    message = said.replace(f"{directory}/", "").replace(f"{directory.resolve()}/", "")
    if one.theirs:
        message = re.sub(one.theirs, "…", message)
    return Outcome(code, message.strip(), left)


def _captured(call: Callable[[], None]) -> tuple[str, int | None]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            call()
            code = None
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            code = None
            said.write(traceback.format_exc())
    lines = said.getvalue().splitlines()
    # what a command logs on its way is no part of the message
    start = next((i for i, line in enumerate(lines) if line.startswith("error: ")), 0)
    return "\n".join(lines[start:]), code


def _finished(directory: Path) -> set[str]:
    """Directories that say that they are whole."""
    found = set()
    for path in directory.rglob(".fingerprint.json"):
        with contextlib.suppress(ValueError, AttributeError):
            if json.loads(path.read_text()).get("done"):
                found.add(str(path.parent.relative_to(directory)))
    return found


def outcomes(chosen: list[Case]) -> Iterator[tuple[Case, Outcome]]:
    """Run cases, each in a directory of its own."""
    for one in chosen:
        with tempfile.TemporaryDirectory() as tmp:
            yield one, run(one, Path(tmp))


def row(one: Case, said: Outcome) -> str:
    """A line of the table."""
    message = said.message.removeprefix("error: ").replace("|", "\\|")
    return f"| {one.wrong} | {'<br>'.join(line.strip() for line in message.splitlines())} |"


def table(rows: list[tuple[Case, Outcome]]) -> str:
    """The whole table as Markdown."""
    areas = dict.fromkeys(one.area for one, _ in rows)
    messages = {said.message for _, said in rows}
    parts = [HEAD + f"\n{len(rows)} cases, {len(messages)} different messages.\n"]
    for area in areas:
        lines = [row(one, said) for one, said in rows if one.area == area]
        parts.append(f"## {area}\n\n| what is wrong | message |\n|---|---|\n" + "\n".join(lines))
    return "\n\n".join(parts).replace("\n\n\n", "\n\n") + "\n"


def main(words: list[str]) -> None:
    """Run cases; all of them: write the table."""
    chosen = [c for c in load() if not words or any(w in f"{c.area}: {c.wrong}" for w in words)]
    rows = []
    for one, said in outcomes(chosen):
        rows.append((one, said))
        missing = [s for s in one.says if s not in said.message]
        good = said.code == 2 and not missing and not said.left
        if words or not good:
            print(
                f"{'ok' if good else 'NOT OK'}  {one.area}: {one.wrong}\n    {said}\n    {missing}"
            )
    if not words:
        TABLE.write_text(table(rows), encoding="utf-8")
        print(f"{len(rows)} cases: {TABLE}")


if __name__ == "__main__":
    # the cases add themselves to the module of that name, not to this one
    importlib.import_module("tests.campaign.catalogue").main(sys.argv[1:])
