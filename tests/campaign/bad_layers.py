"""Layers, codebooks and heads that are not there, and starts that do not fit."""

from pathlib import Path

from espnet_dice.stages import kmeans, labels
from tests.campaign.bad_quantizers import speech
from tests.campaign.bad_stores import NAME, student
from tests.campaign.catalogue import Command, case
from tests.hubert import tiny_models
from tests.stages import tiny, tiny_dice

LAYERS, STUDENTS = "Layers and codebooks", "Heads and starts of students"
TEACHER = "teacher"


def cluster(*more: str) -> Command:
    """k-means of a teacher of three layers."""
    speech()
    tiny_models.save(Path(TEACHER))
    argv = ["--source", TEACHER, "--clusters", "4", "--dump", "dump/raw", "--sets", "d"]
    return kmeans.main, [*argv, "--out", "quantizer", "--nj", "1", *more]


@case(LAYERS, "a layer above the last", "teacher has no layer 9", "its layers are 0 to 3")
def above() -> Command:
    return cluster("--layer", "2", "9")


@case(LAYERS, "a layer below the first", "teacher has no layer -1", "its layers are 0 to 3")
def below() -> Command:
    return cluster("--layer", "-1")


@case(LAYERS, "a layer twice", "--layer 2 2", "give each number once")
def twice() -> Command:
    return cluster("--layer", "2", "2")


@case(LAYERS, "a number of clusters twice", "--clusters 4 4", "give each number once")
def clusters_twice() -> Command:
    return cluster("--layer", "2", "--clusters", "4", "4")


@case(LAYERS, "no directions", "--pca 0", "from 1 to 48", "width of the layer")
def no_directions() -> Command:
    return cluster("--layer", "2", "--pca", "0")


@case(LAYERS, "more directions than the layer is wide", "--pca 49", "from 1 to 48")
def directions() -> Command:
    return cluster("--layer", "2", "3", "--pca", "49")


@case(LAYERS, "directions of centroids that are given", "--pca", "--given", "leave one")
def given() -> Command:
    return cluster("--layer", "2", "--pca", "4", "--given", "km.npy")


@case(LAYERS, "several layers of one file of centroids", "--given", "name one --layer")
def given_layers() -> Command:
    return cluster("--layer", "2", "3", "--given", "km.npy")


@case(LAYERS, "labels of other layers than were clustered", "quantizer was not", "layer 2 3 of")
def other_layers() -> Command:
    main, argv = cluster("--layer", "2")
    main(argv)
    argv = ["--source", TEACHER, "--layer", "2", "3", "--quantizer", "quantizer", "--nj", "1"]
    return labels.main, [*argv, "--dump", "dump/raw", "--sets", "d", "--out", "labels"]


def configured(*more: str, **model_conf) -> Command:
    """A student's training, on a store of one codebook."""
    main, argv = student()
    conf = {"final_dim": 8, **model_conf}
    tiny.write_config(NAME, tiny_dice.config(model_conf=conf))
    tiny_models.save(Path(TEACHER))
    return main, [*argv, *more]


@case(STUDENTS, "heads of a codebook that is not there", NAME, "no codebook 1", "from 0")
def codebook() -> Command:
    return configured(heads=[{"codebook": 1, "layer": 1}])


@case(STUDENTS, "a head at a layer that is not there", NAME, "no layer 9", "layers are 1 to")
def layer() -> Command:
    return configured(heads=[{"codebook": 0, "layer": 9}])


@case(STUDENTS, "a head twice", NAME, "heads", "listed twice")
def head_twice() -> Command:
    return configured(heads=[{"codebook": 0, "layer": 1}, {"layer": 1}])


@case(STUDENTS, "heads that are a word", NAME, "heads", "last, matched or a list")
def head_word() -> Command:
    return configured(heads="first")


@case(STUDENTS, "a head without a layer", NAME, "heads", "codebook and layer")
def head_entry() -> Command:
    return configured(heads=[{"codebook": 0, "layers": 1}])


@case(STUDENTS, "matched heads of one codebook", NAME, "heads: matched", "several codebooks")
def matched() -> Command:
    return configured(heads="matched")


@case(STUDENTS, "a kind of head that does not exist", NAME, "head must be one of", "'mlpp'")
def head_kind() -> Command:
    return configured(head="mlpp")


@case(STUDENTS, "a start from a teacher, and none", NAME, "init needs --teacher")
def no_teacher() -> Command:
    return configured(init="teacher")


@case(STUDENTS, "a start from something else", NAME, "init must be teacher, pca or null", "'stem'")
def other_init() -> Command:
    return configured("--teacher", TEACHER, init="stem")


@case(
    STUDENTS,
    "a start from a teacher of other shapes",
    "dice_x: model_conf",
    "nothing of",
    "leave init out",
)
def shapes() -> Command:
    return configured("--teacher", TEACHER, init="teacher")


@case(
    STUDENTS,
    "a start from blocks of other shapes",
    "dice_x: model_conf",
    "block 3 as block 1",
    "init_layers",
)
def block_shapes() -> Command:
    return configured("--teacher", TEACHER, init="teacher", init_layers=[3, 2])


@case(
    STUDENTS,
    "a start from too few blocks",
    "dice_x: model_conf",
    "init_layers: name one block",
    "[1]",
)
def block_count() -> Command:
    return configured("--teacher", TEACHER, init="teacher", init_layers=[1])


@case(
    STUDENTS,
    "a start from a block that is not there",
    "dice_x: model_conf",
    "from 1 to 3",
    "[1, 9]",
)
def block_number() -> Command:
    return configured("--teacher", TEACHER, init="teacher", init_layers=[1, 9])
