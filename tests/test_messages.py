"""The way out that a message names works: every option in it is one that its reader can give."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "egs2" / "TEMPLATE"
OPTION = re.compile(r"--([a-z][a-z_]+)")
ROOMS = ("io", "features", "records", "hubert", "labels", "dice", "kd", "probes", "training")
"""What a recipe reaches, too: there the reader may have typed a recipe's options only."""
OTHERS = {"ignore", "output_dir", "allow_variable_data_keys"}
"""Of sox, and of ESPnet's own commands."""
OF_A_STAGE = {"args", "labels", "job", "shard", "system", "layers", "tasks", "keyword_letters"}
OF_A_STAGE |= {"max_gb", "train_seconds", "max_bytes"}
"""That recipes give themselves, or hand on; a message says so where the reader has to."""


def messages(path):
    """The text of each error and warning, with {…} for what is filled in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        made = node.exc if isinstance(node, ast.Raise) else node
        if isinstance(made, ast.Call) and _says(node, made):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else "{…}"
                for arg in made.args
                for part in (arg.values if isinstance(arg, ast.JoinedStr) else [arg])
                if not isinstance(part, ast.Constant) or isinstance(part.value, str)
            )


def _says(node, made):
    name = ast.unparse(made.func)
    return isinstance(node, ast.Raise) or name.endswith(("warning", "DataError", "_bad"))


def recipes():
    """Every option that the help of a recipe names."""
    scripts = [*TEMPLATE.glob("*.sh"), *TEMPLATE.glob("*/*.sh")]
    return {
        option
        for script in scripts
        for option in re.findall(r"^    --([a-z_]+) ", script.read_text(), re.MULTILINE)
    }


def test_messages_name_options_that_there_are():
    known, seen = recipes(), 0
    for room in ROOMS:
        for path in (ROOT / "espnet_dice" / room).rglob("*.py"):
            for said in messages(path):
                for option in OPTION.findall(said):
                    seen += 1
                    assert option in known | OTHERS | OF_A_STAGE, f"{path}: {said}"
    assert seen > 40


def test_what_only_a_stage_takes_is_told_as_that():
    for room in ("probes", "labels"):
        for path in (ROOT / "espnet_dice" / room).rglob("*.py"):
            for said in messages(path):
                asked = set(OPTION.findall(said)) & OF_A_STAGE - {"system", "layers", "shard"}
                assert not asked or "of a recipe" in said or "of the labels stage" in said, said
