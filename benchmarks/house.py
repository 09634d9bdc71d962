"""The house in numbers: modules, lines, files a folder, folder cycles, who reads which file.

    python benchmarks/house.py            # the working tree
    python benchmarks/house.py c1e4a86    # a commit

A reader of a kind of file is a module whose source matches a pattern; kd1's way counts the modules
that its stages import, directly or not, from wav.scp to a row of word error rates.
"""

import ast
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
READERS = {
    "YAML": r"yaml\.(safe_)?load\(",
    "Kaldi text": r"def (read_text|_?texts?|check_text|read_texts)\(|\"text\"\)\.(open|read_text)",
    "train.log": r"re\.compile\([^)]*epoch",
    "JSON": r"json\.loads?\(",
    "process runner": r"^class (Pool|Forked)\b|^def run_forked\(",
}
WAY = ("data", "features", "tokens", "lm", "train", "decode", "score")
"""Stages of kd1 from wav.scp to a row."""


def tree(revision: str | None, into: Path) -> Path:
    """The package's folder, of the working tree or of a commit."""
    if revision is None:
        return ROOT / "espnet_dice"
    command = ["git", "-C", str(ROOT), "archive", revision, "espnet_dice"]
    with tarfile.open(fileobj=io.BytesIO(subprocess.check_output(command))) as packed:
        packed.extractall(into, filter="data")
    return into / "espnet_dice"


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in known else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known.keys()


def cycles(edges: set[tuple[str, str]]) -> list[str]:
    """Pairs of folders that import each other, directly or not."""
    reach = {a: {b for x, b in edges if x == a} for a, _ in edges}
    for _ in range(len(reach)):
        for a, there in reach.items():
            for b in tuple(there):
                there |= reach.get(b, set())
            reach[a] = there
    both = {tuple(sorted((a, b))) for a in reach for b in reach[a] if a in reach.get(b, ())}
    return [f"{a} ~ {b}" for a, b in sorted(both) if a != b]


def main(revision: str | None = None) -> None:
    """Print the numbers."""
    with tempfile.TemporaryDirectory() as tmp:
        package = tree(revision, Path(tmp))
        known = {}
        for path in sorted(package.rglob("*.py")):
            name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
            known[name.removesuffix(".__init__")] = path
        modules = {n: p for n, p in known.items() if p.name != "__init__.py"}
        text = {name: path.read_text(encoding="utf-8") for name, path in known.items()}
        print(f"modules {len(modules)}, lines {sum(t.count(chr(10)) for t in text.values())}")
        folders = Counter(p.parent.relative_to(package).as_posix() for p in modules.values())
        print("files a folder:", ", ".join(f"{k} {n}" for k, n in folders.most_common()))
        graph = {name: imports(path, known) for name, path in known.items()}

        def room(name: str) -> str:
            return known[name].parent.relative_to(package).as_posix()

        edges = {(room(a), room(b)) for a, there in graph.items() for b in there}
        edges = {(a, b) for a, b in edges if a != b and "." not in (a, b)}
        print("folder cycles:", "; ".join(cycles(edges)) or "none")
        into = sorted(n for n, there in graph.items() for b in there if ".stages." in b + ".")
        print("imports of stages from elsewhere:", sum(".stages." not in n for n in into))
        for kind, pattern in READERS.items():
            found = [n for n, t in text.items() if re.search(pattern, t, re.MULTILINE)]
            names = ", ".join(n.removeprefix("espnet_dice.") for n in found)
            print(f"{kind}: {len(found)} ({names})")
        seen, left = set(), [f"espnet_dice.stages.{s}" for s in WAY]
        while left:
            name = left.pop()
            if name in known and name not in seen:
                seen.add(name)
                left += graph[name]
        print(f"kd1's way from wav.scp to a row: {len(seen & modules.keys())} modules")


if __name__ == "__main__":
    main(*sys.argv[1:2])
