"""Label stores and teachers' caches that belong to something else, or are damaged."""

import json
from pathlib import Path

import numpy as np

from espnet_dice.io.fingerprint import Fingerprint, digest_files, key_of
from espnet_dice.stages import tokens, train
from tests.campaign.bad_results import trained
from tests.campaign.catalogue import Command, case
from tests.hubert import tiny
from tests.stages import tiny as tiny_asr
from tests.stages import tiny_dice

STORES, CACHES = "Label stores", "Caches of teachers' outputs"
NAME = "conf/train_dice_x.yaml"
LABELS = Path("labels")


def student(*skip: str) -> Command:
    """A student's training on labels of its own speech, but for sets that are skipped."""
    codebook = tiny.codebook()
    for seed, name in enumerate(("train", "dev")):
        made = tiny_dice.write_dump(Path("dump/raw") / name, 2, seed)
        if name not in skip:
            tiny_dice.write_store(LABELS / name, codebook, *made)
    tiny_asr.write_config(NAME, tiny_dice.config())
    argv = ["--task", "dice", "--dump", "dump/raw", "--train", "train", "--valid", "dev"]
    return train.main, [*argv, "--job", "x", NAME, f"labels={LABELS}"]


def again(directory: Path, **inputs: str) -> None:
    """Say that a store was made from something else."""
    Fingerprint("labels", {"n": 2}, inputs).finish(directory)


@case(STORES, "speech was not labelled", "labels/dev is missing", "run the labelling stage")
def missing() -> Command:
    return student("dev")


@case(
    STORES, "labelling was never finished", "labels/dev was begun", "run the labelling stage again"
)
def unfinished() -> Command:
    said = student()
    Fingerprint("labels", {}, {}).begin(LABELS / "dev")
    return said


@case(STORES, "labels of other speech", "labels/train: these labels", "another data", "label again")
def other_speech() -> Command:
    said = student()
    again(LABELS / "train", data="x")
    return said


@case(
    STORES, "two sets by two teachers", "labels/dev: these labels", "another teacher", "label again"
)
def other_teacher() -> Command:
    said = student()
    for name, source in (("train", "one"), ("dev", "other")):
        again(LABELS / name, data=key_of(f"dump/raw/{name}", ""), source=source)
    return said


@case(
    STORES, "two sets by two quantizers", "labels/dev: these labels", "another quantizer", "again"
)
def other_quantizer() -> Command:
    said = student()
    for name in ("train", "dev"):
        again(LABELS / name, data=key_of(f"dump/raw/{name}", ""), quantizer=name)
    return said


@case(
    STORES, "labels unlike frames in number", "dump/raw/dev: dev00", "labels in", "label it again"
)
def counts() -> Command:
    said = student()
    shape = Path("dump/raw/dev/feats_shape")
    lines = shape.read_text().splitlines()
    lines[0] = f"{lines[0].split()[0]} 16000"
    shape.write_text("".join(f"{line}\n" for line in lines))
    return said


@case(STORES, "an utterance without labels", "dump/raw/dev: u9: has no labels", "label it")
def more_speech() -> Command:
    said = student()
    with open("dump/raw/dev/feats_shape", "a") as f:
        f.write("u9 16000\n")
    return said


@case(STORES, "a shard cut short", "labels.1.bin: missing or damaged", "label again")
def cut_shard() -> Command:
    said = student()
    path = LABELS / "dev/labels.1.bin"
    path.write_bytes(path.read_bytes()[:-2])
    return said


@case(STORES, "the index cut short", "labels.scp: missing or damaged", "label again")
def cut_index() -> Command:
    said = student()
    path = LABELS / "dev/labels.scp"
    path.write_text(path.read_text()[:-9])
    return said


@case(STORES, "a shard that is gone", "labels.1.bin: missing or damaged (missing)", "label again")
def no_shard() -> Command:
    said = student()
    (LABELS / "dev/labels.1.bin").unlink()
    return said


@case(
    STORES, "`store.json` without what it must say", "store.json: missing or damaged", "label again"
)
def meta() -> Command:
    said = student()
    (LABELS / "dev/store.json").write_text(json.dumps({"format": 1}))
    return said


@case(STORES, "a store of another version", "store.json: format 7, expected 1", "label again")
def version() -> Command:
    said = student()
    (LABELS / "dev/store.json").write_text(json.dumps({"format": 7}))
    return said


@case(
    STORES, "an index that leads out of the store", "labels.scp: missing or damaged", "label again"
)
def out_of_store() -> Command:
    said = student()
    directory = LABELS / "dev"
    index = directory / "labels.scp"
    index.write_text(index.read_text().replace("labels.1.bin", "../train/labels.1.bin"))
    found = json.loads((directory / "store.json").read_text())
    found["index_sha256"] = digest_files([index])
    (directory / "store.json").write_text(json.dumps(found))
    return said


@case(
    STORES, "features given to students, who hear waveforms", "dump/raw/train", "--feats_type raw"
)
def features() -> Command:
    said = student()
    for name in ("train", "dev"):
        shape = Path(f"dump/raw/{name}/feats_shape")
        shape.write_text("".join(f"{x},83\n" for x in shape.read_text().splitlines()))
    return said


CACHE = Path("exp/teacher_outputs/a")


def taught(**changed: str) -> Command:
    """A training with the cached outputs of teacher a, made from something else."""
    for seed, name in enumerate(("train", "dev")):
        tiny_asr.write_dump(tiny_asr.DUMP / name, 3, seed, name)
    tokens.make_tokens(tiny_asr.TOKENS)
    teacher = trained(Path("exp/asr_a"))
    for name in ("train", "dev"):
        inputs = {
            "data": key_of(tiny_asr.DUMP / name, ""),
            "tokens": key_of(tiny_asr.TOKENS, ""),
            "teacher": digest_files([teacher / "m.pth"]),
        }
        Fingerprint("teacher_outputs", {}, inputs | changed).finish(CACHE / name)
    conf = {"kd_alpha": 0.5, "teachers": [{"name": "a", "weight": 1.0}]}
    tiny_asr.write_config("conf/train_asr_x.yaml", tiny_asr.asr_config("uncertainty_kd", **conf))
    argv = ["--task", "asr", "--dump", str(tiny_asr.DUMP), "--token_list", str(tiny_asr.TOKENS)]
    argv += ["--teacher", f"a={teacher}", "--teacher_outputs", "exp/teacher_outputs"]
    return train.main, [*argv, "--job", "x", "conf/train_asr_x.yaml", "train=train", "valid=dev"]


@case(
    CACHES, "of other transcripts or features", "a/train was made from other data", "stage 6 again"
)
def cache_data() -> Command:
    return taught(data="x")


@case(CACHES, "of another token list", "a/train was made from other tokens", "stage 6 again")
def cache_tokens() -> Command:
    return taught(tokens="x")


@case(CACHES, "of a teacher that was trained anew", "made from other teacher", "stage 6 again")
def cache_teacher() -> Command:
    return taught(teacher="x")


@case(CACHES, "not made", "a/train is missing", "run stage 6")
def cache_missing() -> Command:
    import shutil

    said = taught()
    shutil.rmtree(CACHE)
    return said


@case(CACHES, "never finished", "a/dev was begun and never finished", "run stage 6")
def cache_unfinished() -> Command:
    said = taught()
    Fingerprint("teacher_outputs", {}, {}).begin(CACHE / "dev")
    return said


def asked(change) -> Command:
    """The same, with arks that were changed behind their fingerprints."""
    from espnet_dice.kd import cache
    from tests.arks import write_ark_scp

    said = taught()
    for name in ("train", "dev"):
        rows = {f"{name}{i:03d}": np.zeros((4, 32), np.float32) for i in range(3)}
        directory = CACHE / name
        path = directory / f"{cache.DECODER}.scp"
        write_ark_scp(rows.items(), directory / "teacher.1.ark", path)
    change(CACHE / "dev" / f"{cache.DECODER}.scp")
    return said


@case(CACHES, "an ark cut short", "teacher.1.ark: dev002: truncated", "make it again")
def cut_ark() -> Command:
    def change(scp: Path) -> None:
        ark = scp.with_name("teacher.1.ark")
        ark.write_bytes(ark.read_bytes()[:-4])

    return asked(change)


@case(CACHES, "an index that points beyond the ark", "teacher.1.ark: dev000: truncated", "make it")
def beyond_ark() -> Command:
    def change(scp: Path) -> None:
        scp.write_text(
            scp.read_text().replace("dev000 ", "dev000 ", 1).replace(".ark:7", ".ark:99999", 1)
        )

    return asked(change)


@case(CACHES, "an index with a shell command", "teacher.scp:1: dev000: expected", "file.ark:offset")
def ark_pipe() -> Command:
    return asked(lambda scp: scp.write_text("dev000 cat x |\n"))


@case(CACHES, "an ark that is a pickle", "dev000: ", "no float32 matrix at this offset")
def ark_pickle() -> Command:
    def change(scp: Path) -> None:
        (scp.parent / "teacher.1.ark").write_bytes(b"dev000 PKL" + bytes(2000))

    return asked(change)
