"""The embedded corpus with ESPnet 202611: python run.py --training_config conf/training.yaml."""

from espnet_dice.io.errors import cli
from espnet_dice.systems import kd1

if __name__ == "__main__":
    cli(kd1)
