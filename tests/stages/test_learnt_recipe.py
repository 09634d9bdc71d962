"""A recipe with a learnt token list, from features to WER, export, uncertainty and report."""

import json
from pathlib import Path

import pytest

import espnet_dice
from espnet_dice.io import texts
from espnet_dice.io.arks import ArkReader
from espnet_dice.io.errors import ConfigError, StaleError
from espnet_dice.kd import cache
from espnet_dice.records import experiment, feature_dir, tokens
from espnet_dice.report import utterances
from espnet_dice.results import recognisers, score, token_uncertainty
from espnet_dice.stages import decode, export, import_teacher, teacher_outputs, uncertainty
from espnet_dice.stages import tokens as tokens_stage
from tests.stages import tiny

TEST = tiny.DUMP / "test"
CASES = {
    # a number of tokens that so few words make
    "bpe": ("one two six ten twenty sixty".split(), {"kind": "bpe", "nbpe": 22, "mode": "bpe"}),
    "char": ("ένα δύο έξι δέκα γάτα σκύλος".split(), {"kind": "char"}),
}


@pytest.fixture(scope="module", params=list(CASES))
def built(request, tmp_path_factory):
    words, options = CASES[request.param]
    made = tiny.build(tmp_path_factory.mktemp(request.param), words, **options)
    return made, words, options


@pytest.fixture
def here(built, monkeypatch):
    monkeypatch.chdir(built[0].root)
    return built


def test_from_features_to_the_table(here):
    recipe, words, _ = here
    known = tokens.load(tiny.TOKENS)
    spoken = texts.words(TEST / "text")
    assert set(" ".join(spoken.values()).split()) <= set(words)
    systems = [recipe.student, recipe.plain]
    planned = decode.plan(systems, [TEST], recipe.lm, [False, True], Path("conf/decode.yaml"))
    assert decode.run(planned, nj=2) == 4
    rows = score.score(tiny.EXP)
    assert len(rows) == 4 and all(
        r.words == sum(map(len, map(str.split, spoken.values()))) for r in rows
    )
    # what was decoded is the tokens, written as SentencePiece joins them
    for d in planned:
        said = (d.out / "token").read_text(encoding="utf-8").splitlines()
        text = texts.words(d.out / "text")
        for utt, *found in map(str.split, said):
            assert set(found) <= set(known.entries)
            assert text[utt] == " ".join(known.pieces.decode_pieces(found).split())
    lengths = dict(
        map(str.split, (recipe.student / "shapes/train/text_shape").read_text().splitlines())
    )
    for utt, transcript in texts.words(tiny.DUMP / "train/text").items():
        n = len(known.pieces.encode(transcript))
        assert lengths[utt] == f"{n},{len(known.entries)}"

    assert (
        uncertainty.run(uncertainty.plan(systems, [TEST], tiny.TOKENS, 3), tiny.TOKENS, nj=2) == 2
    )
    said = token_uncertainty.read(recipe.student / "uncertainty/test/tokens.npz")
    assert said.tokens == list(known.entries)
    for utt, ids in zip(said.utterances, said.utterance("ref", "ids"), strict=True):
        assert [said.tokens[int(i)] for i in ids[:-1]] == known.pieces.encode(
            spoken[utt], out_type=str
        )
    shown = utterances.tokens(recognisers.read(tiny.EXP), "test", list(spoken))
    first = shown["utterances"][min(spoken)]["tokens"]
    assert "".join(first[:-1]).replace("␣", " ").strip() == spoken[min(spoken)]

    assert export.export(systems, tiny.TOKENS, onnx=False) == 2
    (packed,) = (recipe.student / "export").glob("*.zip")
    beam = {k: v for k, v in tiny.DECODE.items() if k != "lm_weight"}
    features = ArkReader(TEST / "feats.scp")
    recogniser = espnet_dice.load(packed, **beam)
    decoded = texts.words(planned[0].out / "text")
    for utt in spoken:
        assert " ".join(recogniser.decode(features[utt]).split()) == decoded[utt]


def test_what_teachers_say_is_of_these_tokens(here):
    known = tokens.load(tiny.TOKENS)
    said = ArkReader(tiny.EXP / "teacher_outputs/t/train" / f"{cache.DECODER}.scp")
    for utt, transcript in texts.words(tiny.DUMP / "train/text").items():
        ids = said[utt][:, -1].astype(int)
        assert [known.entries[i] for i in ids] == [*known.written(transcript), "<sos/eos>"]
        assert said[utt].shape[1] == 2 * len(known.entries) + 1


def test_a_changed_list_makes_all_of_it_stale(here, tmp_path, monkeypatch):
    recipe, words, options = here
    more = tmp_path / "more"
    more.write_text(f"u0 {words[0]}\nu1 {words[1]}\n", encoding="utf-8")
    text = tiny.DUMP / "train/text"
    before = tokens.key_of(tiny.TOKENS)
    for name in ("dump", "conf", "exp"):
        (tmp_path / name).symlink_to(recipe.root / name)
    monkeypatch.chdir(tmp_path)
    tokens_stage.make_tokens(tiny.TOKENS, train=[text, more], **options)
    assert tokens.key_of(tiny.TOKENS) != before
    from espnet_dice.training.jobs import Plan

    config = tiny.asr_config("uncertainty_kd")
    for job in (tiny.asr_job("teacher_t", config), tiny.lm_job()):
        assert not Plan(job).done
        assert "tokens" in Plan(job).fingerprint.why(job.out)
    with pytest.raises(StaleError, match=r"teacher_outputs/t/train"):
        tiny.asr_job("unc_seed0", tiny.asr_config("uncertainty_kd", kd_alpha=0.5, kd_beta=0.5),
                     teacher=f"t={tiny.EXP / 'asr_teacher_t'}")  # fmt: skip


def test_an_unknown_character_reaches_teachers_and_certainties_as_unk(here, tmp_path, monkeypatch):
    recipe, words, _ = here
    monkeypatch.chdir(tmp_path)
    for name in ("data", "exp", "conf", "dump"):
        (tmp_path / name).symlink_to(recipe.root / name)
    tiny.write_dump(Path("other/dev"), 3, 1, "dev", words)
    text = Path("other/dev/text")
    lines = text.read_text(encoding="utf-8").splitlines()
    text.write_text("".join(f"{line}Ж\n" for line in lines), encoding="utf-8")
    dump = feature_dir.load("other/dev")
    teacher = {"t": Path("exp/asr_teacher_t")}
    teacher_outputs.make_outputs(teacher, [dump], tiny.TOKENS, Path("out"), n_samples=0, nj=1)
    for utt, matrix in ArkReader(f"out/t/dev/{cache.DECODER}.scp").items():
        assert matrix[-2:, -1].tolist() == [1, matrix[-1, -1]], utt
    (asked,) = uncertainty.plan([Path("exp/asr_plain_seed0")], [dump.path], tiny.TOKENS, 0)
    said = uncertainty.texts_of(asked, tiny.TOKENS)["ref"]
    assert all(written[-1] == "<unk>" for written in said.values())


def test_a_teacher_of_the_same_pieces_that_cuts_otherwise(here, tmp_path, monkeypatch):
    recipe, _, _ = here
    source = recipe.root / "exp/asr_teacher_t"
    known = tokens.load(tiny.TOKENS)
    monkeypatch.chdir(tmp_path)
    mine = Path("data/token_list/tok")
    texts = [recipe.root / tiny.DUMP / "train/text"]
    tokens_stage.make_tokens(mine, train=texts, **here[2])
    assert tokens.key_of(mine) == known.key
    assert import_teacher.import_teachers({"libri": source}, Path("exp"), mine) == 1
    assert experiment.load("exp/asr_teacher_libri").sha256 == experiment.load(source).sha256
    model = recipe.root / tiny.TOKENS / "bpe.model"
    kept = model.read_bytes()
    try:
        model.write_bytes(kept + b"\x1a\x00")
        with pytest.raises(ConfigError, match=r"bpe\.model: cuts words otherwise"):
            import_teacher.import_teachers({"other": source}, Path("exp"), mine)
        model.unlink()
        with pytest.raises(ConfigError, match=r"bpemodel .* is not there"):
            import_teacher.import_teachers({"other": source}, Path("exp"), mine)
    finally:
        model.write_bytes(kept)


def test_perplexity_counts_the_tokens(here):
    known = tokens.load(tiny.TOKENS)
    found = json.loads((here[0].lm / "perplexity.json").read_text())
    spoken = texts.words(tiny.DUMP / "dev/text").values()
    assert found["tokens"] == sum(len(known.written(t)) + 1 for t in spoken)
