"""Models, results and what is taken away, wrong."""

import json
import zipfile
from pathlib import Path

from espnet_dice import extract, transcribe
from espnet_dice.io.fingerprint import Fingerprint, digest_files
from espnet_dice.stages import decode, import_teacher, score, tokens
from tests.campaign.catalogue import Command, case
from tests.corpus import noise, write_audio

MODELS, RESULTS, AWAY = "Experiments", "Results", "What is taken away"
EXP = Path("exp/asr_a")


def trained(directory: Path = EXP, **more) -> Path:
    """A finished experiment, as far as its files tell."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "m.pth").write_bytes(b"parameters")
    (directory / "config.yaml").write_text("token_list: [a]\ninput_size: 20\n")
    said = {"task": "asr", "model": "m.pth", "sha256": digest_files([directory / "m.pth"])}
    said |= {"parameters": 1000, "seed": 0, "max_epoch": 1, **more}
    (directory / "model.json").write_text(json.dumps(said))
    Fingerprint("train_asr", {}, {}).finish(directory)
    return directory


def decoding() -> Command:
    """Decode it; only its files are looked at."""
    Path("d.yaml").write_text("beam_size: 2\n")
    return decode.main, ["--config", "d.yaml", "--systems", str(EXP), "--sets", "x"]


@case(MODELS, "its training was never finished", "exp/asr_a was begun", "run stage 5 or 7 again")
def unfinished() -> Command:
    trained()
    Fingerprint("train_asr", {}, {}).begin(EXP)
    return decoding()


@case(MODELS, "its parameters were replaced", "m.pth is not the file", "run stage 5 or 7 again")
def replaced() -> Command:
    (trained() / "m.pth").write_bytes(b"others")
    return decoding()


@case(MODELS, "its parameters are gone", "m.pth is missing", "run stage 5 or 7 again")
def gone() -> Command:
    (trained() / "m.pth").unlink()
    return decoding()


@case(MODELS, "`model.json` is empty", "model.json is missing or damaged", "remove exp/asr_a")
def empty_record() -> Command:
    (trained() / "model.json").write_text("")
    return decoding()


@case(MODELS, "`model.json` of another version", "model.json is missing or damaged", "remove")
def other_record() -> Command:
    trained(colour="blue")
    return decoding()


@case(MODELS, "`model.json` names a file elsewhere", "model.json is missing or damaged", "remove")
def elsewhere() -> Command:
    (trained(model="../other.pth").parent / "other.pth").write_bytes(b"parameters")
    return decoding()


@case(MODELS, "its fingerprint is cut short", ".fingerprint.json: not JSON", "remove the directory")
def cut_fingerprint() -> Command:
    path = trained() / ".fingerprint.json"
    path.write_text(path.read_text()[:40])
    return decoding()


@case(MODELS, "its fingerprint is another file", ".fingerprint.json: no fingerprint", "remove the")
def other_fingerprint() -> Command:
    (trained() / ".fingerprint.json").write_text("[1, 2]\n")
    return decoding()


def adopting() -> Command:
    """Take it as a teacher."""
    tokens.make_tokens("tok")
    return import_teacher.main, ["--teacher", f"a={EXP}", "--token_list", "tok"]


@case(
    MODELS,
    "a teacher of another token list",
    "config.yaml: token_list is not that of tok",
    "stage 3",
)
def other_tokens() -> Command:
    trained()
    return adopting()


@case(
    MODELS, "a teacher's config cut short", "exp/asr_a/config.yaml: cannot be read", "copy it again"
)
def cut_config() -> Command:
    (trained() / "config.yaml").write_text("token_list: [a, b")
    return adopting()


@case(
    MODELS, "a teacher without its config", "exp/asr_a/config.yaml: cannot be read", "copy it again"
)
def no_config() -> Command:
    (trained() / "config.yaml").unlink()
    return adopting()


@case(MODELS, "a teacher whose name is a path", "--teacher ../a=exp/asr_a", "NAME=EXPDIR")
def path_name() -> Command:
    trained()
    main, argv = adopting()
    argv[1] = f"../a={EXP}"
    return main, argv


def decoded(text: str | bytes, reference: str = "u0 ONE TWO\nu1 SIX\n") -> Command:
    """A finished decoding with this result, to be scored."""
    trained()
    out = EXP / "decode_x" / "test"
    out.mkdir(parents=True)
    Path("text").write_text(reference)
    meta = {"system": "a", "set": "test", "lm": None, "reference": "text", "parameters": 1000}
    meta |= {"seed": 0, "cpu_s_per_audio_s": 0.1}
    (out / "meta.json").write_text(json.dumps(meta))
    (out / "text").write_bytes(text if isinstance(text, bytes) else text.encode())
    Fingerprint("decode", {}, {"model": digest_files([EXP / "m.pth"])}).finish(out)
    return score.main, ["--exp", "exp"]


OUT = "exp/asr_a/decode_x/test"


@case(RESULTS, "nothing was decoded", "nothing was decoded below exp", "run stages 6 and 9")
def nothing() -> Command:
    trained()
    return score.main, ["--exp", "exp"]


@case(RESULTS, "a result of another set", f"{OUT}: u1 is only in", "decode again")
def other_set() -> Command:
    return decoded("u0 ONE\nu9 SIX\n")


@case(
    RESULTS, "a result that lists an utterance twice", f"{OUT}/text:2", "twice: u0", "decode again"
)
def twice() -> Command:
    return decoded("u0 ONE\nu0 ONE\nu1 SIX\n")


@case(RESULTS, "a reference without words", f"{OUT}: u1 has an empty reference", "text")
def no_reference() -> Command:
    return decoded("u0 ONE\nu1 SIX\n", "u0 ONE TWO\nu1\n")


@case(RESULTS, "the reference is gone", "text is missing", "run the stage")
def reference_gone() -> Command:
    said = decoded("u0 ONE\nu1 SIX\n")
    Path("text").unlink()
    return said


@case(RESULTS, "a result that is not UTF-8", f"{OUT}/text: not UTF-8", "decode again")
def latin() -> Command:
    return decoded(b"u0 CAF\xc9\nu1 SIX\n")


@case(
    RESULTS,
    "`meta.json` cut short",
    f"{OUT}/meta.json: not JSON",
    "remove it",
    theirs=r"(?<=JSON \().*?(?=\))",
)
def cut_meta() -> Command:
    said = decoded("u0 ONE\nu1 SIX\n")
    path = Path(OUT) / "meta.json"
    path.write_text(path.read_text()[:20])
    return said


@case(AWAY, "no such model", "no: no such directory", "give exp/asr_<tag>")
def no_model() -> Command:
    return transcribe.main, ["no", "a.wav"]


@case(AWAY, "a directory without a model", "here/config.yaml: missing", "give exp/asr_<tag>")
def no_model_here() -> Command:
    Path("here").mkdir()
    return transcribe.main, ["here", "a.wav"]


@case(AWAY, "an archive cut short", "a.zip: no packed model", "zip", "again")
def cut_zip() -> Command:
    with zipfile.ZipFile("a.zip", "w") as z:
        z.writestr("meta.yaml", "files: {}")
    path = Path("a.zip")
    path.write_bytes(path.read_bytes()[:-10])
    return transcribe.main, ["a.zip", "a.wav"]


@case(AWAY, "a zip of something else", "a.zip: there is no meta.yaml in it", "espnet2.bin.pack")
def other_zip() -> Command:
    with zipfile.ZipFile("a.zip", "w") as z:
        z.writestr("readme", "hello")
    return transcribe.main, ["a.zip", "a.wav"]


@case(AWAY, "a pack of another task", "a.zip: no recogniser: its meta.yaml lists lm_", "asr_")
def other_task() -> Command:
    with zipfile.ZipFile("a.zip", "w") as z:
        z.writestr("meta.yaml", "files: {lm_file: lm.pth}\nyaml_files: {lm_train_config: lm.yaml}")
        for name in ("lm.pth", "lm.yaml"):
            z.writestr(name, "x")
    return transcribe.main, ["a.zip", "a.wav"]


@case(AWAY, "a config that is no mapping", "m/config.yaml: no configuration", "of a model")
def no_mapping() -> Command:
    Path("m").mkdir()
    Path("m/config.yaml").write_text("- 1\n")
    Path("m/model.pth").write_bytes(b"parameters")
    return transcribe.main, ["m", "a.wav"]


@case(AWAY, "an export without its parameters", "model.pth is missing", "export it again")
def no_parameters() -> Command:
    Path("m").mkdir()
    Path("m/config.yaml").write_text("decoder: transformer\n")
    return transcribe.main, ["m", "a.wav"]


@case(AWAY, "two files of one name to extract", "two files are called a", "two directories")
def same_name() -> Command:
    for name in ("x/a.wav", "y/a.wav"):
        write_audio(Path(name), noise(0.1))
    return extract.main, ["m", "x/a.wav", "y/a.wav", "--out", "f"]
