"""Alignments of three formats, the same phones out of each; and what is wrong with one."""

import pytest

from espnet_dice.io.errors import DataError, ProblemList
from espnet_dice.records import phones

SPOKEN = [("AE", 0.1, 0.2), ("T", 0.2, 0.28), ("S", 0.4, 0.5)]
WANTED = [
    ("AE", 0.1, 0.2, "SIL", "T"),
    ("T", 0.2, 0.28, "AE", "SIL"),
    ("S", 0.4, 0.5, "SIL", "SIL"),
]
LENGTHS = {"u1": 0.6, "u2": 1.0}

ITEM = "#file onset offset #phone prev-phone next-phone speaker\n" + "".join(
    f"u1 {on} {off} {name} {before} {after} spk\n" for name, on, off, before, after in WANTED
)
CTM = ";; made by hand\nu1 1 0.00 0.10 SIL\nu1 1 0.10 0.10 AE 0.9\nu1 1 0.20 0.08 T\n" + (
    "u1 1 0.28 0.12 sil_S\nu1 1 0.40 0.10 S\n"
)
SPANS = [(0.0, 0.1, ""), (0.1, 0.2, "AE"), (0.2, 0.28, "T"), (0.28, 0.4, "sp"), (0.4, 0.5, "S")]


def long_grid() -> str:
    tiers = []
    for n, (name, spans) in enumerate((("words", [(0.0, 0.6, 'at "s"')]), ("s - phones", SPANS))):
        lines = [
            f"        intervals [{k}]:\n            xmin = {a}\n            xmax = {b}\n"
            f'            text = "{text.replace(chr(34), chr(34) * 2)}"\n'
            for k, (a, b, text) in enumerate(spans, 1)
        ]
        tiers.append(
            f'    item [{n + 1}]:\n        class = "IntervalTier"\n        name = "{name}"\n'
            f"        xmin = 0\n        xmax = 0.6\n        intervals: size = {len(spans)}\n"
            + "".join(lines)
        )
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 0.6\n'
    return f"{head}tiers? <exists>\nsize = 2\nitem []:\n{''.join(tiers)}"


def short_grid() -> str:
    spans = "".join(f'{a}\n{b}\n"{text}"\n' for a, b, text in SPANS)
    points = '"TextTier"\n"clicks"\n0\n0.6\n1\n0.3\n"x"\n'
    tier = f'"IntervalTier"\n"phones"\n0\n0.6\n{len(SPANS)}\n{spans}'
    return f'File type = "ooTextFile"\n"TextGrid"\n\n0\n0.6\n<exists>\n2\n{points}{tier}'


FILES = {
    "a.item": ITEM.encode(),
    "a.ctm": CTM.encode(),
    "grids/u1.TextGrid": long_grid().encode(),
    "u1.TextGrid": short_grid().encode("utf-16"),
}


@pytest.mark.parametrize("name", FILES)
def test_the_same_phones_out_of_every_format(name, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(FILES[name])
    given = path.parent if name.startswith("grids") else path
    found = phones.read([given], LENGTHS, {"u1": "spk"})
    assert list(found) == ["u1"]
    got = [(p.name, p.onset, p.offset, p.before, p.after) for p in found["u1"]]
    assert [p[0::3] + p[4:] for p in got] == [p[0::3] + p[4:] for p in WANTED]
    for p, want in zip(got, WANTED, strict=True):
        assert p[1:3] == pytest.approx(want[1:3])
    assert {p.speaker for p in found["u1"]} == {"spk"}
    assert found["u1"][0].where.startswith(f"{path}:")


def test_frames_have_the_phone_of_their_centre(tmp_path):
    (tmp_path / "a").write_text(ITEM)
    found = phones.read([tmp_path / "a"], LENGTHS)["u1"]
    centres = [0.02 * t + 0.01 for t in range(29)]
    wanted = [
        next((n for n, on, off in SPOKEN if on - 1e-9 <= c < off - 1e-9), "") for c in centres
    ]
    assert phones.on_frames(found, 29) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ITEM + "u1 0.1 0.2 AE\n", r"a:5: expected 'file onset"),
        (ITEM + "u1 0.1 x AE SIL T spk\n", r"a:5: expected 'file onset"),
        (ITEM + "u1 0.5 0.7 AE SIL T spk\n", r"a:5: u1: AE from 0.5 to 0.7 s, .* of 0.60 s"),
        (ITEM + "u2 0.5 0.5 AE SIL T spk\n", r"a:5: u2: AE from 0.5 to 0.5 s"),
        (CTM + "u1 1 0.5\n", r"a:7: expected 'utterance channel"),
        ("u1 a b c d\n", "a:1: .* an alignment is an item file"),
        ("", "an alignment is an item file"),
        (ITEM.replace("u1 ", "v1 "), r"none of the utterances, such as 'u1', it has 'v1' .*a:2"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text, said, tmp_path):
    (tmp_path / "a").write_text(text)
    with pytest.raises(DataError, match=said):
        phones.read([tmp_path / "a"], LENGTHS)


def test_what_is_wrong_with_a_textgrid(tmp_path):
    path = tmp_path / "u1.TextGrid"
    for text, said in (
        (long_grid()[:-40], "cut off"),
        (long_grid().replace("xmin = 0.28", 'xmin = "x"'), r"TextGrid:\d+: \"x\" where a number"),
        (long_grid().replace("s - phones", "phone"), "0 interval tiers called 'phones'.* words"),
        ("RIFF", "cut off"),
        ('"ooTextFile"\n"Sound"', "no TextGrid"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            phones.read([path], LENGTHS)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no \\*.TextGrid"):
        phones.read([tmp_path / "none"], LENGTHS)
    with pytest.raises(DataError, match="no such alignment"):
        phones.read([tmp_path / "x"], LENGTHS)


def test_many_problems_are_said_together(tmp_path):
    (tmp_path / "a").write_text(ITEM + "u1 0.1\nu1 7 8 AE SIL T spk\n")
    with pytest.raises(ProblemList) as caught:
        phones.read([tmp_path / "a"], LENGTHS)
    assert len(caught.value.problems) == 2


def test_times_of_triphones_are_not_for_labels(tmp_path):
    (tmp_path / "a").write_text(ITEM.replace("u1 0.2 0.28", "u1 0.1 0.28"))
    found = phones.read([tmp_path / "a"], LENGTHS)["u1"]
    with pytest.raises(DataError, match="triphones"):
        phones.on_frames(found, 30)
