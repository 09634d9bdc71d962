"""The form that ESPnet's show_asr_result.sh reads, and prints."""

import json
import re

import numpy as np
import pytest

from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.records import token_models
from espnet_dice.results import espnet_table, score
from espnet_dice.results.alignment import Counts

REFERENCE = {"u1": "ONE TWO", "u2": "SIX", "u3": "A B C D"}
RESULT = {"u1": "ONE TWO", "u2": "", "u3": "A X C D E"}


@pytest.fixture
def exp(tmp_path):
    out = tmp_path / "exp/asr_tiny/decode_no_lm/test"
    out.mkdir(parents=True)
    for path, said in ((tmp_path / "text", REFERENCE), (out / "text", RESULT)):
        path.write_text("".join(f"{utt} {text}\n" for utt, text in said.items()))
    shared = {"system": "tiny", "set": "test", "lm": None, "reference": str(tmp_path / "text")}
    meta = {**shared, "parameters": 1, "seed": 0, "cpu_s_per_audio_s": 0.1}
    (out / "meta.json").write_text(json.dumps(meta))
    Fingerprint("decode", {}, {"model": "m"}).finish(out)
    (tmp_path / "exp/asr_tiny/model.json").write_text('{"sha256": "m"}')
    return tmp_path / "exp"


def read(path):
    """As the script does: the line with Avg; its bars and what is between words are one sign."""
    (line,) = (line for line in path.read_text().splitlines() if "Avg" in line)
    return re.sub(r"[ |]+", "|", line.replace("Sum/Avg", "")).strip("|").split("|")


def test_the_figures_of_a_set(exp):
    """Counted by hand: of 7 words 5 are right, 1 is substituted, 1 deleted, and 1 is inserted."""
    score.score(exp)
    out = exp / "asr_tiny/decode_no_lm/test"
    words = read(out / "score_wer/result.txt")
    assert words == ["3", "7", "71.4", "14.3", "14.3", "14.3", "42.9", "66.7"]
    # 17 characters with the spaces between: SIX is gone, B became X, and " E" came
    characters = read(out / "score_cer/result.txt")
    assert characters == ["3", "17", "76.5", "5.9", "17.6", "11.8", "35.3", "66.7"]
    assert not (out / "score_ter").exists()  # how the transcripts were cut is not known


def test_tokens_are_those_of_the_recogniser(exp):
    """Characters, of which the first of a word has its own mark."""
    (exp.parent / "bpe.model").write_bytes(token_models.char_model())
    (exp / "asr_tiny/config.yaml").write_text("bpemodel: bpe.model\n")
    score.score(exp)
    tokens = read(exp / "asr_tiny/decode_no_lm/test/score_ter/result.txt")
    # a mark before each of 7 words, and their 13 letters; of the errors 4 and 2 are of whole words
    assert tokens == ["3", "20", "75.0", "5.0", "20.0", "10.0", "35.0", "66.7"]


def test_the_table(exp):
    score.score(exp)
    lines = espnet_table.table(exp).splitlines()
    assert lines[0] == "# RESULTS" and lines[2] == f"## {exp}/asr_tiny"
    at = lines.index("### WER")
    assert lines[at + 2 : at + 5] == [
        "|dataset|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|",
        "|---|---|---|---|---|---|---|---|---|",
        "|decode_no_lm/test|3|7|71.4|14.3|14.3|14.3|42.9|66.7|",
    ]
    assert lines.index("### CER") > at and lines.index("### TER") > at


def test_large_sets_keep_their_columns():
    counts = Counts(np.array([[0, 0, 0], [300000, 0, 0]]), np.array([800000, 400000]))
    assert espnet_table.line(counts).split("|")[2:4] == [
        "     2 1200000 ", "  75.0   25.0    0.0    0.0   25.0   50.0 "
    ]  # fmt: skip


@pytest.mark.skipif(score.find_sclite() is None, reason="sclite is not installed")
def test_sclite_prints_the_same(tmp_path):
    import subprocess

    for name, said in (("ref", REFERENCE), ("hyp", RESULT)):
        lines = (f"{text} (s-{utt})\n" for utt, text in said.items())
        (tmp_path / name).write_text("".join(lines))
    command = [score.find_sclite(), "-r", "ref", "trn", "-h", "hyp", "trn", "-i", "rm", "-o"]
    printed = subprocess.run(
        [*command, "sum", "stdout"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    (tmp_path / "result.txt").write_text(printed)
    ours = espnet_table.line(score.count(REFERENCE, RESULT)["wer"])
    (tmp_path / "ours.txt").write_text(ours)
    assert read(tmp_path / "result.txt") == read(tmp_path / "ours.txt")
