"""Every format of teachers against its library, and the docs' table of that."""

import re

import pytest

from espnet_dice.hubert import frozen
from espnet_dice.hubert.formats import teacher_files
from tests.hubert import parity

FORMATS = {which.name: which for which in parity.FORMATS}


@pytest.mark.parametrize("name", FORMATS)
def test_every_layer_is_that_of_the_library(name, tmp_path):
    case = FORMATS[name].make(tmp_path)
    assert all(wanted[0].abs().max() > 0.5 for wanted in case.wanted)  # 1e-4 is little of that
    assert case.error() < parity.BOUND
    assert teacher_files.key_of(case.source) == frozen.load(case.source).key


def test_the_table_of_the_docs():
    text = parity.DOCS.read_text(encoding="utf-8")
    lines = text[text.index(parity.HEAD[0]) :].split("\n\n")[0].splitlines()
    assert lines[:2] == list(parity.HEAD)
    errors = [float(re.search(r"\| (\d.*?) \| `", line)[1]) for line in lines[2:]]
    assert min(errors) > 0 and max(errors) < parity.BOUND
    wanted = [parity.row(which, e) for which, e in zip(parity.FORMATS, errors, strict=True)]
    assert lines[2:] == wanted
