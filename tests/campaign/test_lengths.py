"""What a header says of its length is not believed: every format, read in every way."""

import pytest
import soundfile

from tests.campaign import lengths

UNREADABLE = ("AIFF DWVW_16", "AIFF DWVW_24", "MAT4", "PAF")
"""DWVW: by libsndfile itself; the others hold no length that can be checked."""
LOSSLESS_ENDS = ("whole", "tagged", "unended", "streamed", "streamed, 0", "streamed, sox")
LOSSLESS_ENDS += ("streamed, notes",)
"""States in which nothing is missing."""


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    directory = tmp_path_factory.mktemp("lengths")
    return [case for kind in lengths.kinds() for case in lengths.read_all(directory, kind)]


def test_samples_are_right_or_refused(cases):
    assert len(cases) > 2000
    assert [c for c in cases if c.outcome not in ("right", "refused")] == []


def test_whole_files_are_read(cases):
    refused = [
        c
        for c in cases
        if c.state in LOSSLESS_ENDS
        and c.outcome == "refused"
        and not c.kind.startswith(UNREADABLE)
        # what is streamed would run on, and a tag is no beginning of a file there
        and not (c.way == "ark" and c.state.startswith(("streamed", "tagged")))
    ]
    assert refused == []


def test_what_is_missing_is_refused(cases):
    """A part of a file passes only where the format holds no length."""
    passed = {
        c.kind.split()[0] for c in cases if c.state in ("cut", "late") and c.outcome == "right"
    }
    assert passed == set(lengths.ENDLESS)


def test_joined_mpeg_and_ogg_are_read_to_the_end(cases):
    ways = {
        (c.kind, c.way): c.outcome
        for c in cases
        if c.state == "joined" and c.kind.startswith(("MP3", "OGG"))
    }
    assert set(ways.values()) == {"right"} and len(ways) >= 8
    assert "MP3" in soundfile.available_formats()
