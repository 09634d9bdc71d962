"""The quick part of the kills: stages that cost seconds, at a few seeded moments."""

import sys

import pytest

from tests.campaign import same, tiny_recipes
from tests.campaign.kill_plan import plan
from tests.campaign.kills import Arena, attempt
from tests.campaign.tiny_recipes import KD1
from tests.io.test_checksums import flip


@pytest.fixture(scope="module")
def arena(tmp_path_factory):
    made = Arena(KD1, tmp_path_factory.mktemp("kills"), sys.executable)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_recipes, "SIZES", {"train": 12, "dev": 4, "test": 4})
        made.prepare(3)
    return made


def test_killed_stages_end_where_undisturbed_ones_do(arena):
    records = [attempt(arena, one) for one in plan([KD1], [1, 2, 3], 6, seed=38)]
    assert sum(record["killed"] for record in records) >= 4
    assert [record for record in records if not record["survived"]] == []


def test_a_stage_in_forks_has_the_commands_that_its_script_gives(arena):
    arena.restore(4)
    before = same.describe(arena.work)
    words = tiny_recipes.commands(KD1, 4, arena.work, arena.root / "scratch")
    stages = [line[:2] for line in words]
    assert stages == [["-m", f"espnet_dice.stages.{name}"] for name in ("train", "checks")]
    assert words[0][words[0].index("--task") + 1] == "lm"
    assert same.describe(arena.work) == before


def test_the_comparison_sees_one_byte(arena, tmp_path):
    arena.restore(3)
    assert arena.compare(2) == []
    flip(arena.work / "dump/fbank_pitch/train/feats.1.ark")
    (arena.work / "dump/fbank_pitch/dev/text").unlink()
    (arena.work / "dump/.left.tmp").touch()
    assert arena.compare(2) == [
        "dump/.left.tmp: left over",
        "dump/fbank_pitch/dev/text: missing",
        "dump/fbank_pitch/train/feats.1.ark: differs",
    ]
    assert same.describe(tmp_path) == {}
