"""The exported graph run by onnxruntime, beside the model itself."""

import numpy as np
import pytest
import torch

from espnet_dice.export.onnx import missing_for_onnx
from espnet_dice.hubert import frozen
from espnet_dice.hubert.models import students
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.io.errors import ConfigError
from tests.hubert.tiny_models import BASE, MEL, noise

if missing_for_onnx():
    pytest.skip("the extra onnx is not installed", allow_module_level=True)

from espnet_dice.export import shipped
from espnet_dice.export.onnx import graphs, student

CONF = {**BASE, "num_hidden_layers": 1}


def made(conf, tmp_path_factory):
    """A student that wants normalised waveforms, its graphs, and what was measured."""
    torch.manual_seed(1)
    model = frozen.FrozenSSLModel(
        students.build("hubert", conf), "key", "exp/dice_a", normalize=True
    )
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn_like(p)
    directory = tmp_path_factory.mktemp("onnx")
    return model, directory, student.write(model, directory)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return made(CONF, tmp_path_factory)


@pytest.fixture(scope="module")
def mel(tmp_path_factory):
    return made({**CONF, **MEL}, tmp_path_factory)


@pytest.mark.parametrize("samples", [400, 719, 720, 7777])
@pytest.mark.parametrize("stem", ["exported", "mel"])
def test_any_length_and_batch_from_the_raw_waveform(stem, request, samples):
    model, directory, _ = request.getfixturevalue(stem)
    speech = 0.2 * noise(3, samples).numpy() + 0.05
    last, hidden = graphs.session(directory / student.FLOAT)(speech)
    assert hidden.shape == (2, 3, n_frames(samples), 48)
    wanted = model(torch.from_numpy(speech))
    for a, b in zip(hidden, wanted, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=1e-4)
    np.testing.assert_allclose(last, wanted[-1].numpy(), rtol=0, atol=1e-4)


def test_int8_is_the_same_model_but_for_rounding(exported):
    model, directory, _ = exported
    speech = 0.2 * noise(1, 7777).numpy()
    last, _ = graphs.session(directory / student.INT8)(speech)
    wanted = model(torch.from_numpy(speech))[-1].numpy()
    error = np.sqrt(((last - wanted) ** 2).mean() / (wanted**2).mean())
    assert 1e-4 < error < 0.05


def test_matrix_products_are_quantised_and_convolutions_are_not(exported):
    import onnx as reader

    kinds = [n.op_type for n in reader.load(exported[1] / student.INT8).graph.node]
    # query, key, value, output and two layers of the feed-forward, and the stem's projection
    assert kinds.count("MatMulInteger") == 7
    assert kinds.count("Conv") == 8 and "ConvInteger" not in kinds


def test_the_spectrum_of_a_mel_stem_is_not_quantised(mel):
    import onnx as reader

    _, directory, figures = mel
    nodes = reader.load(directory / student.INT8).graph.node
    kinds = [n.op_type for n in nodes]
    # beside the seven: scores and values of attention, the transform and the filters
    assert kinds.count("MatMulInteger") == 7 and kinds.count("MatMul") == 4
    assert kinds.count("Conv") == 3 and "If" not in kinds and "Loop" not in kinds
    assert figures[student.FLOAT]["relative_error"] < 1e-5 < figures[student.INT8]["relative_error"]


def test_nothing_of_this_machine_is_in_the_files(exported):
    """torch notes with every operation which line of which file of this machine it is from."""
    _, directory, _ = exported
    for name in (student.FLOAT, student.INT8):
        assert b".py" not in (directory / name).read_bytes()


def test_the_files_say_what_they_hear(exported):
    import onnxruntime

    model, directory, _ = exported
    said = "mean 0, variance 1 of each utterance, in the graph" if model.normalize else "none"
    for name in (student.FLOAT, student.INT8):
        found = onnxruntime.InferenceSession(directory / name).get_modelmeta().custom_metadata_map
        assert found == {"sampling_rate": "16000", "normalize": said}


def test_what_was_measured_is_there(exported):
    figures = exported[2]
    assert set(figures) == {"torch", student.FLOAT, student.INT8}
    assert all(0 < f["seconds_per_audio_second"] < 10 for f in figures.values())
    assert figures[student.FLOAT]["relative_error"] < 1e-5 < figures[student.INT8]["relative_error"]
    assert figures[student.INT8]["bytes"] < figures[student.FLOAT]["bytes"]


def test_a_difference_is_found(exported):
    run = graphs.session(exported[1] / student.FLOAT)
    error, largest = student.compare(run, lambda x: [y + 0.01 * y.std() for y in run(x)])
    assert 0.005 < error < 0.02 and largest > 0.005
    assert student.compare(run, lambda x: [np.full_like(y, np.nan) for y in run(x)])[0] == np.inf
    assert student.compare(run, lambda x: [y[..., 1:] for y in run(x)])[0] == np.inf


def test_an_export_that_computes_something_else_is_refused(exported, tmp_path, monkeypatch):
    directory = exported[1]

    def copied(_, path, __):
        path.write_bytes((directory / student.FLOAT).read_bytes())

    monkeypatch.setattr(student, "to_onnx", copied)
    monkeypatch.setattr(graphs, "quantise", lambda path, out: copied(None, out, None))
    torch.manual_seed(2)
    other = frozen.FrozenSSLModel(
        students.build("hubert", CONF), "key", "exp/dice_b", normalize=True
    )
    with pytest.raises(ConfigError, match=r"exp/dice_b: model\.onnx computes something else"):
        student.write(other, tmp_path)


def test_a_model_without_an_onnx_form_is_named(tmp_path):
    class Strange(torch.nn.Module):
        dims = (1,)

        def forward(self, speech, *_):
            return [speech.unsqueeze(-1) if speech.sum() > 0 else -speech.unsqueeze(-1)]

    strange = Strange()
    strange.weight = torch.nn.Parameter(torch.zeros(1))
    module = student.Exported(frozen.FrozenSSLModel(strange, "key", "exp/dice_s"))
    with pytest.raises(ConfigError, match="exp/dice_s: has no ONNX form"):
        student.to_onnx(module, tmp_path / "m.onnx", "exp/dice_s")


def test_a_student_is_shipped(exported):
    model, directory, _ = exported
    shipped.student(directory)
    made = shipped.runtime(directory).Model(directory / "ship", int8=False)
    speech = 0.2 * noise(1, 7777).numpy()
    wanted = model(torch.from_numpy(speech))[-1][0].numpy()
    np.testing.assert_allclose(made.hidden(speech[0]), wanted, rtol=0, atol=1e-4)
    chunks = (speech[0, n : n + 1000] for n in range(0, 7777, 1000))
    np.testing.assert_allclose(made.hidden(chunks), wanted, rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="use hidden"):
        made.text(speech[0])
    with pytest.raises(ValueError, match="399 samples are too few"):
        made.hidden(speech[0, :399])
