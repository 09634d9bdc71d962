"""WER of exported encoders by greedy CTC."""

import json
import shutil
from itertools import groupby
from types import SimpleNamespace

import jiwer
import kaldiio
import numpy as np
import pytest
import torch

from espnet_dice.checks import check_results, checks
from espnet_dice.export import greedy_wer
from espnet_dice.export.onnx import (
    DECODER,
    DECODER_INT8,
    ENCODER,
    ENCODER_INT8,
    missing_for_onnx,
)
from espnet_dice.export.recogniser import RecogniserExport
from espnet_dice.io.errors import ConfigError
from espnet_dice.records import feature_dir
from espnet_dice.stages import export
from espnet_dice.stages.features import make_features
from tests.corpus import make_corpus
from tests.stages import tiny

ONNX = pytest.mark.skipif(bool(missing_for_onnx()), reason="the extra onnx is not installed")
FIGURES = {"set": "test", "utterances": 6, "words": 100, ENCODER: 20.0, ENCODER_INT8: 20.4}
REPORT = {"greedy_wer": FIGURES, "processor": {"machine": "x86_64", "features": ["avx2"]}}


def test_greedy():
    rng = np.random.default_rng(0)
    for _ in range(50):
        log_probs = rng.normal(size=(30, 4))
        best = [int(i) for i in log_probs.argmax(1)]
        assert greedy_wer.greedy(log_probs) == [i for i, _ in groupby(best) if i]
    assert greedy_wer.greedy(np.zeros((0, 4))) == []


def test_utterances_are_spread_over_the_set():
    lengths = {f"u{i:02}": 10 + i for i in range(40)}
    assert greedy_wer.choose(lengths, 4, 100) == ["u00", "u10", "u20", "u30"]
    assert greedy_wer.choose(lengths, 99, 100) == sorted(lengths)
    assert greedy_wer.choose(lengths, 99, 12) == ["u00", "u01", "u02"]


@ONNX
def test_an_export_with_its_wer(trained, fresh):
    """Of the full encoder as ESPnet's own model and jiwer have it."""
    from espnet2.tasks.asr import ASRTask

    from espnet_dice.export.onnx.graphs import session

    system = trained.plain
    shutil.copytree(trained.root / system, system)
    (tiny.EXP / "RESULTS.md").write_text("# Results\n\ntable\n")
    test = tiny.DUMP / "test"
    assert export.export([system], tiny.TOKENS, test_set=test, test_utterances=5) == 1
    out = system / "export"
    figures = json.loads((out / "export.json").read_text())
    assert f"`{ENCODER}`" in (out / "hf/README.md").read_text()
    assert figures["processor"]["machine"] and figures["onnx"].keys() == {
        ENCODER,
        ENCODER_INT8,
        DECODER,
        DECODER_INT8,
    }
    figures = figures["greedy_wer"]
    model, _ = ASRTask.build_model_from_file(out / "config.yaml", out / "model.pth")
    feats = kaldiio.load_scp(str(test / "feats.scp"))
    lines = (test / "text").read_text().splitlines()
    texts = {utt: " ".join(words) for utt, *words in map(str.split, lines)}
    run = session(out / ENCODER)
    references, hypotheses = [], []
    for utt in greedy_wer.choose(feature_dir.load(test).lengths, 5, 1000):
        speech = torch.tensor(np.array(feats[utt]))[None]
        with torch.no_grad():
            memory, _ = model.eval().encode(speech.clone(), torch.tensor([speech.size(1)]))
            ids = model.ctc.argmax(memory)[0].tolist()
        np.testing.assert_allclose(run(speech.numpy())[0], memory, rtol=0, atol=1e-4)
        said = "".join(model.token_list[i] for i, _ in groupby(ids) if i)
        references.append(texts[utt])
        hypotheses.append(" ".join(said.replace("▁", " ").split()))
    wanted = 100 * jiwer.wer(references, hypotheses)
    assert figures[ENCODER] == pytest.approx(wanted, abs=1e-3)
    assert (figures["set"], figures["utterances"]) == ("test", 5)
    assert figures["words"] == sum(len(r.split()) for r in references)
    row = f"| {system.name.removeprefix('asr_')} | test |"
    results = (tiny.EXP / "RESULTS.md").read_text()
    assert (
        results.startswith("# Results\n\ntable\n\n## Exported encoders\n\n| system")
        and row in results
    )
    assert f"{wanted:.1f} % WER on 5 utterances of `test`" in (out / "hf/README.md").read_text()
    # scoring writes the table anew: the section comes again, once, though nothing is exported
    assert export.export([system], tiny.TOKENS, test_set=test, test_utterances=5) == 0
    assert (tiny.EXP / "RESULTS.md").read_text() == results
    with pytest.raises(ConfigError, match="--test_utterances 0: give a number from 1"):
        export.export([system], tiny.TOKENS, test_set=test, test_utterances=0)


@ONNX
def test_a_decoder_without_a_graph_takes_nothing_else_away(trained, fresh, monkeypatch, caplog):
    from espnet_dice.export.onnx import search_step
    from espnet_dice.export.onnx.graphs import NoGraph

    def none(*given):
        raise NoGraph("asr_x: has no ONNX form (for this test)")

    monkeypatch.setattr(search_step, "write_decoder", none)
    shutil.copytree(trained.root / trained.plain, trained.plain)
    assert export.export([trained.plain], tiny.TOKENS) == 1
    report = json.loads((trained.plain / "export/export.json").read_text())
    assert report["onnx"].keys() == {ENCODER, ENCODER_INT8} and report["no_onnx"] is None
    assert "ship/ goes without: asr_x: has no ONNX form" in caplog.text


def test_what_is_shipped_stands_beside_the_full_recogniser(tmp_path):
    shipped = {**FIGURES, greedy_wer.SHIP: 20.5, greedy_wer.SPEED: 0.0123, greedy_wer.FULL: 18.0}
    lm = {"name": "x", "weight": 0.5}
    for system, more in (("a", {}), ("b", {}), ("c", {"lm": lm})):
        (tmp_path / f"asr_{system}/export").mkdir(parents=True)
        report = {"greedy_wer": FIGURES if system == "b" else shipped, **more}
        (tmp_path / f"asr_{system}/export/export.json").write_text(json.dumps(report))
    row = {"system": "a", "set": "test", "lm": None, "wer": 18.1, "cpu_s_per_audio_s": 0.5}
    others = [{**row, "lm": "x", "cpu_s_per_audio_s": 0.7}, {**row, "set": "dev"}]
    others += [{**other, "system": "c"} for other in others]
    (tmp_path / "results.json").write_text(json.dumps([row, *others]))
    (tmp_path / "RESULTS.md").write_text("# Results\n")
    greedy_wer.add_to_results(tmp_path)
    lines = (tmp_path / "RESULTS.md").read_text().splitlines()
    head, _, a, b, c = ([cell.strip() for cell in line.split("|")] for line in lines[4:9])
    assert head[7:12] == ["ship/ LM", "ship/ WER %", "ship/ CPU", "full WER %", "full CPU"]
    assert a[5:12] == ["20.0", "20.4", "–", "20.5", "0.0123", "18.0", "0.5000"]
    assert b[5:12] == ["20.0", "20.4", "–", "–", "–", "–", "–"]
    assert c[5:12] == ["20.0", "20.4", "x × 0.5", "20.5", "0.0123", "18.0", "0.7000"]
    said = "; ship/ 20.5 %, 0.0123 CPU-s per second of audio (ESPnet's beam search: 18.0 %)"
    assert greedy_wer.said(shipped).endswith(said)


def test_the_language_model_is_that_of_the_results(tmp_path):
    """Shipped at the weight with which the recogniser was decoded; of what was not, none."""
    asr = SimpleNamespace(name="asr_a", directory=tmp_path / "asr_a")
    maker = RecogniserExport(tmp_path, True, lm=SimpleNamespace(name="lm_words"))
    assert maker.lm_weight(asr) == 0.0
    rows = [("a", None, None), ("b", "words", 0.7), ("a", "chars", 0.9), ("a", "words", 0.3)]
    rows = [{"system": s, "lm": n, "lm_weight": w, "set": "t", "decode": "d"} for s, n, w in rows]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    assert maker.lm_weight(asr) == 0.3
    assert RecogniserExport(tmp_path, True).lm_weight(asr) == 0.0


def test_what_was_decoded_is_what_is_compared(tmp_path):
    asr = SimpleNamespace(name="asr_a", directory=tmp_path / "asr_a")
    rows = [("a", None, "t"), ("a", "words", "t"), ("a", "words", "u"), ("b", None, "u")]
    rows = [
        {"system": s, "lm": n, "lm_weight": n and 0.3, "set": t, "decode": f"d_{n}"}
        for s, n, t in rows
    ]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    for decode in ("d_None/t", "d_words/t", "d_words/u"):
        (tmp_path / "asr_a" / decode).mkdir(parents=True)
        (tmp_path / "asr_a" / decode / "text").write_text("")

    def decoded(test, lm=None):
        named = lm and SimpleNamespace(name=lm)
        found = RecogniserExport(tmp_path, True, SimpleNamespace(name=test), lm=named).decoded(asr)
        return found and found.relative_to(tmp_path / "asr_a").parent.as_posix()

    assert decoded("t", "lm_words") == "d_words/t" and decoded("u", "lm_words") == "d_words/u"
    assert decoded("t") == decoded("t", "lm_other") == "d_None/t"  # not decoded with the other
    assert decoded("u") is None and decoded("v", "lm_words") is None
    (tmp_path / "asr_a/d_None/t/text").unlink()
    assert decoded("t") is None


def test_worse_by_eight_bits(tmp_path):
    found = check_results.int8_worse(REPORT, "asr_a")
    assert "encoder.int8.onnx has 20.4 % WER" in found.what and "avx2" in str(found)
    same = {**REPORT, "greedy_wer": {**FIGURES, ENCODER_INT8: 20.3}}
    assert check_results.int8_worse(same, "asr_a") is None
    assert check_results.int8_worse({"onnx": {}}, "asr_a") is None
    (tmp_path / "exp/asr_a/export").mkdir(parents=True)
    (tmp_path / "exp/asr_a/export/export.json").write_text(json.dumps(REPORT))
    (warning,) = checks.find(tmp_path / "exp")
    assert warning.where == "asr_a" and warning.do == "ship encoder.onnx"


def test_without_its_audio_what_is_shipped_is_not_measured(tmp_path, caplog):
    make_corpus(tmp_path / "data/s")
    make_features(tmp_path / "data/s", tmp_path / "dump/s", "fbank")
    test = feature_dir.load(tmp_path / "dump/s")
    found = export._spoken(test, tmp_path / "data", False)
    assert np.abs(found("u000")).max() > 0.01
    assert export._spoken(test, None, False) is None and "not measured" not in caplog.text
    shutil.rmtree(tmp_path / "data/s")
    assert export._spoken(test, tmp_path / "data", False) is None
    assert "ship/ is not measured: " in caplog.text and "data/s" in caplog.text
