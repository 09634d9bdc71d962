"""Token lists that are learnt from training texts, in any script."""

import logging
from pathlib import Path

import pytest
import sentencepiece as spm

from espnet_dice.io.errors import ConfigError, DataError, StaleError
from espnet_dice.io.fingerprint import read
from espnet_dice.records import token_models, tokens, transcripts
from espnet_dice.stages import tokens as tokens_stage

GREEK = ["γάτα και σκύλος", "ο σκύλος τρέχει", "η γάτα κοιμάται και ο σκύλος όχι"]
MIXED = ["don't stop – Čeština", "你好 世界", "привет ёж"]


def write(path: Path, sentences: list[str]) -> Path:
    path.write_text("".join(f"u{i} {s}\n" for i, s in enumerate(sentences)), encoding="utf-8")
    return path


@pytest.fixture
def train(tmp_path) -> Path:
    return write(tmp_path / "text", GREEK * 5)


def make(out: Path, train: Path, kind: str = "bpe", nbpe: int = 30, mode: str = "bpe", **more):
    made = tokens_stage.make_tokens(out, kind=kind, train=[train], nbpe=nbpe, mode=mode, **more)
    return made, tokens.load(out)


@pytest.mark.parametrize("sentences", [GREEK, MIXED], ids=["greek", "mixed"])
@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_the_list_is_espnets_and_writes_every_training_text(tmp_path, kind, sentences):
    """Against ESPnet's rule: <blank> <unk>, the vocabulary from its fourth line on, <sos/eos>."""
    from espnet2.text.sentencepiece_tokenizer import SentencepiecesTokenizer
    from espnet2.text.token_id_converter import TokenIDConverter

    characters = set("".join(sentences)) - {" "}
    size = len(characters) + 14
    _, known = make(tmp_path / "tok", write(tmp_path / "text", sentences), kind, size)
    model = spm.SentencePieceProcessor(model_file=str(tmp_path / "tok/bpe.model"))
    vocabulary = [model.id_to_piece(i) for i in range(model.vocab_size())]
    entries = (tmp_path / "tok/tokens.txt").read_text(encoding="utf-8").splitlines()
    assert entries == ["<blank>", "<unk>", *vocabulary[3:], "<sos/eos>"] == list(known.entries)
    assert characters <= set(entries)
    assert len(entries) == (size if kind == "bpe" else len(characters) + 4)
    theirs = SentencepiecesTokenizer(str(tmp_path / "tok/bpe.model"))
    ids = TokenIDConverter(str(tmp_path / "tok/tokens.txt"))
    for sentence in sentences:
        written = theirs.text2tokens(sentence)
        assert known.written(sentence) == written and 1 not in ids.tokens2ids(written)
        assert theirs.tokens2text(written) == sentence
        count = len(sentence) + 1 if kind == "char" else len(written)
        assert known.shape_line("u", sentence) == f"u {count},{len(entries)}\n"


@pytest.mark.parametrize(("kind", "mode"), [("char", "bpe"), ("bpe", "bpe"), ("bpe", "unigram")])
def test_the_same_text_gives_the_same_list(tmp_path, train, kind, mode):
    one, other = (make(tmp_path / n, train, kind, 25, mode)[1] for n in "ab")
    assert one.key == other.key and one.model == other.model
    assert not make(tmp_path / "a", train, kind, 25, mode)[0]
    # ids and the order of options do not count, sentences do
    more = write(tmp_path / "more", [*GREEK * 5, "όχι"])
    made, changed = make(tmp_path / "a", more, kind, 25, mode)
    assert made and changed.key != one.key


def test_what_is_asked_for_is_part_of_the_key(tmp_path, train):
    lists = [("char", 30, "bpe"), ("bpe", 30, "bpe"), ("bpe", 31, "bpe"), ("bpe", 24, "unigram")]
    keys = [make(tmp_path / "tok", train, *one)[1].key for one in lists]
    assert len(set(keys)) == len(keys)


def test_the_fixed_list_is_the_one_that_it_was(tmp_path):
    """Else every experiment that was ever trained would be out of date."""
    tokens_stage.make_tokens(tmp_path / "char31")
    key = "d97afc910168fb5ab31d230b7eab6c251499236860db447a4d80a4cd323eb2b8"
    assert read(tmp_path / "char31")["key"] == key


def test_other_texts_to_learn_from(tmp_path, train):
    other = write(tmp_path / "other", GREEK * 2)
    one = make(tmp_path / "one", train, learn_from=[other])[1]
    assert one.key == make(tmp_path / "two", other)[1].key
    short = write(tmp_path / "short", ["γάτα"])
    with pytest.raises(DataError, match=r"text:1: utterance u0: 'ι' 'κ' .*not in the token list"):
        make(tmp_path / "three", train, "char", learn_from=[short])
    assert not (tmp_path / "three").exists()


@pytest.mark.parametrize(
    ("nbpe", "message"),
    [(10, r"--nbpe 10: this text makes at least \d+"), (900, r"--nbpe 900: .* makes \d+ at most")],
)
@pytest.mark.parametrize("mode", ["bpe", "unigram"])
def test_a_number_of_tokens_that_the_text_does_not_make(tmp_path, train, mode, nbpe, message):
    with pytest.raises(ConfigError, match=message):
        make(tmp_path / "tok", train, nbpe=nbpe, mode=mode)
    assert not (tmp_path / "tok").exists()


def test_no_text_to_learn_from(tmp_path):
    with pytest.raises(ConfigError, match="--train TEXT"):
        tokens_stage.make_tokens(tmp_path / "tok", kind="char")


def test_a_long_sentence_is_learnt_from_too(tmp_path):
    _, known = make(tmp_path / "tok", write(tmp_path / "text", ["α " * 5000 + "ω"]), "char")
    assert {"α", "ω"} <= set(known.entries)


def test_characters_that_were_never_seen_are_unknown_and_counted_once(tmp_path, train, caplog):
    dev = write(tmp_path / "dev", ["γάτα", "η ξένη γάτα", "zzz γάτα ξ"])
    test = write(tmp_path / "test", ["γάτα z"])
    for _ in range(2):  # made, and there
        caplog.clear()
        tokens_stage.make_tokens(tmp_path / "tok", [dev, test], "char", [train])
        (said,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert "7 characters of 3 utterances" in said and "'z' 'ν' 'ξ'" in said
        assert f"first is in {dev}:2: utterance u1" in said
    known = tokens.load(tmp_path / "tok")
    # SentencePiece makes one <unk> of what it does not know in a row
    assert known.written("zzz γάτα") == ["▁", "<unk>", "▁", *"γάτα"]
    assert known.shape_line("u", "zzz γάτα").startswith("u 7,")
    with pytest.raises(DataError, match=r"dev:2: utterance u1: 'ν' 'ξ' not in the token list"):
        transcripts.check_text(dev, known)


@pytest.mark.parametrize("mark", ["<unk>", "<blank>", "<sos/eos>", "<s>", "▁", "▅"])
def test_marks_of_the_list_are_no_words(tmp_path, train, mark):
    bad = write(tmp_path / "bad", ["γάτα", f"γάτα {mark}"])
    for before in ({"train": [bad]}, {"train": [train], "others": [bad]}):
        with pytest.raises(DataError, match=f"bad:2: utterance u1: '{mark}' is a mark"):
            tokens_stage.make_tokens(tmp_path / "tok", kind="char", **before)


def test_files_that_are_not_the_lists(tmp_path, train):
    make(tmp_path / "tok", train)
    listed = tmp_path / "tok/tokens.txt"
    lines = listed.read_text(encoding="utf-8").splitlines(keepends=True)
    swapped = [*lines[:4], lines[5], lines[4], *lines[6:]]
    listed.write_text("".join(swapped), encoding="utf-8")
    with pytest.raises(StaleError, match=r"tokens\.txt:5: .* must be .*the list of another run"):
        tokens.key_of(tmp_path / "tok")
    with pytest.raises(StaleError, match="run stage 3"):
        make(tmp_path / "tok", train)
    listed.write_text("".join(lines), encoding="utf-8")
    tokens.key_of(tmp_path / "tok")
    # a model with its list, of another text
    make(tmp_path / "other", write(tmp_path / "more", GREEK[::-1] * 2 + GREEK[:1] * 9))
    for name in (tokens.MODEL, tokens.LIST):
        (tmp_path / "tok" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(StaleError, match=r"bpe\.model: not the model that was learnt"):
        tokens.key_of(tmp_path / "tok")


def test_the_command(tmp_path, train, capsys):
    dev = write(tmp_path / "dev", GREEK[:1])
    argv = [str(dev), "--out", str(tmp_path / "tok"), "--type", "bpe", "--nbpe", "26"]
    tokens_stage.main([*argv, "--bpemode", "bpe", "--train", str(train), "--learn"])
    assert "tok: 26 tokens, made; 2 texts checked" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "mode"), [("char", "bpe"), ("bpe", "bpe"), ("bpe", "unigram")])
def test_every_character_is_asked_for(tmp_path, train, kind, mode, monkeypatch):
    """SentencePiece leaves out the rarest of 2^25 characters: coverage rounds to 1."""
    plain = make(tmp_path / "plain", train, kind=kind, nbpe=24, mode=mode)[1].entries
    trained = token_models._train
    asked = []

    def train_with(sentences, **options):
        asked.append(options.get("required_chars"))
        return trained(sentences, **options)

    monkeypatch.setattr(token_models, "_train", train_with)
    assert make(tmp_path / "told", train, kind=kind, nbpe=24, mode=mode)[1].entries == plain
    told = "".join(sorted(set("".join(GREEK)) - {" "}))
    assert asked == [None if kind == "char" else told]
