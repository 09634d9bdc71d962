"""The attention decoder and the language model as ONNX, beside ESPnet's."""

import numpy as np
import pytest
import torch

from espnet_dice.export.onnx import missing_for_onnx, search_step
from tests.export.test_asr_encoder import build

pytestmark = pytest.mark.skipif(bool(missing_for_onnx()), reason="the extra onnx is not installed")


@pytest.mark.parametrize("normalize_before", [True, False])
def test_one_step_is_that_of_espnet(tmp_path, normalize_before):
    from espnet_dice.export.onnx import graphs

    conf = {"attention_heads": 2, "linear_units": 16, "num_blocks": 2}
    conf["normalize_before"] = normalize_before
    model = build(tmp_path, decoder="transformer", decoder_conf=conf)
    assert search_step.why_no_decoder(model) is None
    figures = search_step.write_decoder(model, tmp_path, "asr_x")
    assert set(figures) == {"decoder.onnx", "decoder.int8.onnx"}
    parameters = 4 * sum(p.numel() for p in model.decoder.parameters())
    assert figures["decoder.onnx"]["bytes"] < parameters + 40_000  # without a table of positions
    graph = graphs.running(tmp_path / "decoder.onnx")
    generator = torch.Generator().manual_seed(1)
    memory = torch.randn(1, 23, model.encoder.output_size(), generator=generator)
    for prefixes, length in ((1, 1), (1, 9), (5, 1), (6, 60)):
        said = torch.randint(1, model.eos, (prefixes, length), generator=generator)
        heard = memory.expand(prefixes, -1, -1)
        mask = torch.ones(length, length, dtype=torch.bool).tril()[None]
        with torch.no_grad():
            wanted, _ = model.decoder.forward_one_step(said, mask, heard)
        (found,) = graph.run(None, {"tokens": said.numpy(), "memory": memory.numpy()})
        np.testing.assert_allclose(found, wanted.numpy(), atol=2e-5)


@pytest.mark.parametrize("pos_enc", ["sinusoidal", None])
def test_a_language_model(tmp_path, pos_enc):
    from espnet2.lm.transformer_lm import TransformerLM

    from espnet_dice.export.onnx import graphs

    torch.manual_seed(0)
    sizes = {"embed_unit": 16, "att_unit": 16, "head": 2, "unit": 16, "layer": 2}
    lm = TransformerLM(12, pos_enc=pos_enc, **sizes).eval()
    assert search_step.why_no_lm(lm) is None
    search_step.write_lm(lm, 11, tmp_path, "lm_x")
    graph = graphs.running(tmp_path / "lm.onnx")
    for prefixes, length in ((1, 1), (3, 1), (2, 17)):
        said = torch.randint(1, 12, (prefixes, length), generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            wanted, _ = lm.batch_score(said, [None] * prefixes, None)
        (found,) = graph.run(None, {"tokens": said.numpy()})
        np.testing.assert_allclose(found, wanted.numpy(), atol=2e-5)
    other = torch.nn.LSTM(2, 2)
    assert search_step.why_no_lm(other) == "the language model is LSTM, not TransformerLM"


def test_another_decoder_has_no_such_form(tmp_path):
    model = build(tmp_path, decoder="rnn", decoder_conf={})
    assert "its decoder is RNNDecoder, not TransformerDecoder" in search_step.why_no_decoder(model)
