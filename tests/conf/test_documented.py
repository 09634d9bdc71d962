"""Every key of a config that our models have stands in its recipe's README."""

import inspect
from pathlib import Path

import pytest

from espnet_dice.dice.model import DiceHubertModel
from espnet_dice.kd.decoder import UncertaintyTransformerDecoder
from espnet_dice.kd.model import UncertaintyKDModel

TEMPLATE = Path(__file__).resolve().parents[2] / "egs2/TEMPLATE"
GIVEN = {"n_clusters", "labels", "normalized", "heights", "vocab_size", "encoder_output_size"}
"""What the recipe says itself, from the labels and tokens that there are."""


@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        (UncertaintyKDModel, "kd1"),
        (UncertaintyTransformerDecoder, "kd1"),
        (DiceHubertModel, "dice1"),
    ],
)
def test_keys_are_documented(model, recipe):
    text = (TEMPLATE / recipe / "README.md").read_text(encoding="utf-8")
    named = {
        name
        for name, p in inspect.signature(model.__init__).parameters.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and name != "self"
    }
    said = {name for name in named if any(f"{mark}{name}" in text for mark in ("`", "--"))}
    assert named - GIVEN - said == set()
