"""The attention decoder as ONNX, beside ESPnet's."""

import numpy as np
import pytest
import torch

from espnet_dice.export import decoder_onnx, missing_for_onnx
from tests.export.test_asr_onnx import build

pytestmark = pytest.mark.skipif(bool(missing_for_onnx()), reason="the extra onnx is not installed")


@pytest.mark.parametrize("normalize_before", [True, False])
def test_one_step_is_that_of_espnet(tmp_path, normalize_before):
    from espnet_dice.export import onnx

    conf = {"attention_heads": 2, "linear_units": 16, "num_blocks": 2}
    conf["normalize_before"] = normalize_before
    model = build(tmp_path, decoder="transformer", decoder_conf=conf)
    assert decoder_onnx.why_not(model) is None
    figures = decoder_onnx.write(model, tmp_path, "asr_x")
    assert set(figures) == {"decoder.onnx", "decoder.int8.onnx"}
    parameters = 4 * sum(p.numel() for p in model.decoder.parameters())
    assert figures["decoder.onnx"]["bytes"] < parameters + 40_000  # without a table of positions
    graph = onnx.running(tmp_path / "decoder.onnx")
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


def test_another_decoder_has_no_such_form(tmp_path):
    model = build(tmp_path, decoder="rnn", decoder_conf={})
    assert "its decoder is RNNDecoder, not TransformerDecoder" in decoder_onnx.why_not(model)
