"""Small speech models by distillation, as an ESPnet plug-in.

    espnet-dice init kd1 --corpus NAME DIR     the recipe of a corpus: a recogniser and its students
    espnet-dice init dice1 --corpus NAME DIR   the same of HuBERT students
    espnet-dice doctor                         what is installed here, and what is not
    espnet-dice stages                         where the recipes' stages are
    espnet-dice transcribe EXP_DIR FILE …      a trained recogniser at work
    espnet-dice extract EXP_DIR FILE …         hidden states of a HuBERT student
    espnet-dice report EXP_DIR                 the page about an experiment directory
    espnet-dice compare EXP_DIR EXP_DIR        what differs between two, with significance
    espnet-dice checks --exp EXP_DIR           warnings about a run
    espnet-dice export --systems EXP_DIR …     ONNX, Hugging Face, plain ESPnet
    espnet-dice config FILE                    a config with its bases merged in

COMMAND --help lists its options. ``python -m espnet_dice`` is the same.
"""

import importlib
import sys
from pathlib import Path

from espnet_dice import __version__
from espnet_dice.io import options
from espnet_dice.io.errors import ConfigError, cli

COMMANDS = {
    "transcribe": "espnet_dice.transcribe",
    "extract": "espnet_dice.extract",
    "report": "espnet_dice.report.main",
    "compare": "espnet_dice.compare",
    "checks": "espnet_dice.stages.checks",
    "export": "espnet_dice.stages.export",
    "config": "espnet_dice.stages.config",
}
"""Name → module with its ``main``, imported only when it is asked for."""


def init() -> None:
    """Write the recipe of a corpus: a command."""
    parser = options.parser(f"{init.__doc__}\n\n")
    parser.add_argument("recipe", choices=("kd1", "dice1"), help="which method")
    parser.add_argument("--corpus", required=True, metavar="NAME", help="its name")
    parser.add_argument("directory", type=Path, metavar="DIR", help="where it goes; made")
    args = parser.parse_args()
    from espnet_dice.start import corpus

    for path in corpus.init(args.recipe, args.corpus, args.directory):
        print(args.directory / path)
    print(
        f"next: name the sets in {args.directory}/run.sh, write local/data.sh or put the sets into "
        "data/, then ./run.sh"
    )


def doctor() -> int:
    """Say what is installed here, and what is not; exit code 1 if something is wrong: a command."""
    options.parser(f"{doctor.__doc__}\n\n").parse_args()
    from espnet_dice.start import doctor as found

    lines = found.look(Path())
    width = max(len(line.what) for line in lines)
    for line in lines:
        print(f"{line.state:5}  {line.what:{width}}  {line.said}")
    return int(any(line.state == found.FAULT for line in lines))


def stages() -> None:
    """Print where the recipes' stages are, ``egs2/TEMPLATE``: a command."""
    options.parser(f"{stages.__doc__}\n\n").parse_args()
    from espnet_dice.start import place

    print(place.root() / place.TEMPLATE)


OWN = {"init": init, "doctor": doctor, "stages": stages}


def main() -> int | None:
    """Run the command that is named.

    Raises:
        ConfigError: there is none of that name.
    """
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(__doc__.strip())
        return None
    if name == "--version":
        print(__version__)
        return None
    if name not in {*COMMANDS, *OWN}:
        known = ", ".join([*OWN, *COMMANDS])
        raise ConfigError(f"espnet-dice {name}: no such command; there are {known}")
    sys.argv[:2] = [f"espnet-dice {name}"]  # what the command's own usage begins with
    if name in OWN:
        return OWN[name]()
    return importlib.import_module(COMMANDS[name]).main()


def command() -> None:
    """The console command."""
    cli(main)


if __name__ == "__main__":
    command()
