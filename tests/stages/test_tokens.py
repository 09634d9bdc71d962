import numpy as np
import pytest
import sentencepiece as spm

from espnet_dice.io.errors import DataError
from espnet_dice.io.fingerprint import read
from espnet_dice.records import token_models, tokens, transcripts
from espnet_dice.stages import tokens as tokens_stage


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("tokens") / "char31"
    assert tokens_stage.make_tokens(out)
    return out


def test_list_is_the_31_tokens(made):
    entries = (made / "tokens.txt").read_text(encoding="utf-8").splitlines()
    assert len(entries) == 31
    assert entries[:3] == ["<blank>", "<unk>", "▁"] and entries[-1] == "<sos/eos>"
    assert set(entries[3:-1]) == set("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")


def test_model_spells_every_transcript_with_the_list(made):
    model = spm.SentencePieceProcessor(model_file=str(made / "bpe.model"))
    rng = np.random.default_rng(0)
    entries = set(tokens.TOKENS)
    for _ in range(200):
        words = ["".join(rng.choice(list(tokens.ALPHABET), n)) for n in rng.integers(1, 9, 4)]
        text = " ".join(words)
        pieces = model.encode(text, out_type=str)
        assert set(pieces) <= entries - {"<unk>"}
        assert "".join(pieces).replace("▁", " ").strip() == text
        assert len(pieces) == len("▁" + text)


def test_neither_list_nor_key_depends_on_the_corpora(made, tmp_path):
    (tmp_path / "text").write_text("u1 ZEBRA\n")
    tokens_stage.make_tokens(tmp_path / "other", [tmp_path / "text"])
    for name in ("bpe.model", "tokens.txt"):
        assert (tmp_path / "other" / name).read_bytes() == (made / name).read_bytes()
    assert read(tmp_path / "other")["key"] == read(made)["key"]
    assert not tokens_stage.make_tokens(tmp_path / "other", [tmp_path / "text"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("u2 HÉLLO", r"text:2: utterance u2: 'É' not in the token list"),
        ("u2 hello", r"text:2: utterance u2: .*transcripts are upper-case"),
        ("u2", r"text:2: utterance u2: empty transcript"),
        ("u1 AGAIN", r"text:2: utterance u1: listed twice"),
    ],
)
def test_bad_text_is_named(tmp_path, line, message):
    (tmp_path / "text").write_text(f"u1 GOOD\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        tokens_stage.make_tokens(tmp_path / "out", [tmp_path / "text"])
    assert not (tmp_path / "out").exists()


def test_an_id_that_is_there_twice_is_named_wherever_it_stands(tmp_path):
    (tmp_path / "text").write_text("u2 B\nu1 A\nu3 C\nu2 D\n")
    with pytest.raises(DataError, match=r"1 problem\n.*text:4: utterance u2: listed twice"):
        transcripts.check_text(tmp_path / "text", tokens.fixed())
    (tmp_path / "text").write_text("u2 B\nu1 A\nu3 C\n")
    assert transcripts.check_text(tmp_path / "text", tokens.fixed()) == {
        "u2": "B",
        "u1": "A",
        "u3": "C",
    }


def test_a_text_of_other_letters_is_not_read_to_its_end(tmp_path):
    (tmp_path / "lm.txt").write_text("lower\n" * 5000)
    with pytest.raises(DataError, match="1002 problems") as caught:
        transcripts.check_text(tmp_path / "lm.txt", tokens.fixed())
    assert "lm.txt:1001: too many problems" in caught.value.problems[-1]


def test_missing_and_empty_texts(tmp_path):
    with pytest.raises(DataError, match="is missing"):
        transcripts.check_text(tmp_path / "text", tokens.fixed())
    (tmp_path / "text").write_text("")
    with pytest.raises(DataError, match="empty file"):
        transcripts.check_text(tmp_path / "text", tokens.fixed())


def test_sentences_without_ids(tmp_path):
    (tmp_path / "lm.txt").write_text("ONE TWO\nTHREE\n")
    said = transcripts.check_text(tmp_path / "lm.txt", tokens.fixed())
    assert list(said.values()) == ["ONE TWO", "THREE"]


def test_text_shape(tmp_path):
    tokens.fixed().write_text_shape(tmp_path / "shape", {"u1": "IT'S ME", "u2": "A"})
    assert (tmp_path / "shape").read_text() == "u1 8,31\nu2 2,31\n"


def test_char_model_is_deterministic():
    assert token_models.char_model() == token_models.char_model()
    assert spm.SentencePieceProcessor(model_proto=token_models.char_model()).vocab_size() == 31
