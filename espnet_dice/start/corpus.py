"""The recipe of a corpus: ``run.sh`` with names to fill in, configs, ``cmd.sh``, ``path.sh``, data.

What is written is the user's: the stages stay in the package, so that a newer one has newer stages.
"""

import datetime
import importlib.metadata
import re
import sys
from pathlib import Path

from espnet_dice.io.atomic import atomic_dir
from espnet_dice.io.errors import ConfigError
from espnet_dice.records.config_base import KEY, read_layers, to_yaml
from espnet_dice.records.configs import read_config
from espnet_dice.start import place

PARTS = {
    "path.sh": "corpus/path.sh",
    "cmd.sh": "corpus/cmd.sh",
    "local/data.sh": "corpus/data.sh",
    "run.sh": "{recipe}/corpus/run.sh",
    "README.md": "corpus/README.md",
}
"""File of a recipe → its pattern below ``egs2/TEMPLATE``."""
CONFIGS = {
    "kd1": {
        "train_asr_teacher": "train_asr_an4_teacher",
        "train_asr_student": "train_asr_an4_student",
        "train_asr_student_tok": "train_asr_an4_student_tok",
        "train_asr_student_unc": "train_asr_an4_student_unc",
        "train_lm": "train_lm_mini",
        "decode": "decode",
    },
    "dice1": {
        "train_dice_teacher": "train_dice_libri20_teacher",
        "train_dice_narrow_hard": "train_dice_libri20_narrow_hard",
        "train_dice_narrow_soft": "train_dice_libri20_narrow_soft",
        "train_dice_narrow_feature": "train_dice_libri20_narrow_feature",
        "train_dice_narrow_scratch": "train_dice_libri20_narrow_scratch",
    },
}
"""Recipe → name of a config there → ours, of the corpora of one to three hours."""
OF_CORPUS = re.compile(r" (of|for) (the )?(AN4 recipe|libri20|embedded corpus)|libri20 ")
"""What the first lines of our configs say of their own corpus."""


def init(recipe: str, corpus: str, directory: Path) -> list[Path]:
    """Write the recipe of a corpus.

    Args:
        recipe: ``kd1`` or ``dice1``.
        corpus: its name, for headings.
        directory: where it goes; may be there if it is empty.

    Returns:
        The files, below ``directory``.

    Raises:
        ConfigError: the name of the recipe or of the corpus is none; something is there.
    """
    if recipe not in CONFIGS:
        raise ConfigError(f"init {recipe}: choose one of {', '.join(CONFIGS)}")
    if not re.fullmatch(r"[\w.-]+", corpus):
        raise ConfigError(f"--corpus {corpus!r}: a name of letters, digits and ._- only")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"{directory} is there: choose a directory that is not, or is empty")
    if directory.is_dir():  # filled, not replaced: it may be the current one, or all that is ours
        with atomic_dir(directory / ".init") as made:
            _fill(made, recipe, corpus)
        new = directory / ".init"
        for path in sorted(new.iterdir()):
            path.rename(directory / path.name)
        new.rmdir()
    else:
        with atomic_dir(directory) as made:
            _fill(made, recipe, corpus)
    return sorted(p.relative_to(directory) for p in directory.rglob("*") if p.is_file())


def _fill(directory: Path, recipe: str, corpus: str) -> None:
    root = place.root()
    values = {"CORPUS": corpus, "RECIPE": recipe, "PYTHON": sys.executable} | versions()
    for name, pattern in PARTS.items():
        source = root / place.TEMPLATE / pattern.format(recipe=recipe)
        text = source.read_text(encoding="utf-8")
        text = re.sub(r"@([A-Z]+)@", lambda found: values[found[1]], text)
        _write(directory / name, text)
    for name, ours in CONFIGS[recipe].items():
        text = config(root / "conf" / f"{ours}.yaml", CONFIGS[recipe])
        _write(directory / "conf" / f"{name}.yaml", text)


def config(path: Path, names: dict[str, str]) -> str:
    """A config of ours as a recipe of its own has it.

    Args:
        path: the config.
        names: of those that go along, new name → ours; a base that does not is merged in.
    """
    new = {ours: name for name, ours in names.items()}
    text = path.read_text(encoding="utf-8")
    head = "".join(line for line in text.splitlines(True)[:4] if line.startswith("#"))
    base = read_layers(path)[1][0].stem if KEY in text and len(read_layers(path)) > 1 else None
    if base is not None and base not in new:
        body = to_yaml(read_config(path), path)
        text = head + body.partition("\n")[2]
    elif base is not None:
        text = text.replace(f"{KEY}: {base}.yaml", f"{KEY}: {new[base]}.yaml")
    return text.replace(head, OF_CORPUS.sub("", head))


def versions() -> dict[str, str]:
    """What the README of a recipe says of the environment."""
    found = {"DATE": datetime.date.today().isoformat(), "VERSION": sys.version.split()[0]}
    for key, name in (("ESPNET", "espnet"), ("DICE", "espnet-dice"), ("TORCH", "torch")):
        try:
            found[key] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[key] = "unknown"
    return found


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if path.suffix == ".sh":
        path.chmod(0o755)
