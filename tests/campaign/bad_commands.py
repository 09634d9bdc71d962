"""Options of the recipes' scripts that are wrong."""

import subprocess
import sys
from pathlib import Path

from tests.campaign.catalogue import Command, case

AREA, INIT = "Options of recipes", "A recipe for a corpus"
ROOT = Path(__file__).parents[2]
KD = ("--train_set", "a", "--valid_set", "b", "--test_sets", "c")
DICE = ("--train_set", "a", "--valid_set", "b", "--test_sets", "c")


def shell(argv: list[str]) -> int:
    """A stage script; its words go to our stderr, its exit code is ours."""
    script = ROOT / "egs2" / "TEMPLATE" / argv[0]
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", str(script), *argv[1:]], capture_output=True, text=True, env=environment
    )
    sys.stderr.write(done.stderr)
    return done.returncode


def kd(*more: str) -> Command:
    """kd.sh with its sets."""
    return shell, ["kd1/kd.sh", *KD, *more]


def dice(*more: str) -> Command:
    """dice.sh with its sets."""
    return shell, ["dice1/dice.sh", *DICE, *more]


@case(AREA, "an option that does not exist", "unknown option --stages", "--help")
def unknown() -> Command:
    return kd("--stages", "3")


@case(AREA, "an option without its value", "--stage needs a value", "--help")
def no_value() -> Command:
    return kd("--stage")


@case(AREA, "a word that is no option", "unexpected argument 'stage'", "--name value")
def word() -> Command:
    return kd("stage", "3")


@case(AREA, "a stage that is no number", "--stage must be a whole number", "'three'")
def stage() -> Command:
    return kd("--stage", "three")


@case(AREA, "a switch that is neither true nor false", "--use_lm must be true or false", "'maybe'")
def switch() -> Command:
    return kd("--use_lm", "maybe")


@case(AREA, "no sets", "--train_set is empty", "run.sh names the sets")
def no_sets() -> Command:
    return shell, ["kd1/kd.sh"]


@case(AREA, "a mode of teachers that does not exist", "--teacher_mode", "cached or online")
def mode() -> Command:
    return kd("--teacher_mode", "offline")


@case(AREA, "three iterations", "--iterations must be 1 or 2", "'3'")
def iterations() -> Command:
    return dice("--iterations", "3")


@case(AREA, "a seed that is no number", "--seeds", "'one'")
def seeds() -> Command:
    return kd("--seeds", "0 one")


@case(AREA, "a seed that is no number, of a student", "--seeds", "'x'")
def dice_seeds() -> Command:
    return dice("--seeds", "x")


@case(AREA, "a Python without ESPnet", "is not a Python with ESPnet", "--python")
def python() -> Command:
    return kd("--python", "/usr/bin/false")


@case(AREA, "a channel that is no number", "--channel must be a whole number", "'left'")
def channel() -> Command:
    return dice("--channel", "left")


@case(AREA, "layers of which one is no number", "--layer must be whole numbers", "'x'")
def layers() -> Command:
    return dice("--layer", "2 3 x")


@case(AREA, "no layer", "--layer must be a whole number, or several", "''")
def no_layer() -> Command:
    return dice("--layer", "")


@case(AREA, "the best layer, and no phones", "--layer auto", "give --alignment FILE")
def auto_layer() -> Command:
    return dice("--layer", "auto")


@case(AREA, "several layers of one file of centroids", "--quantizer km.npy", "name one --layer")
def one_codebook() -> Command:
    return dice("--layer", "2 3", "--quantizer", "km.npy")


@case(AREA, "directions of given centroids", "--pca 9", "--quantizer", "leave one of them out")
def directions() -> Command:
    return dice("--pca", "9", "--quantizer", "km.npy")


@case(AREA, "directions that are no number", "--pca must be a whole number", "'all'")
def no_directions() -> Command:
    return dice("--pca", "all")


@case(AREA, "no clusters, among several", "--clusters 0 500", "each at least 1")
def no_clusters() -> Command:
    return dice("--clusters", "0 500")


@case(AREA, "no frames to cluster", "--sample_frames 0", "give at least 1")
def no_frames() -> Command:
    return dice("--sample_frames", "0")


@case(AREA, "no tokens", "--nbpe 0", "give at least 1")
def no_tokens() -> Command:
    return kd("--nbpe", "0")


@case(
    AREA, "features that do not exist", "--features must be mfcc, mfcc_cmvn or mfcc_mel", "'fbank'"
)
def features() -> Command:
    return dice("--features", "fbank")


@case(AREA, "a kind of tokens that does not exist", "--token_type must be", "char31, char or bpe")
def token_type() -> Command:
    return kd("--token_type", "word")


def init(recipe: str, *more: str) -> Command:
    """`espnet-dice init`."""

    def start(argv: list[str]) -> int | None:
        from unittest import mock

        from espnet_dice.__main__ import main

        with mock.patch.object(sys, "argv", ["espnet-dice", "init", *argv]):
            return main()

    return start, [recipe, *more]


@case(INIT, "a directory with files in it", "mine/kd1 is there", "choose a directory")
def init_there() -> Command:
    Path("mine/kd1").mkdir(parents=True)
    Path("mine/kd1/run.sh").write_text("")
    return init("kd1", "--corpus", "mine", "mine/kd1")


@case(INIT, "a file in its place", "mine is there", "choose a directory")
def init_file() -> Command:
    Path("mine").write_text("")
    return init("dice1", "--corpus", "mine", "mine")


@case(INIT, "a directory below a file", "mine: a file is where a directory", "move it away")
def init_below_file() -> Command:
    Path("mine").write_text("")
    return init("dice1", "--corpus", "mine", "mine/dice1")


@case(INIT, "a corpus whose name is a path", "--corpus 'my/corpus'", "letters, digits")
def init_corpus() -> Command:
    return init("kd1", "--corpus", "my/corpus", "mine")
