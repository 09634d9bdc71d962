"""Warnings about a recipe's run: what ended well and may be worth nothing.

    python -m espnet_dice.stages.checks --exp exp

looks at what a run, finished or not, has left: losses that are NaN or constant, accuracy at chance,
labels with a dead or dominating cluster, utterances that were dropped, results that are empty or
all the same, recognisers with as many errors as words, teachers and students that are worse than
the student without a teacher, exports whose int8 encoder is worse than the full one. It writes
exp/WARNINGS.md and ends with 0: warnings are no errors.
"""

import sys
from pathlib import Path

from espnet_dice.checks.checks import MARKDOWN, find, write
from espnet_dice.io import options
from espnet_dice.io.errors import cli


def main(argv: list[str] | None = None) -> None:
    """The command; see ``--help``."""
    parser = options.parser(__doc__)
    parser.add_argument("--exp", default=Path("exp"), type=Path, help="experiments")
    parser.add_argument("--data", type=Path, help="data directories (beside --exp)")
    parser.add_argument("--dump", type=Path, help="features (beside --exp)")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if there are warnings")
    args = parser.parse_args(argv)
    found = find(args.exp, args.data, args.dump)
    if args.exp.is_dir():
        write(found, args.exp)
    if found:
        print(f"\n{len(found)} warnings ({args.exp / MARKDOWN}):", file=sys.stderr)
    for one in found:
        print(f"  {one}", file=sys.stderr)
    sys.exit(1 if found and args.strict else 0)


if __name__ == "__main__":
    cli(main)
