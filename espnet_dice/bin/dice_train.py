"""Train a DiceHuBERT student with ESPnet's trainer.

    python -m espnet_dice.bin.dice_train --config conf/train_dice_narrow_hard.yaml --labels DIR …

It takes ESPnet's options, so ``espnet2.bin.launch`` starts it on several hosts and GPUs.
"""

from espnet_dice.io.errors import cli


def get_parser():
    """The parser of all options."""
    from espnet_dice.dice.task import DiceHubertTask

    return DiceHubertTask.get_parser()


def main(cmd: list[str] | None = None) -> None:
    """Train a student: a command."""
    from espnet_dice.dice.task import DiceHubertTask

    DiceHubertTask.main(cmd=cmd)


if __name__ == "__main__":
    cli(main)
