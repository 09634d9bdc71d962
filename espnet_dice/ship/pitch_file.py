"""``pitch.py``: the modules of :mod:`espnet_dice.features` that make pitch features, in one file.

The code is what trained the model, and needs NumPy alone.
"""

import ast
import re
from pathlib import Path

from espnet_dice import features

NAME = "pitch.py"
PARTS = ("resample", "pitch_options", "pitch_features", "viterbi", "pitch")
HEAD = '"""Kaldi\'s pitch features of espnet_dice, gathered from its modules: needs NumPy."""\n'
INSTEAD = {
    "check_wave": "def check_wave(wave, sample_rate):\n    return wave, sample_rate\n",
    "compiled_sweep": "def compiled_sweep():\n    return sweep_numpy\n",
    "_sweep": "",
}
"""The runtime checks its samples itself, and has no numba."""


def text() -> str:
    """The source of the file."""
    imports, bodies, seen = set(), [], set()
    for part in PARTS:
        source = (Path(features.__file__).parent / f"{part}.py").read_text(encoding="utf-8")
        lines = source.splitlines()
        drop: set[int] = set()
        for node in ast.parse(source).body:
            names = _bound(node)
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                if not getattr(node, "module", "").startswith("espnet_dice"):
                    imports.add(ast.unparse(node))
            elif names & seen:
                raise ValueError(f"{part}.py: {names & seen} is in another part, too")
            elif not (isinstance(node, ast.Expr) or names & {*INSTEAD, "__all__"}):
                seen |= names
                continue
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
            drop |= {*range(first - 1, node.end_lineno)}
        bodies.append("\n".join(line for n, line in enumerate(lines) if n not in drop).strip())
    body = "\n\n\n".join([*bodies, *(code.strip() for code in INSTEAD.values() if code)])
    used = sorted(line for line in imports if _is_used(line, body))
    return HEAD + "\n" + "\n".join(used) + "\n\n\n" + re.sub(r"\n{4,}", "\n\n\n", body) + "\n"


def _bound(node: ast.stmt) -> set[str]:
    """The names that a statement of a module binds, imports aside."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else ()
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _is_used(line: str, body: str) -> bool:
    (statement,) = ast.parse(line).body
    names = [alias.asname or alias.name for alias in statement.names]
    return any(re.search(rf"\b{name}\b", body) for name in names)
