"""Before the first stage: refuse what cannot end well; with --dry_run, print what is to be done.

    python -m espnet_dice.stages.plan kd1 --option NAME=VALUE … --made 2 features dump/fbank/train …

The recipes' scripts call it once, with all their options and what each stage makes. Mistakes are
told at once, and with exit code 2: students whose teachers are not named, probes that the sets
cannot feed, letters without a token, a teacher that does not load or has no such layer, too little
disk, GPUs that are not there.
"""

from pathlib import Path

from espnet_dice.io import options
from espnet_dice.io.errors import cli
from espnet_dice.plan import mistakes, recipe, table
from espnet_dice.records import experiment

TASKS = {"kd1": "asr", "dice1": "dice"}


def main(argv: list[str] | None = None) -> None:
    """Look ahead: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("recipe", choices=TASKS, help="which")
    parser.add_argument("--option", nargs="+", default=[], metavar="NAME=VALUE", help="all of its")
    parser.add_argument(
        "--made", nargs="+", action="append", default=[], metavar="WORD",
        help="NUMBER TITLE [DIRECTORY …] of a stage; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--job", nargs="+", action="append", default=[], metavar="WORD",
        help="TAG CONFIG … of a model, as stages.train takes it; repeatable",
    )  # fmt: skip
    parser.add_argument("--data_made", action="store_true", help="stage 1 has just made the data")
    parser.add_argument("--dry_run", action="store_true", help="print the plan, too")
    args = parser.parse_args(argv)
    asked = recipe.parse(args.recipe, args.option, args.made, data_made=args.data_made)
    exp, kind = Path(asked["expdir"]), TASKS[args.recipe]
    for tag, config, *_ in args.job:
        asked.configs[experiment.directory_of(exp, kind, tag)] = Path(config)
    if asked["lm_tag"]:
        asked.configs[exp / f"lm_{asked['lm_tag']}"] = Path(asked["lm_config"])
    if args.dry_run:
        print(table.write(asked))
    mistakes.refuse(asked)


if __name__ == "__main__":
    cli(main)
