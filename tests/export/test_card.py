"""Model cards: read by the hub's own library, and not to be subverted by names."""

import json

import pytest
import yaml
from huggingface_hub import ModelCard

from espnet_dice.export.cards import asr_card, card, hubert_card
from espnet_dice.records.frontend import Frontend

EVIL = "x`|<script>alert(1)</script>\n---\nlicense: mit\n# [a](b) *c* $front"
TRAINING = {"parameters": "0.20 M", "epochs": "2, seed 0"}
LABELS = {"clusters": 500, "source": "owner/hubert", "layer": 9, "kl": {"5": 0.001}}
REPORT = {
    "parameters": 26_900_000,
    "layers": 12,
    "dim": 384,
    "normalize": False,
    "hf": {"largest_difference": 1e-6},
    "onnx": {"model.onnx": {"relative_error": 2e-7, "seconds_per_audio_second": 0.05}},
}
PROBES = {
    "char": {"about": "CTC", "floor": 80.0, "made_from": {"phones": None}},
    "sid": {"about": "speakers", "floor": 5.0, "made_from": {}},
}
HEARD = Frontend("fbank_pitch", 16000)
SCORES = {"char": {"0": 40.0, "1": 42.0}, "sid": {"0": 70.5}}


def row(name="s_test", lm=None, wer=27.6):
    rates = {"wer": wer, "cer": 11.4, "words": 617, "cpu_s_per_audio_s": 0.25}
    return {"system": "x", "set": name, "lm": lm, **rates}


def student(name="dice_a", labels=LABELS, report=REPORT, probed=True, **config):
    config = {"loss": [{"name": "dice_soft", "conf": {"tau": 5.0}}], **config}
    measured = {"scores": SCORES} if probed else None
    versions = "`espnet_dice 1`."
    return hubert_card.make(name, TRAINING, config, labels, report, measured, PROBES, versions)


def recogniser(
    name="asr_a",
    rows=(),
    heard=HEARD,
    input_size=83,
    encoder_conf=None,
    why=None,
    **conf,
):
    config = {
        "input_size": input_size,
        "token_list": ["a"] * 31,
        "token_type": "bpe",
        "encoder": "transformer",
        "encoder_conf": encoder_conf or {"num_blocks": 2, "output_size": 64},
        "decoder": "transformer",
        "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.15, **conf},
    }
    onnx = {"encoder.int8.onnx": {"relative_error": 0.02}}
    report = {"largest_difference": 1e-6, "not_plain": why, "no_infer": why, "onnx": onnx}
    return asr_card.make(name, TRAINING, config, heard, report, rows, "`espnet_dice 1`.")


def facts(text):
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {line[0]: line[1] for line in rows if len(line) == 2}


def test_a_mel_stem_is_said_and_so_is_its_code():
    report = {**REPORT, "hf": {"largest_difference": 1e-6, "carries_code": True}}
    text = student(report=report, student_conf={"stem": "mel"})
    assert facts(text)["stem"].startswith("80 log-mel filters") and "utterance" in text
    assert 'AutoModel.from_pretrained(".", trust_remote_code=True)' in text
    assert "HubertModel" not in text
    plain = student(student_conf={"stem": "full"})
    assert "stem" not in facts(plain) and "trust_remote_code" not in plain


def test_a_student(tmp_path):
    text = student()
    found = ModelCard(text)
    data = found.data
    assert (data.license, data.library_name) == ("unknown", "transformers")
    assert data.pipeline_tag == "feature-extraction" and "hubert" in data.tags
    assert data.base_model == "owner/hubert"
    said = facts(text)
    assert said["loss"] == "`dice_soft (tau 5.0)`"
    assert said["labels"] == (
        "k-means of the teacher's layer 9 (from 1), K = 500; soft labels are kept with a KL of "
        "1.0e-03 nats at τ 5"
    )
    assert said["teacher"] == "`owner/hubert`"
    assert said["licence of the teacher"] == card.UNKNOWN
    assert said["parameters"].startswith("26.90 M") and said["layers"] == "12, width 384"
    assert "relative error 2e-07" in said["`model.onnx`"]
    assert "| character error rate, % | 41.0 | 80.0 | `CTC` |" in text
    assert "| speaker accuracy, % | 70.5 | 5.0 | `speakers` |" in text
    scores = {(r.task_type, r.metric_type): r.metric_value for r in data.eval_results}
    assert scores["automatic-speech-recognition", "cer"] == 41.0
    assert scores["audio-classification", "accuracy"] == 70.5 and len(scores) == 2
    assert data.model_name == "dice_a"
    assert 'HubertModel.from_pretrained(".")' in text and "espnet_dice 1" in text


def test_no_card_says_where_things_are(tmp_path):
    at = str(tmp_path / "models/hubert")
    loss = [{"name": "dice_feature", "conf": {"teacher": at}}]
    for text in (
        student(labels={**LABELS, "source": at}, loss=loss),
        recogniser(input_size=1, encoder_conf={"source": at}),
    ):
        assert str(tmp_path) not in text and "`hubert`" in text
    assert "`dice_feature (teacher hubert)`" in student(loss=loss)
    (tmp_path / "hubert.pt").touch()
    text = student(labels={**LABELS, "source": str(tmp_path / "hubert.pt")})
    assert "| teacher | `hubert.pt` |" in text and ModelCard(text).data.base_model is None


def test_a_student_that_did_not_begin_with_fresh_parameters_says_so():
    said = facts(student(model_conf={"init": "pca"}))
    assert said["began with"].startswith("cut from the teacher")
    assert "began with" not in facts(student(model_conf={"mask_prob": 0.8}))


def test_a_student_without_results_and_without_labels():
    loss = [{"name": "dice_hard"}, {"name": "dice_feature", "weight": 0.1}]
    text = student(labels=None, probed=False, loss=loss)
    assert "Not measured yet" in text
    said = facts(text)
    assert said["loss"] == "`dice_hard` + 0.1 × `dice_feature`"
    assert "teacher" not in said and ModelCard(text).data.base_model is None
    mfcc = facts(student(labels={"clusters": 100, "source": "mfcc"}))
    assert mfcc["labels"].startswith("k-means of MFCC, K = 100") and "teacher" not in mfcc


def test_a_recogniser():
    text = recogniser(rows=[row(), row(lm="mini", wer=25.0)])
    data = ModelCard(text).data
    assert (data.library_name, data.pipeline_tag) == ("espnet", "automatic-speech-recognition")
    scores = {(r.metric_name, r.dataset_name): r.metric_value for r in data.eval_results}
    assert scores["WER %, no LM", "s_test"] == 27.6
    assert scores["WER %, LM mini", "s_test"] == 25.0 and len(scores) == 4
    assert "| `s_test` | `mini` | 25.0 | 11.4 | 617 | 0.250 |" in text
    said = facts(text)
    assert said["input"] == "`fbank_pitch`, (frames, 83), of speech at 16000 Hz"
    assert said["encoder, decoder"] == "`transformer`, 2 blocks, width 64; `transformer`"
    assert said["loss"] == "0.3·CTC + 0.7·attention (label smoothing 0.15)"
    assert "teachers" not in said
    assert said["outputs beside the trained model's"] == "largest difference 1e-06"
    assert said["`encoder.int8.onnx`"].endswith("relative error 0.02")


def test_what_is_shipped_is_measured():
    greedy = {"set": "s_test", "utterances": 9, "ship": 20.5, "ship_cpu_s_per_audio_s": 0.02}
    report = {"onnx": {"encoder.onnx": {"relative_error": 2e-7}}, "greedy_wer": greedy}
    said = asr_card._checked(report, "waveforms (batch, samples)")
    assert said["without ESPnet and torch (`ship/`, int8)"] == (
        "0.0200 CPU-seconds per second of audio, waveform to text; greedy CTC 20.5 % WER on "
        "9 utterances of `s_test`"
    )
    assert said["`encoder.onnx`"].startswith("encoder and CTC: waveforms (batch, samples) of equal")


def test_a_recogniser_of_waveforms():
    encoder = {"source": "exp/dice_a", "layer": 2}
    text = recogniser(heard=Frontend("raw", 8000), input_size=1, encoder_conf=encoder)
    assert facts(text)["encoder from"] == f"`exp/dice_a` (licence: {card.UNKNOWN})"
    assert facts(text)["input"] == "`raw`, of speech at 8000 Hz"
    assert "called with a waveform of 8000 Hz" in text and "called with features" not in text


def test_a_recogniser_that_plain_espnet_cannot_load_says_so():
    assert "in plain ESPnet's format" in recogniser() and "register()" not in recogniser()
    text = recogniser(why="the layer is not the last")
    assert "plain" not in text and "`espnet_dice` (the layer is not the last)" in text
    said = text[text.index("    import espnet_dice; espnet_dice.register()") :]
    assert said.splitlines()[1] == "    from espnet2.bin.asr_inference import Speech2Text"


def test_what_takes_a_recogniser_from_sound_to_text():
    for heard in (HEARD, Frontend("raw", 8000)):
        text = recogniser(heard=heard)
        assert f"takes a WAV file of {heard.rate} Hz to text, with ESPnet" in text
        assert "    python infer.py speech.wav\n" in text
    assert "(frames, 83) float32. `espnet_dice` makes them." in recogniser(why="an adapter")
    assert "infer.py" not in recogniser(why="an adapter") + recogniser(heard=None)


def test_a_recogniser_with_teachers(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# A teacher\n")
    teachers = [{"name": "a", "weight": 0.5, "exp": str(tmp_path)}, {"name": "b", "weight": 0.5}]
    conf = {"kd_alpha": 0.7, "kd_beta": 0.5, "kd_ctc": 0.3, "teachers": teachers}
    said = facts(recogniser(**conf))
    assert said["teachers"] == (
        f"`a` (weight 0.5, licence: `cc-by-4.0`); `b` (weight 0.5, licence: {card.UNKNOWN})"
    )
    assert said["loss"].endswith(
        "of the attention loss α 0.7 matches the teachers' token distributions and their "
        "uncertainty (β 0.5); 0.3 of the CTC loss matches the teachers' CTC"
    )
    conf |= {"kd_alpha": {"start": 0.8, "end": 0.2, "to": 9}, "kd_beta": 0.0}
    assert "α 0.8→0.2 matches the teachers' token dist" in facts(recogniser(**conf))["loss"]


@pytest.mark.parametrize("make", [student, recogniser])
def test_names_cannot_become_markup(make):
    if make is student:
        text = student(EVIL, {**LABELS, "source": EVIL}, loss=[{"name": EVIL}])
    else:
        text = recogniser(EVIL, rows=[row(EVIL, EVIL)], teachers=[{"name": EVIL}])
    found = ModelCard(text)
    assert found.data.license == "unknown"  # the front matter ends where it should
    body = found.text.splitlines()
    assert sum(line.startswith("#") for line in body) == 4
    for line in body:
        literal = line.replace("\\|", "¦").split("`")
        assert len(literal) % 2 == 1, line
        outside = "".join(literal[::2])
        assert "<" not in outside and "](" not in outside and "$" not in outside, line
    if make is recogniser:
        assert found.data.eval_results[0].dataset_name == EVIL


@pytest.mark.parametrize(
    ("text", "code"),
    [("a`b", "`a b`"), ("a|b", "`a\\|b`"), ("a\r\nb", "`a b`"), ("", "–"), ("``", "–")],
)
def test_inline_code(text, code):
    assert card.code(text) == code


def test_the_licence_of_a_teacher(tmp_path):
    assert card.licence_of(tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps({"license": "mit"}))
    assert card.licence_of(tmp_path) == "mit"
    front = {"license": "other", "license_name": "lab-1"}
    (tmp_path / "README.md").write_text(f"---\r\n{yaml.safe_dump(front)}---\n\nlicense: no\n")
    assert card.licence_of(tmp_path) == "lab-1"
    assert card.licence_of(tmp_path / "README.md") == "lab-1"
    for broken in (
        "---\n[\n---\n",
        "license: mit\n",
        "---\nlicense: unknown\n---\n",
        "---\n- 1\n---\n",
    ):
        (tmp_path / "README.md").write_text(broken)
        (tmp_path / "config.json").unlink(missing_ok=True)
        assert card.licence_of(tmp_path) is None
    for name in ("owner/never-downloaded", "no such name at all", ""):
        assert card.licence_of(name) is None
