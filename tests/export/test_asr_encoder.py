"""Encoders of recognisers in onnxruntime, beside ESPnet's own."""

import numpy as np
import pytest
import torch
import yaml

from espnet_dice.export.onnx import missing_for_onnx
from espnet_dice.io.errors import ConfigError
from espnet_dice.records.frontend import Frontend
from tests.hubert import tiny as tiny_hubert
from tests.hubert.tiny_models import MEL
from tests.stages import tiny

pytestmark = pytest.mark.skipif(bool(missing_for_onnx()), reason="the extra onnx is not installed")
DIM = 20
LISTED = ("<blank>", "<unk>", "A", "B", "<sos/eos>")
CONFORMER = {
    "output_size": 16,
    "attention_heads": 2,
    "linear_units": 32,
    "num_blocks": 1,
    "cnn_module_kernel": 7,
}


def build(directory, dim=DIM, listed=LISTED, **conf):
    """ESPnet's recogniser of features of any dimension, with fresh parameters."""
    from espnet2.tasks.asr import ASRTask

    rng = np.random.default_rng(0)
    mean, count = rng.normal(size=dim), 100
    square = count * (mean**2 + rng.uniform(1, 9, dim))
    np.savez(directory / "stats.npz", count=count, sum=count * mean, sum_square=square)
    (directory / "c.yaml").write_text(yaml.safe_dump({**tiny.asr_config(), **conf}))
    options = ["--config", directory / "c.yaml", "--output_dir", directory, "--token_list", "x"]
    options += ["--input_size", dim, "--normalize", "global_mvn"]
    options += ["--normalize_conf", f"stats_file={directory / 'stats.npz'}"]
    args = ASRTask.get_parser().parse_args([*map(str, options)])
    args.token_list = [*listed]
    torch.manual_seed(0)
    return ASRTask.build_model(args).eval()


def metadata(path):
    """What onnxruntime shows."""
    import onnxruntime

    return onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map


def test_a_conformer(tmp_path):
    from espnet_dice.export.onnx import asr_encoder, graphs

    model = build(tmp_path, encoder="conformer", encoder_conf=CONFORMER)
    assert asr_encoder.why_not(model) is None
    figures = asr_encoder.write(model, tmp_path, "asr_c", Frontend("fbank", 8000))
    assert figures["encoder.onnx"]["relative_error"] < 1e-5
    assert figures["encoder.int8.onnx"]["relative_error"] < 0.03
    for name in figures:
        assert metadata(tmp_path / name) == {
            "normalize": "mean and variance of the training set, in the graph",
            "feats_type": "fbank",
            "sampling_rate": "8000",
        }
    run = graphs.session(tmp_path / "encoder.onnx")
    for frames in (8, 59, 1200):
        speech = torch.randn(3, frames, DIM, generator=torch.Generator().manual_seed(frames))
        with torch.no_grad():
            wanted, lengths = model.encode(speech.clone(), torch.tensor([frames] * 3))
            ctc = model.ctc.log_softmax(wanted)
        found, found_ctc = run(speech.numpy())
        assert found.shape[1] == int(lengths[0])
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found_ctc, ctc, rtol=0, atol=1e-5)
    with torch.no_grad():
        model.encoder.after_norm.bias += 0.01  # no longer what was written
        error, _ = asr_encoder.compare(model, run, asr_encoder.Encoder(model))
    assert error > graphs.TOLERANCE


def test_an_encoder_of_waveforms(tmp_path):
    """Beside :class:`SSLEncoder` in ESPnet's ``encode``."""
    from espnet2.asr.ctc import CTC

    from espnet_dice.export.onnx import asr_encoder, graphs
    from espnet_dice.hubert.ssl import SSLEncoder

    class Recogniser(torch.nn.Module):
        """What ESPnet's model is, without frontend and normalisation."""

        def encode(self, speech, lengths):
            return self.encoder(speech, lengths)[:2]

    torch.manual_seed(0)
    student = {**tiny_hubert.STUDENT, **MEL}
    said = {"student": "hubert", "student_conf": student, "normalize": True}
    model = Recogniser()
    model.encoder = SSLEncoder(architecture=said, weighted_sum=True, subsample=2, output_size=16)
    model.ctc = CTC(5, 16)
    model.eval()
    assert asr_encoder.why_not(model) is None
    figures = asr_encoder.write(model, tmp_path, "asr_w")
    assert figures["encoder.onnx"]["relative_error"] < 1e-5
    said = metadata(tmp_path / "encoder.onnx")
    assert said == {"normalize": "mean 0, variance 1 of each utterance, in the graph"}
    run = graphs.session(tmp_path / "encoder.onnx")
    for samples in (1040, 7777, 16000, 16320):
        speech = 0.1 * torch.randn(3, samples)
        with torch.no_grad():
            wanted, _ = model.encode(speech, torch.tensor([samples] * 3))
            ctc = model.ctc.log_softmax(wanted)
        found, found_ctc = run(speech.numpy())
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found_ctc, ctc, rtol=0, atol=1e-4)


def test_what_computes_something_else_is_refused(tmp_path, monkeypatch):
    from espnet_dice.export.onnx import asr_encoder, graphs

    model = build(tmp_path)
    monkeypatch.setattr(graphs, "trace", lambda *a: None)
    monkeypatch.setattr(graphs, "quantise", lambda *a: None)
    monkeypatch.setattr(graphs, "describe", lambda *a: None)
    monkeypatch.setattr(graphs, "session", lambda path: lambda x: [np.zeros((2, 1, 16))] * 2)
    with pytest.raises(ConfigError, match=r"asr_x: encoder\.onnx computes something else"):
        asr_encoder.write(model, tmp_path, "asr_x")


def test_encoders_without_such_a_form(tmp_path):
    from espnet_dice.export.onnx import asr_encoder

    model = build(tmp_path)
    assert asr_encoder.why_not(model) is None
    model.normalize = None
    assert asr_encoder.why_not(model) == "its normalisation is not global_mvn"
    model.frontend = torch.nn.Identity()
    assert asr_encoder.why_not(model) == "it takes waveforms through a frontend of ESPnet's"
    model = build(tmp_path, encoder="rnn", encoder_conf={"num_layers": 1, "hidden_size": 8})
    assert asr_encoder.why_not(model) == "RNNEncoder is not built of embed, encoders, after_norm"
