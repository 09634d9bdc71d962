import json
import math
import shutil
import tracemalloc

import numpy as np
import pytest
import torch

from espnet_dice.export import language_model
from espnet_dice.export.onnx import missing_for_onnx
from espnet_dice.io.errors import DataError, StaleError
from espnet_dice.records import experiment, tokens, transcripts
from espnet_dice.stages.tokens import make_tokens
from espnet_dice.training import lm
from espnet_dice.training.jobs import run_jobs
from tests.stages import tiny


def test_perplexity_against_a_plain_sum(recipe):
    from espnet2.tasks.lm import LMTask

    e = experiment.load(recipe.lm)
    model, _ = LMTask.build_model_from_file(str(e.config), str(e.model_file))
    model.eval().double()
    ids = {token: i for i, token in enumerate(tokens.TOKENS)}
    eos = ids["<sos/eos>"]
    nll, count = 0.0, 0
    spoken = transcripts.check_text(tiny.DUMP / "dev" / "text", tokens.fixed())
    for text in spoken.values():
        y = [ids[c] for c in "▁" + text.replace(" ", "▁")]
        with torch.no_grad():
            logits, _ = model.lm(torch.tensor([[eos, *y]]), None)
        log_probs = logits[0].log_softmax(-1)
        nll -= sum(float(log_probs[i, token]) for i, token in enumerate([*y, eos]))
        count += len(y) + 1
    found = json.loads((recipe.lm / lm.PERPLEXITY).read_text())
    assert found["tokens"] == count
    assert found["per_token"] == pytest.approx(math.exp(nll / count), rel=1e-4)
    words = sum(len(t.split()) + 1 for t in spoken.values())
    assert found["per_word"] == pytest.approx(math.exp(nll / words), rel=1e-3)


@pytest.mark.skipif(bool(missing_for_onnx()), reason="the extra onnx is not installed")
def test_its_graph_is_written_once_and_linked(recipe, tmp_path):
    from espnet_dice.export.onnx import graphs

    e = experiment.load(recipe.lm)
    assert not language_model.is_done(e)
    language_model.write(e)
    assert language_model.is_done(e)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        report = language_model.take(e, tmp_path / name)
        assert set(report["onnx"]) == {"lm.onnx", "lm.int8.onnx"}
        for graph in report["onnx"]:
            assert (tmp_path / name / graph).samefile(recipe.lm / "export" / graph)
    graph = graphs.running(tmp_path / "a/lm.onnx")
    perplexity = json.loads((recipe.lm / lm.PERPLEXITY).read_text())
    ids = {token: i for i, token in enumerate(tokens.TOKENS)}
    nll = 0.0
    for text in transcripts.check_text(tiny.DUMP / "dev" / "text", tokens.fixed()).values():
        said = [ids["<sos/eos>"], *(ids[c] for c in "▁" + text.replace(" ", "▁"))]
        for n in range(1, len(said) + 1):
            (found,) = graph.run(None, {"tokens": np.array([said[:n]])})
            nll -= found[0, said[n] if n < len(said) else said[0]]
    assert math.exp(nll / perplexity["tokens"]) == pytest.approx(perplexity["per_token"], rel=1e-4)
    (recipe.lm / "export/lm.onnx").unlink()
    assert not language_model.is_done(e)


def test_it_is_skipped_and_said(recipe, capsys):
    assert run_jobs([tiny.lm_job()]) == 0
    assert "perplexity" in lm.summary(recipe.lm) and "M parameters" in lm.summary(recipe.lm)


def test_a_perplexity_that_is_not_there_or_damaged_is_named(recipe, tmp_path):
    out = tmp_path / recipe.lm.name
    shutil.copytree(recipe.lm, out)
    (out / lm.PERPLEXITY).write_text('{"per_token": ')
    with pytest.raises(DataError, match=rf"{lm.PERPLEXITY}: not JSON .* run its stage again"):
        lm.summary(out)
    (out / lm.PERPLEXITY).unlink()
    with pytest.raises(StaleError, match=rf"{lm.PERPLEXITY} is missing: .* run stage 4 again"):
        lm.summary(out)


def test_texts_are_gathered_under_ids_of_their_own(tmp_path):
    (tmp_path / "text").write_text("u1 ONE TWO\n")
    (tmp_path / "more.txt").write_text("SIX\nTEN CAT\n")
    make_tokens(tmp_path / "tok")
    paths = [tmp_path / "text", tmp_path / "text", tmp_path / "more.txt"]
    lm.gather(paths, tmp_path / "out", tmp_path / "tok")
    lines = (tmp_path / "out/text").read_text().splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines] == ["ONE TWO", "ONE TWO", "SIX", "TEN CAT"]
    assert len({line.split()[0] for line in lines}) == 4
    shapes = (tmp_path / "out/text_shape").read_text().splitlines()
    assert [s.split()[1] for s in shapes] == ["8,31", "8,31", "4,31", "8,31"]


def test_memory_does_not_grow_with_the_texts(tmp_path):
    (tmp_path / "lm.txt").write_text("ONE TWO THREE FOUR FIVE SIX SEVEN\n" * 50_000)
    make_tokens(tmp_path / "tok")
    tracemalloc.start()
    lm.gather([tmp_path / "lm.txt"], tmp_path / "out", tmp_path / "tok")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = (tmp_path / "out/text").stat().st_size
    assert size > 2_000_000 and peak < size / 10


def test_a_missing_text_is_named(recipe):
    sets = [tiny.DUMP / "nowhere/text"], [tiny.DUMP / "dev/text"]
    config = tiny.write_config("conf/train_lm_x.yaml", tiny.LM_CONFIG)
    with pytest.raises(DataError, match=r"nowhere/text is missing"):
        lm.make_job("x", config, *sets, tiny.TOKENS, tiny.EXP, 0)
