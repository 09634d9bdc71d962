"""Transcripts and token lists that are wrong."""

from pathlib import Path

from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.records import feature_dir
from espnet_dice.stages import data, train
from espnet_dice.stages import tokens as tokens_stage
from local import take_data
from tests.campaign.catalogue import Command, case
from tests.corpus import make_corpus
from tests.stages import tiny

TEXT, LISTS = "Transcripts", "Token lists"
OUT = Path("char31")
MARKS = list(enumerate(("blank", "unk", "sos/eos")))


def check(text: str | bytes, name: str = "text") -> Command:
    """The command that checks a text against the tokens."""
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return tokens_stage.main, ["--out", str(OUT), name]


@case(TEXT, "lower case", "text:2: utterance u1: 'e' 'n' 'o' 't' 'w' not in", "upper-case")
def lower() -> Command:
    return check("u0 ONE\nu1 two one\n")


@case(TEXT, "digits", "text:1: utterance u0: '0' '1' not in", "letters")
def digits() -> Command:
    return check("u0 ROOM 101\n")


@case(TEXT, "an apostrophe that is none (U+2019)", "text:1: utterance u0: '’' not in", "letters")
def apostrophe() -> Command:
    return check("u0 DON’T\n")


@case(TEXT, "an empty text", "text: empty file", "make it again")
def empty() -> Command:
    return check("")


@case(TEXT, "an id without words", "text:1: utterance u0: empty", "remove")
def no_words() -> Command:
    return check("u0\n")


@case(TEXT, "an id twice", "text:2: utterance u0: listed twice", "keep one")
def twice() -> Command:
    return check("u0 ONE\nu0 TWO\n")


@case(TEXT, "not UTF-8", "text: not UTF-8", "iconv")
def latin() -> Command:
    return check(b"u0 CAF\xc9\n")


@case(TEXT, "the text is not there", "text is missing", "stages 1 and 2")
def missing() -> Command:
    return tokens_stage.main, ["--out", str(OUT), "text"]


@case(
    TEXT, "a sign that is said", "d/text: u000: '+' (U+002B) is said", "write that", "--text_rules"
)
def said() -> Command:
    make_corpus(Path("d"), utterances=1)
    Path("d/text").write_text("u000 salt + pepper\n")
    return lambda _: take_data.take_sets(".", "out", {"d": "d"}, "letters"), []


def learn(text: str, nbpe: int) -> Command:
    """The command that learns tokens from a text."""
    Path("text").write_text(text)
    argv = ["--out", "tok", "--type", "bpe", "--nbpe", str(nbpe), "--train", "text"]
    return tokens_stage.main, argv


@case(TEXT, "marks of the token list", *(f"u{i}: '<{m}>'" for i, m in MARKS), "leave it out")
def marks() -> Command:
    return learn("".join(f"u{i} ONE <{mark}> TWO\n" for i, mark in MARKS), 9)


@case(LISTS, "fewer tokens than characters", "--nbpe 5: ", "at least", "give such a number")
def few() -> Command:
    return learn("u0 THE DOG AND THE CAT\n", 5)


@case(LISTS, "more tokens than the text makes", "--nbpe 5000: ", "at most", "--bpemode bpe")
def many() -> Command:
    return learn("u0 THE DOG AND THE CAT\n", 5000)


@case(TEXT, "letters outside of a list, in a data directory", "d/text:1: u000: 'N' (U+004E)", "tok")
def not_in_list() -> Command:
    make_corpus(Path("d"))
    Path("tok").write_text("<blank>\nO\nE\nT\nW\nH\nR\n<sos/eos>\n")
    return data.main, ["--data_dir", "d", "--tokens", "tok"]


@case(LISTS, "the list is not there", "tok: missing", "stage 3")
def no_list() -> Command:
    make_corpus(Path("d"))
    return data.main, ["--data_dir", "d", "--tokens", "tok"]


@case(LISTS, "a list in Latin-1", "tok: not UTF-8", "stage 3")
def latin_list() -> Command:
    make_corpus(Path("d"))
    Path("tok").write_bytes(b"\xc9\n")
    return data.main, ["--data_dir", "d", "--tokens", "tok"]


def made(change) -> None:
    """A recipe with features and a token list that was changed behind its fingerprint."""
    for seed, name in enumerate(("train", "dev")):
        tiny.write_dump(tiny.DUMP / name, 3, seed, name)
    tokens_stage.make_tokens(tiny.TOKENS)
    tiny.write_config("conf/train_asr_x.yaml", tiny.asr_config())
    change(tiny.TOKENS / "tokens.txt")


def training() -> Command:
    argv = ["--task", "asr", "--dump", str(tiny.DUMP), "--token_list", str(tiny.TOKENS)]
    return train.main, [*argv, "--job", "x", "conf/train_asr_x.yaml", "train=train", "valid=dev"]


def edited(old: str, new: str) -> Command:
    """A training with a list in which one text was replaced."""

    def change(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    made(change)
    return training()


STAGE3 = "stage 3"


@case(
    LISTS, "the dictionary of another run: two tokens swapped", "tokens.txt:5: 'C'", "'B'", STAGE3
)
def swapped() -> Command:
    return edited("\nB\nC\n", "\nC\nB\n")


@case(LISTS, "a token twice", "tokens.txt:5: 'A', must be 'B'", STAGE3)
def twice_in_list() -> Command:
    return edited("\nA\n", "\nA\nA\n")


@case(LISTS, "no `<blank>`", "tokens.txt:1: '<unk>', must be '<blank>'", STAGE3)
def no_blank() -> Command:
    return edited("<blank>\n", "")


@case(LISTS, "no `<sos/eos>`", "tokens.txt:31: nothing, must be '<sos/eos>'", STAGE3)
def no_eos() -> Command:
    return edited("<sos/eos>\n", "")


@case(LISTS, "a token more", "tokens.txt:32: 'Ä', must be nothing", STAGE3)
def one_more() -> Command:
    return edited("<sos/eos>\n", "<sos/eos>\nÄ\n")


@case(LISTS, "Windows line ends", "tokens.txt:1: '<blank>\\r', must be '<blank>'", STAGE3)
def windows() -> Command:
    return edited("\n", "\r\n")


@case(
    LISTS,
    "the SentencePiece model of another vocabulary",
    "bpe.model: ",
    "another vocabulary",
    STAGE3,
)
def other_model() -> Command:
    import io

    import sentencepiece as spm

    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(["o n e t w"]), model_writer=model, model_type="char",
        vocab_size=8, minloglevel=2,
    )  # fmt: skip
    made(lambda path: path.with_name("bpe.model").write_bytes(model.getvalue()))
    return training()


@case(LISTS, "a SentencePiece model cut short", "bpe.model: damaged", STAGE3)
def cut_model() -> Command:
    def change(path: Path) -> None:
        model = path.with_name("bpe.model")
        model.write_bytes(model.read_bytes()[:-100])

    made(change)
    return training()


@case(LISTS, "the SentencePiece model is gone", "bpe.model: missing", STAGE3)
def no_model() -> Command:
    made(lambda path: path.with_name("bpe.model").unlink())
    return training()


@case(LISTS, "the directory of another stage", "tok: no token list", STAGE3)
def other_stage() -> Command:
    made(lambda path: None)
    Fingerprint("features", {}, {}).finish("tok")
    main, argv = training()
    return main, [*argv, "--token_list", "tok"]


@case(LISTS, "the language model's list was changed", "tokens.txt:5: 'C', must be 'B'", STAGE3)
def swapped_for_lm() -> Command:
    edited("\nB\nC\n", "\nC\nB\n")
    tiny.write_config("conf/lm.yaml", tiny.LM_CONFIG)
    text = str(tiny.DUMP / "train/text")
    argv = ["--task", "lm", "--job", "x", "conf/lm.yaml", "--token_list", str(tiny.TOKENS)]
    return train.main, [*argv, "--train", text, "--valid", text]


@case(TEXT, "features of other utterances than the text", "train: text and features", "stage 2")
def other_utterances() -> Command:
    made(lambda path: None)
    text = tiny.DUMP / "train/text"
    text.write_text(text.read_text().replace("train001", "train901"))
    return training()


@case(
    TEXT,
    "an utterance too short to train on",
    "train: 1 utterances have fewer",
    "the features stage",
)
def short() -> Command:
    made(lambda path: None)
    shape = tiny.DUMP / "train/feats_shape"
    lines = shape.read_text().splitlines()
    lines[0] = f"{lines[0].split()[0]} {feature_dir.MIN_FRAMES - 1},{tiny.DIM}"
    shape.write_text("".join(f"{line}\n" for line in lines))
    return training()
