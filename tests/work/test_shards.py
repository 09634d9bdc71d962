"""Features, labels and teacher outputs in parts: the same bytes, whoever makes which part."""

import json
from pathlib import Path

import numpy as np
import pytest

from espnet_dice.hubert import upstreams
from espnet_dice.io.arks import ArkReader
from espnet_dice.io.atomic import only_writer
from espnet_dice.io.errors import ConfigError, DataError, DiceError, StaleError
from espnet_dice.io.fingerprint import Fingerprint, key_of
from espnet_dice.kd import cache
from espnet_dice.labels import quantizer
from espnet_dice.records import feature_dir
from espnet_dice.stages import features, labels, teacher_outputs
from espnet_dice.work import shards
from espnet_dice.work.sharded import Part
from tests.corpus import make_corpus
from tests.stages import tiny

ROOT = Path(__file__).parents[2]
BEGIN = Part.parse("begin")
RUN_PL = """\
#!/usr/bin/env bash
while [[ "$1" != JOB=* ]]; do shift; done
number=${1#JOB=1:}
shift
for ((job = 1; job <= number; job++)); do
    words=("${@//JOB/$job}")
    "${words[@]:1}" >"${words[0]}" 2>&1 &
    jobs+=($!)
done
[ -z "${KILL:-}" ] || kill -9 "${jobs[1]}"
for job in "${jobs[@]}"; do wait "$job" || failed=1; done
exit "${failed:-0}"
"""


def contents(directory):
    files = (p for p in directory.rglob("*") if p.is_file() and p.suffix != ".log")
    return {str(p.relative_to(directory)): p.read_bytes() for p in files}


@pytest.fixture
def five(monkeypatch):
    """Five shards, without the speech of as many hundred utterances."""
    monkeypatch.setattr(shards, "SHARD_UTTERANCES", 25)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    make_corpus(root / "data", 101, 0.06)
    features.make_features(root / "data", root / "dump" / "train", "raw")
    quantizer.save(root, np.random.default_rng(0).normal(size=(8, 39)))
    Fingerprint("kmeans", {}, {"source": upstreams.layer_key_of("mfcc", 0)}).finish(root)
    return root


def in_parts(do, directory, number):
    """Begin, make the parts from the last to the first, finish."""
    assert do(BEGIN)
    for index in range(number, 0, -1):
        do(Part(index, number))
        with pytest.raises(StaleError, match="never finished"):
            key_of(directory, "")
    assert do(None) and not do(None)
    return contents(directory)


@pytest.mark.parametrize("number", [2, 5])
@pytest.mark.parametrize("kind", ["fbank", "raw"])
def test_features_do_not_depend_on_parts(five, speech, tmp_path, monkeypatch, kind, number):
    monkeypatch.chdir(tmp_path)
    made = []
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)

        def do(part):
            return features.make_features(
                speech / "data", "dump", kind, speeds=(0.9, 1.0), part=part
            )

        if name == "whole":
            do(None)
            made.append(contents(Path("dump")))
        else:
            made.append(in_parts(do, Path("dump"), number))
    assert made[0] == made[1] and len([n for n in made[0] if n.startswith(".shards")]) == 9


def label(speech, out, part=None, **coding):
    train = feature_dir.load(speech / "dump/train")
    return labels.label_sets(
        "mfcc", 0, speech, [train], out, coding=labels.Coding(**coding), part=part
    )


def test_labels_do_not_depend_on_parts(five, speech, tmp_path):
    label(speech, tmp_path / "1")
    whole = contents(tmp_path / "1" / "train")
    assert len([n for n in whole if n.startswith("labels.") and n.endswith(".bin")]) == 5
    for number in (2, 5):
        out = tmp_path / str(number)
        made = in_parts(lambda part, out=out: label(speech, out, part), out / "train", number)
        assert made == whole


def test_teacher_outputs_do_not_depend_on_parts(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_UTTERANCES", 5)

    def make(out, part=None):
        sets = [feature_dir.load(tiny.DUMP / "train")]
        teachers = {"t": Path("exp/asr_teacher_t")}
        return teacher_outputs.make_outputs(
            teachers, sets, tiny.TOKENS, out, 3, True, batch_size=4, nj=2, part=part
        )

    where = []
    for number in (1, 2, 5):
        out = tmp_path / str(number)
        if number == 1:
            make(out)
        else:
            in_parts(lambda part, out=out: make(out, part), out / "t" / "train", number)
        made = contents(out / "t" / "train")
        record = json.loads(made.pop(".fingerprint.json"))
        for index in ("teacher.scp", "ctc.scp"):
            del record["files"][index]  # holds the path of the directory, and so does its checksum
        made["record"] = json.dumps(record, sort_keys=True).encode()
        where.append({n: d.replace(bytes(out), b"") for n, d in made.items()})
    assert where[0] == where[1] == where[2]
    assert {"teacher.10.ark", "ctc.10.ark", "teacher.scp", "ctc.scp"} <= where[0].keys()
    reader = ArkReader(tmp_path / "5" / "t" / "train" / f"{cache.DECODER}.scp")
    assert list(reader) == sorted(feature_dir.load(tiny.DUMP / "train").lengths)
    # the noise is that of a batch, but what was asked is that of the recipe's own run
    ids = ArkReader(f"exp/teacher_outputs/t/train/{cache.DECODER}.scp")
    for utt in reader:
        np.testing.assert_array_equal(reader[utt][:, -1], ids[utt][:, -1])


def test_a_part_of_another_set_up_is_refused(five, speech, tmp_path):
    with pytest.raises(StaleError, match=r"labels were not begun \(not made yet\)"):
        label(speech, tmp_path, Part(1, 2))
    label(speech, tmp_path, BEGIN)
    label(speech, tmp_path, Part(1, 2))
    before = contents(tmp_path)
    with pytest.raises(StaleError, match=r"not begun \(changed: tau\): give all parts the same"):
        label(speech, tmp_path, Part(2, 2), tau=5.0)
    assert contents(tmp_path) == before
    out = tmp_path / "dump"
    data = speech / "data"
    with pytest.raises(StaleError, match="was not begun: run this once with --shard begin"):
        features.make_features(data, out, "fbank", part=Part(1, 2))
    features.make_features(data, out, "fbank", part=BEGIN)
    with pytest.raises(StaleError, match=r"begun from something else \(changed: feats_type\)"):
        features.make_features(data, out, "raw", part=Part(1, 2))
    assert list(contents(out)) == [".fingerprint.json"]


def test_parts_run_beside_each_other_and_not_beside_the_whole(five, speech, tmp_path):
    label(speech, tmp_path, BEGIN)
    with only_writer(tmp_path / "train", among=True):
        label(speech, tmp_path, Part(2, 2))
        with pytest.raises(DataError, match="another process is writing it"):
            label(speech, tmp_path)
    with (
        only_writer(tmp_path / "train"),
        pytest.raises(DataError, match="another process is writing it"),
    ):
        label(speech, tmp_path, Part(1, 2))
    assert label(speech, tmp_path)


@pytest.mark.parametrize(
    ("utterances", "number", "largest"),
    [(1, 1, 1), (101, 2, 51), (6400, 64, 100), (256_000, 64, 4000), (3_000_000, 750, 4000)],
)
def test_a_shard_of_a_large_corpus_is_not_large(utterances, number, largest):
    parts = shards.cut(range(utterances), shards.number_of(utterances))
    assert (len(parts), max(map(len, parts))) == (number, largest)
    assert sum(map(len, parts)) == utterances
    assert shards.number_of(10**9) == shards.MAX_SHARDS


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "/", "1/x", "-1/2", "end"])
def test_a_part_that_is_none(text):
    with pytest.raises(ConfigError, match="write I/N"):
        Part.parse(text)


def test_an_array_of_jobs(speech, tmp_path, monkeypatch, capsys):
    """On a stand-in of run.pl; the second job is killed, and the same command goes on."""
    run_pl = tmp_path / "run.pl"
    run_pl.write_text(RUN_PL)
    run_pl.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    arguments = ["--source", "mfcc", "--layer", "0", "--quantizer", str(speech), "--nj", "2"]
    arguments += ["--dump", str(speech / "dump"), "--sets", "train", "--out", "labels"]
    array = ["--cmd", f"{run_pl} --mem 4G"]
    monkeypatch.setenv("KILL", "1")
    with pytest.raises(DiceError, match=r"(?s)run\.pl ended with code 1; the end of .*goes on"):
        labels.main([*arguments, *array])
    monkeypatch.delenv("KILL")
    labels.main([*arguments, *array])
    assert "101 utterances" in capsys.readouterr().out
    label(speech, tmp_path / "whole")
    assert contents(tmp_path / "labels/train") == contents(tmp_path / "whole/train")
