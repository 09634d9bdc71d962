"""Print a config with its bases merged in, as plain ESPnet reads it.

python -m espnet_dice.stages.config conf/train_asr_mini_student.yaml >flat.yaml
"""

from pathlib import Path

from espnet_dice.io import options
from espnet_dice.io.errors import cli
from espnet_dice.records.config_base import to_yaml
from espnet_dice.records.configs import read_config


def main(argv: list[str] | None = None) -> None:
    """Print the flat form: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("config", type=Path, help="YAML file, perhaps with a key 'base'")
    args = parser.parse_args(argv)
    print(to_yaml(read_config(args.config), args.config), end="")


if __name__ == "__main__":
    cli(main)
