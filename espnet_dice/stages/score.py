"""Stage 10: WER and CER of everything that was decoded, as RESULTS.md and results.json.

Every finished ``exp/asr_*/decode_*/<set>`` is scored with jiwer, and with sclite too where it is
installed; ``score_wer/result.txt`` beside it and ``RESULTS_espnet.md`` say it in ESPnet's form. A
result whose model was trained again since is left out, with a warning.
"""

from pathlib import Path

from espnet_dice.io import options
from espnet_dice.io.atomic import write_text
from espnet_dice.io.errors import cli
from espnet_dice.io.progress import setup_logging
from espnet_dice.results import arms, espnet_table, recognisers
from espnet_dice.results import table as results
from espnet_dice.results.score import score


def main(argv: list[str] | None = None) -> None:
    """Score and print the table: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("--exp", default=Path("exp"), type=Path, help="experiments")
    args = parser.parse_args(argv)
    setup_logging()
    rows = score(args.exp)
    results.write(rows, args.exp)
    against = arms.section(recognisers.read(args.exp))
    if against:
        results.add_section(args.exp, arms.TITLE, against)
    write_text(args.exp / espnet_table.MARKDOWN, espnet_table.table(args.exp))
    print(results.table(rows))
    names = (results.MARKDOWN, espnet_table.MARKDOWN, results.JSON)
    print(f"\nin {', '.join(str(args.exp / name) for name in names)}")


if __name__ == "__main__":
    cli(main)
