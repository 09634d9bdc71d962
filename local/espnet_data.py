"""Let a recipe of an ESPnet checkout prepare its corpus, and take the sets from its ``data/``.

    python local/espnet_data.py --espnet_root ESPNET --recipe librispeech --out data train_960 dev

runs ``ESPNET/egs2/librispeech/asr1/local/data.sh`` as that recipe's ``asr.sh`` does: in the
recipe's directory, after its path.sh and cmd.sh. That is shell of the checkout; it reads the
recipe's db.sh, may download, and needs what ESPnet's recipes need (sph2pipe, sox …). It is run once
for each checkout, recipe and --data_opts; to have it run again, remove ``.espnet_data_RECIPE`` in
--out.
"""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from espnet_dice.io import processes
from espnet_dice.io.errors import DataError, cli
from espnet_dice.io.fingerprint import Fingerprint
from local.take_data import parse_names, report, take_sets
from local.text_rules import RULES

MARK = ".espnet_data"
ENTER = "set -euo pipefail; . ./path.sh; . ./cmd.sh; "


def recipe_dir(espnet_root: str | Path, recipe: str) -> Path:
    """Directory of a recipe: ``wsj`` is ``egs2/wsj/asr1``, ``wsj/asr2`` another.

    Raises:
        DataError: it is no recipe with a data stage.
    """
    root = Path(espnet_root)
    found = (root / "egs2" / (recipe if "/" in recipe else f"{recipe}/asr1")).absolute()
    for name in ("path.sh", "cmd.sh", "local/data.sh"):
        if not (found / name).is_file():
            raise DataError(
                f"{found}: no {name}; --espnet_root is a git checkout of ESPnet (its pip package "
                "has no egs2), and --espnet_recipe one of its recipes"
            )
    return found


def run_data_stage(recipe: Path, data_opts: str = "") -> None:
    """Run the recipe's ``local/data.sh``; what it says goes to stderr.

    Raises:
        DataError: it ended with an error.
    """
    command = ["bash", "-c", ENTER + 'local/data.sh "$@"', "data.sh", *shlex.split(data_opts)]
    # bash takes PWD from its environment; ESPnet's path.sh builds paths from it
    env = os.environ | {"PWD": str(recipe)}
    code = processes.run(command, cwd=recipe, env=env, stdout=sys.stderr)
    if code:
        raise DataError(
            f"{recipe}/local/data.sh ended with exit code {code}, see above; "
            "what it needs (db.sh, sph2pipe …) is said in that recipe"
        )


def search_path(recipe: Path) -> str:
    """``PATH`` as the recipe's path.sh sets it: where its sph2pipe and flac are."""
    done = subprocess.run(
        ["bash", "-c", '. ./path.sh >/dev/null 2>&1; printf %s "$PATH"'],
        cwd=recipe,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout or os.environ.get("PATH", "")


def make_sets(
    espnet_root: str | Path,
    recipe: str,
    out: str | Path,
    names: dict[str, str],
    text_rules: str = "none",
    data_opts: str = "",
) -> dict[str, tuple[int, int]]:
    """Run the data stage unless that was done, and take its sets; see :func:`take_sets`.

    Raises:
        DiceError: the data stage failed, or its sets hold faults.
    """
    directory, out = recipe_dir(espnet_root, recipe), Path(out)
    mark = Fingerprint("espnet_data", {"recipe": str(directory), "data_opts": data_opts}, {})
    done = out / f"{MARK}_{directory.parent.name}"
    there = all((directory / "data" / theirs / "wav.scp").is_file() for theirs in names.values())
    if not (there and mark.is_done(done)):
        run_data_stage(directory, data_opts)
        mark.finish(done)
    return take_sets(directory / "data", out, names, text_rules, search_path(directory))


def main() -> None:
    """The command."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--espnet_root", required=True, help="git checkout of ESPnet")
    p.add_argument("--recipe", required=True, help="corpus, or corpus/recipe, under egs2/")
    p.add_argument("--data_opts", default="", help="options for its local/data.sh")
    p.add_argument("--out", required=True, help="where the sets go")
    p.add_argument("--text_rules", choices=RULES, default="none", help="default: none")
    p.add_argument("sets", nargs="+", help="names: SET, or SET=NAME if it is called NAME there")
    a = p.parse_args()
    names = parse_names(a.sets)
    report(a.out, make_sets(a.espnet_root, a.recipe, a.out, names, a.text_rules, a.data_opts))


if __name__ == "__main__":
    cli(main)
