"""Our SSL encoder as ESPnet's torchaudio HuBERT: the same frames, or why there is no such thing."""

import pytest
import torch

from espnet_dice.export import ssl_encoder
from espnet_dice.hubert import architecture
from espnet_dice.hubert.ssl import SSLEncoder
from tests.hubert import tiny
from tests.hubert.tiny_models import BASE, LARGE, MEL, noise, save


@pytest.mark.parametrize("layer", [None, 2])
@pytest.mark.parametrize(("conf", "normalize"), [(BASE, False), (LARGE, True), (LARGE, False)])
@torch.no_grad()
def test_espnets_encoder_computes_the_same(tmp_path, conf, normalize, layer):
    from espnet2.asr.encoder.hubert_encoder import TorchAudioHuBERTPretrainEncoder
    from espnet2.layers.utterance_mvn import UtteranceMVN

    save(tmp_path, conf, do_normalize=normalize)
    trained = {"source": str(tmp_path), "layer": layer, "freeze_steps": 3}
    ours = SSLEncoder(**trained).eval()
    made, why = ssl_encoder.leave({"encoder": "dice_ssl", "encoder_conf": trained})
    assert why is None and made["encoder"] == "torchaudiohubert"
    theirs = torch.nn.Module()
    theirs.encoder = TorchAudioHuBERTPretrainEncoder(input_size=1, **made["encoder_conf"])
    state = {f"encoder.{k}": v for k, v in ours.state_dict().items()}
    theirs.load_state_dict(ssl_encoder.rename(state, theirs.state_dict()), strict=True)
    theirs.eval()
    speech, lengths = 0.3 * noise(2, 6000) + 0.05, torch.tensor([6000, 6000])
    want, want_lengths, _ = ours(speech, lengths)
    heard = speech.clone()
    if normalize:
        assert made["normalize"] == "utterance_mvn"
        heard, _ = UtteranceMVN(**made["normalize_conf"])(heard, lengths)
    found, found_lengths, _ = theirs.encoder(heard, lengths)
    torch.testing.assert_close(found, want, rtol=0, atol=2e-5)
    assert found_lengths.tolist() == want_lengths.tolist()


@pytest.mark.parametrize(
    ("conf", "student", "why"),
    [
        ({"weighted_sum": True}, tiny.STUDENT, "weighted_sum: True is ours alone"),
        ({"output_size": 8}, tiny.STUDENT, "output_size: 8 is ours alone"),
        ({}, {**tiny.STUDENT, "hidden_act": "relu"}, "its SSL model has hidden_act relu"),
        ({}, {**tiny.STUDENT, "feat_proj_layer_norm": False}, "has feat_proj_layer_norm False"),
        ({}, {**tiny.STUDENT, **MEL}, "its SSL model has the stem mel"),
    ],
)
def test_what_it_cannot_compute_stays_ours(conf, student, why):
    said = {"student": "hubert", "student_conf": student, "normalize": False}
    config = {"encoder": "dice_ssl", "encoder_conf": {"architecture": said, **conf}}
    made, reason = ssl_encoder.leave(config)
    assert why in reason and made["encoder"] == "dice_ssl"
    again = SSLEncoder(**made["encoder_conf"])
    assert set(again.state_dict()) == set(SSLEncoder(**config["encoder_conf"]).state_dict())


def test_what_a_config_need_not_say():
    said = {"student": "hubert", "student_conf": tiny.STUDENT}
    short, whole = (
        ssl_encoder.leave({"encoder": "dice_ssl", "encoder_conf": {"architecture": a}})
        for a in (said, {**said, "normalize": False, "eps": 1e-7})
    )
    assert short == whole and short[0]["encoder"] == "torchaudiohubert"
    made, why = ssl_encoder.leave(
        {"encoder": "dice_ssl", "encoder_conf": {"architecture": {"student": "hubert"}}}
    )
    assert why is None and made["encoder_conf"]["encoder_num_layers"] == 12


def test_other_encoders_are_left_alone():
    config = {"encoder": "transformer", "encoder_conf": {"num_blocks": 2}}
    assert ssl_encoder.leave(config) == (config, None)


def test_an_architecture_that_is_not_known_keeps_its_source(tmp_path, monkeypatch):
    monkeypatch.setattr(architecture, "of", lambda source: None)
    config = {"encoder": "dice_ssl", "encoder_conf": {"source": str(tmp_path)}}
    made, reason = ssl_encoder.leave(config)
    assert made == config and f"{tmp_path}, which must stay" in reason
