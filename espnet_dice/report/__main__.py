"""``python -m espnet_dice.report EXP_DIR``."""

from espnet_dice.io.errors import cli
from espnet_dice.report.main import main

cli(main)
