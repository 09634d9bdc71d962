"""Paths come out of ESPnet's own parsers as they were put in, or are refused before."""

import argparse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_dice.io import espnet_options
from espnet_dice.io.errors import ConfigError

SIGNS = st.characters(exclude_categories=["Cc", "Cs", "Cn", "Co"], exclude_characters="\ufeff")
PATHS = st.text(SIGNS | st.sampled_from(" #:,'\"[](){}%&=-/"), min_size=1, max_size=12)


@settings(deadline=None, derandomize=True, database=None)
@given(PATHS)
def test_espnet_reads_the_path_that_was_given(name):
    from espnet2.utils.nested_dict_action import NestedDictAction
    from espnet2.utils.types import str2triple_str

    parser = argparse.ArgumentParser()
    parser.add_argument("--normalize_conf", action=NestedDictAction, default={})
    path = f"exp/{name}/feats_stats.npz"
    found = parser.parse_args(["--normalize_conf", f"stats_file={espnet_options.value(path)}"])
    assert found.normalize_conf == {"stats_file": path}
    if "," in path:
        with pytest.raises(ConfigError, match="a path with a comma: choose another directory"):
            espnet_options.triple(path, "speech", "sound")
    else:
        triple = espnet_options.triple(path, "speech", "sound")
        assert str2triple_str(triple) == (path, "speech", "sound")
