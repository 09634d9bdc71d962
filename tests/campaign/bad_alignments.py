"""Alignments that are not of the speech, and what ABX cannot be taken of."""

from collections.abc import Sequence
from pathlib import Path

from espnet_dice.stages import abx, labels
from tests.campaign.bad_quantizers import cluster, speech
from tests.campaign.catalogue import Command, case
from tests.hubert import tiny_models

AREA = "Alignments and ABX"
HEAD = "#file onset offset #phone prev-phone next-phone speaker"
TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 0.3
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 0.3
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 0.2
            text = "A"
"""


def scored(name: str, text: str | Sequence[str], *more: str) -> Command:
    """ABX of MFCC with an alignment."""
    speech()
    if text:
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text if isinstance(text, str) else "".join(f"{x}\n" for x in text))
    argv = ["--system", "mfcc=mfcc", "--dump", "dump/raw", "--sets", "d", "--nj", "1"]
    return abx.main, [*argv, "--alignment", name, *more]


def item(*lines: str) -> list[str]:
    """An item file of utterance u000, and lines behind."""
    phones = [f"u000 0.0{k} 0.{k}9 {name} X Y s" for k, name in enumerate("AB")]
    return [HEAD, *phones, *lines]


def cells() -> list[str]:
    """One of which both errors can be taken."""
    said = ((s, name, n) for s in range(2) for n, name in enumerate("AABB"))
    phones = [f"u00{s} {0.06 * n:g} {0.06 * n + 0.05:g} {name} X Y s{s}" for s, name, n in said]
    return [HEAD, *phones]


@case(AREA, "an alignment that is not there", "ali.ctm", "no such alignment")
def missing() -> Command:
    return scored("ali.ctm", "")


@case(AREA, "an empty alignment", "ali.ctm: empty", "an alignment is an item file")
def empty() -> Command:
    return scored("ali.ctm", "\n")


@case(AREA, "a file of another kind", "ali.ctm:1", "'<html>'", "an alignment is an item file")
def other_kind() -> Command:
    return scored("ali.ctm", ["<html>", "u000 1 0 0.1 A"])


@case(AREA, "a CTM without its channel", "ali.ctm:2", "'utterance channel start duration phone'")
def ctm_columns() -> Command:
    return scored("ali.ctm", ["u000 1 0 0.1 A", "u000 0.1 0.1 B"])


@case(AREA, "an item file without its speakers", "ali.item:2", "phone prev next speaker")
def item_columns() -> Command:
    return scored("ali.item", [HEAD, "u000 0 0.1 A X Y"])


@case(AREA, "an alignment of other speech", "none of the utterances", "'x' (ali.ctm:1)")
def other_speech() -> Command:
    return scored("ali.ctm", ["x 1 0 0.1 A"])


@case(AREA, "a phone behind the utterance's end", "ali.ctm:2: u000: B", "times are in seconds")
def beyond() -> Command:
    return scored("ali.ctm", ["u000 1 0 0.1 A", "u000 1 10 20 B"])


@case(AREA, "a time that is NaN", "ali.ctm:1: u000: A", "times are in seconds")
def nan() -> Command:
    return scored("ali.ctm", ["u000 1 nan 0.1 A"])


@case(AREA, "an alignment that is not UTF-8", "ali.ctm: not UTF-8", "iconv")
def latin() -> Command:
    made = scored("ali.ctm", "x")
    Path("ali.ctm").write_bytes("u000 1 0 0.1 é\n".encode("latin-1"))
    return made


@case(AREA, "a directory without TextGrids", "ali: no *.TextGrid", "an alignment is")
def no_grids() -> Command:
    Path("ali").mkdir()
    return scored("ali", "")


@case(AREA, "a TextGrid cut short", "ali/u000.TextGrid: ends where", "cut off")
def cut_grid() -> Command:
    return scored("ali/u000.TextGrid", TEXTGRID[: TEXTGRID.index("text =")])


@case(AREA, "a TextGrid with a word for a number", "u000.TextGrid:1", "where a number should be")
def word_grid() -> Command:
    return scored("ali/u000.TextGrid", TEXTGRID.replace("xmax = 0.2", 'xmax = "0.2"'))


@case(AREA, "a TextGrid without phones", "0 interval tiers called 'phones'", "it has words")
def no_tier() -> Command:
    return scored("ali/u000.TextGrid", TEXTGRID.replace('"phones"', '"words"'))


@case(AREA, "something else named so", "u000.TextGrid: no TextGrid in text form", "in Praat")
def no_grid() -> Command:
    return scored("ali/u000.TextGrid", 'File type = "ooTextFile"\n"Pitch 1"\n')


@case(AREA, "phones of one speaker only", "ABX", "no two phones", "take more speech")
def one_speaker() -> Command:
    return scored("ali.item", item())


@case(AREA, "a layer that the model has not", "t (teacher): --layers -1", "to 3")
def layer() -> Command:
    tiny_models.save(Path("teacher"))
    main, argv = scored("ali.item", cells(), "--layers", "-1")
    return main, [x.replace("mfcc=mfcc", "t=teacher") for x in argv]


@case(AREA, "a choice among no layers", "mfcc has no layer to choose", "name a model")
def choose() -> Command:
    return scored("ali.item", cells(), "--choose", "best")


@case(AREA, "a system without a name", "--system mfcc", "write NAME=SOURCE")
def system() -> Command:
    return scored("ali.item", item(), "--system", "mfcc")


def labelled(name: str, *lines: str) -> Command:
    """Labels of MFCC with an alignment."""
    main, argv = cluster("--clusters", "4")
    main(argv)
    Path(name).write_text("".join(f"{line}\n" for line in lines))
    argv = ["--source", "mfcc", "--layer", "0", "--quantizer", "quantizer", "--nj", "1"]
    argv += ["--dump", "dump/raw", "--sets", "d", "--out", "labels", "--soft", "false"]
    return labels.main, [*argv, "--alignment", name]


@case(AREA, "phones that overlap, as triphones do", "ali.ctm:2: u000: B begins at", "own times")
def overlap() -> Command:
    return labelled("ali.ctm", "u000 1 0 0.1 A", "u000 1 0.05 0.1 B")


@case(AREA, "phones too short for a frame", "ali.ctm:1: u000: no frame", "in seconds")
def short() -> Command:
    return labelled("ali.ctm", "u000 1 0.0001 0.0002 A")
