"""Stage 7 of DiceHuBERT: the probes of all systems in one table, RESULTS.md and results.json.

The table has the systems, in their order, of the last run of the probes. A result whose model was
trained again since is left out, with a warning.
"""

from pathlib import Path

from espnet_dice.io import options
from espnet_dice.io.errors import cli
from espnet_dice.io.progress import setup_logging
from espnet_dice.results import abx
from espnet_dice.results.dice_results import collect, spread_table, table, write
from espnet_dice.results.table import JSON, MARKDOWN


def main(argv: list[str] | None = None) -> None:
    """Collect and print the table: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("--exp", default=Path("exp"), type=Path, help="experiments")
    args = parser.parse_args(argv)
    setup_logging()
    rows, records = collect(args.exp)
    heard = abx.section(abx.read(args.exp, rows))
    write(rows, records, args.exp, [heard] if heard else [])
    for part in (table(rows, records), spread_table(rows, records), heard):
        if part:
            print(f"{part}\n")
    print(f"in {args.exp / MARKDOWN} and {args.exp / JSON}")


if __name__ == "__main__":
    cli(main)
