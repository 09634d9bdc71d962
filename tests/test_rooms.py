"""The floor plan: which folder may import from which, read from the source."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "espnet_dice"
ORDER = (
    "io/sound",
    "io",
    "io/untrusted",
    "compat",
    "guards",
    "registry",
    "features",
    "work",
    "records",
    "hubert/models",
    "hubert/formats",
    "hubert",
    "labels",
    "dice",
    "kd",
    "probes",
    "training",
    "decoding",
    "results",
    "ship",
    "export/onnx",
    "export/cards",
    "export",
    "checks",
    "plan",
    "report",
    "inference",
    "start",
    "stages",
    "systems",
)
"""A room imports only from rooms above it here; CONTRIBUTING.md says what each holds."""
DOORS = ("__init__", "__main__", "compare", "extract", "run", "transcribe")
"""Modules at the top: commands, and what ``import espnet_dice`` gives."""
APART = (("kd", "dice"),)
"""The two papers know nothing of each other."""
MOST_FILES = 15


def sources(package: Path = PACKAGE) -> dict[str, Path]:
    """Module → file, of every Python file of the package."""
    return {_module(p, package): p for p in sorted(package.rglob("*.py"))}


def _module(path: Path, package: Path) -> str:
    name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of the package that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else node.module for name in names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "espnet_dice")


def room_of(path: Path, package: Path = PACKAGE) -> str:
    """The folder of a file, or its own name at the top."""
    inside = path.relative_to(package)
    return inside.parent.as_posix() if len(inside.parts) > 1 else inside.stem


def faults(package: Path = PACKAGE) -> list[str]:
    """Imports against the order, one line each."""
    known = sources(package)
    found = []
    for module, path in known.items():
        here = room_of(path, package)
        for name in sorted(set(imports(path, known))):
            if name not in known:
                found.append(f"{module} imports {name}, which is not there")
                continue
            there = room_of(known[name], package)
            if there == here or here in DOORS or there == "__init__":
                continue
            if there in DOORS or ORDER.index(there) > ORDER.index(here) or (here, there) in APART:
                found.append(f"{module} ({here}) imports {name} ({there})")
    return found


def test_every_folder_has_its_place():
    assert {room_of(path) for path in sources().values()} <= {*ORDER, *DOORS}


def test_imports_keep_the_order():
    assert faults() == []


def test_no_stage_is_imported():
    known = sources()
    for module, path in known.items():
        into = [name for name in imports(path, known) if name.startswith("espnet_dice.stages")]
        assert not into, f"{module} imports {into[0]}: a stage is a command"


def test_no_folder_is_crowded():
    counts = Counter(room_of(p) for p in sources().values() if p.name != "__init__.py")
    crowded = {room: n for room, n in counts.items() if n > MOST_FILES and room != "stages"}
    assert crowded == {}


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("labels/kmeans.py", "from espnet_dice.stages import kmeans"),
        ("io/atomic.py", "from espnet_dice.features import fbank"),
        ("kd/losses.py", "from espnet_dice.dice import losses"),
        ("dice/losses.py", "import espnet_dice.kd.losses"),
        ("records/tokens.py", "def late():\n    from espnet_dice.training import trainer"),
    ],
)
def test_an_import_against_the_order_is_found(where, line, tmp_path):
    package = tmp_path / "espnet_dice"
    for path in sources().values():
        copy = package / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    assert faults(package) == []
    with open(package / where, "a", encoding="utf-8") as f:
        f.write(f"\n{line}\n")
    assert len(faults(package)) == 1
