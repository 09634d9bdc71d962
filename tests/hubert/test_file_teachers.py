"""Teachers in one file: torchaudio's, fairseq's, s3prl's; files that are none, or would attack."""

import json
from argparse import Namespace

import pytest
import torch
import torchaudio
from torchaudio.models.wav2vec2.utils.import_fairseq import _convert_state_dict

from espnet_dice.hubert import frozen
from espnet_dice.hubert.formats import fairseq_models, torchaudio_models
from espnet_dice.hubert.formats.hf_models import build
from espnet_dice.io.errors import ConfigError
from tests.hubert import fairseq_checkpoints as fairseq
from tests.hubert.parity import torchaudio as torchaudio_case
from tests.hubert.tiny_models import noise

BUNDLES = {
    name: bundle
    for name in torchaudio.pipelines.__all__
    if isinstance(
        bundle := getattr(torchaudio.pipelines, name), torchaudio.pipelines.Wav2Vec2Bundle
    )
}


def bundle_state(bundle) -> dict:
    """The parameters of a public model, without their values."""
    factory = {"WavLM": "wavlm_model", "Wav2Vec2": "wav2vec2_model"}[bundle._model_type]
    with torch.device("meta"):
        return getattr(torchaudio.models, factory)(**bundle._params).state_dict()


@pytest.mark.parametrize(
    "name", ["HUBERT_BASE", "HUBERT_XLARGE", "WAV2VEC2_XLSR_2B", "WAVLM_LARGE"]
)
def test_a_public_model_of_torchaudio_has_a_place_for_every_parameter(name, tmp_path):
    state = bundle_state(BUNDLES[name])
    made = torchaudio_models.arguments(state, {}, tmp_path)
    with torch.device("meta"):
        kind = "wavlm" if name.startswith("WAVLM") else "hubert"
        model = build(kind, torchaudio_models.config(made), name)
    shapes = {k: v.shape for k, v in torchaudio_models.named(state).items()}
    wanted = {k: v.shape for k, v in model.state_dict().items() if k != "masked_spec_embed"}
    assert shapes == wanted


@pytest.mark.parametrize("name", BUNDLES)
def test_what_a_state_dict_does_not_tell_is_as_in_torchaudios_bundles(name, tmp_path):
    bundle = BUNDLES[name]
    state = {k: v for k, v in bundle_state(bundle).items() if not k.startswith("aux.")}
    made = torchaudio_models.arguments(state, {}, tmp_path)
    same = {k: bundle._params[k] for k in made}
    assert same == made
    assert bundle._normalize_waveform == (made["extractor_mode"] == "layer_norm")


def saved(state, tmp_path, **given):
    path = tmp_path / "m.pth"
    torch.save(state, path)
    if given:
        (tmp_path / "m.pth.json").write_text(json.dumps(given))
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    source = torchaudio_case("wav2vec2_model", False, tmp_path_factory.mktemp("plain")).source
    return torch.load(source)


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        ({}, {}, r"attention heads of a model of width 48; write them into .*m\.pth\.json"),
        ({}, {"heads": 4}, r"m\.pth\.json: heads: the arguments there are encoder_num_heads"),
        (
            {},
            {"encoder_num_heads": "4"},
            r"m\.pth\.json: encoder_num_heads: the arguments .*\(int\)",
        ),
        ({}, {"normalize_waveform": "false"}, r"m\.pth\.json: normalize_waveform: .*\(bool\)"),
        ({}, {"encoder_num_heads": 5}, "m.pth: .*divisible by num_heads"),
        ({"extra.weight": torch.zeros(1)}, {"encoder_num_heads": 4}, "left over: extra.weight"),
        (
            {"feature_extractor.conv_layers.6.conv.weight": torch.zeros(32, 32, 3)},
            {"encoder_num_heads": 4},
            r"kernels \(10, 3, 3, 3, 3, 2, 3\), labels need",
        ),
        (
            {"feature_extractor.conv_layers.3.conv.weight": None},
            {"encoder_num_heads": 4},
            r"kernels \(10, 3, 3\), labels need",
        ),
        (
            {"encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original1": noise(4)},
            {"encoder_num_heads": 4},
            "has another shape than torchaudio's",
        ),
        (
            {"encoder.feature_projection.projection.weight": None},
            {"encoder_num_heads": 4},
            "missing: encoder.feature_projection.projection.weight",
        ),
        (
            {"encoder.transformer.layers.1.layer_norm.bias": None},
            {"encoder_num_heads": 4},
            "missing: encoder.layers.1.layer_norm.bias",
        ),
    ],
)
def test_state_dicts_that_are_no_teacher(plain, tmp_path, change, given, message):
    state = {k: v for k, v in (plain | change).items() if v is not None}
    with pytest.raises(ConfigError, match=message):
        frozen.load(saved(state, tmp_path, **given))


def test_what_is_said_beside_a_file_is_part_of_its_key(plain, tmp_path):
    path = saved(plain, tmp_path, encoder_num_heads=4)
    four = frozen.load(path)
    saved(plain, tmp_path, encoder_num_heads=2, normalize_waveform=True)
    two = frozen.load(path)
    assert two.normalize and not four.normalize and four.key != two.key
    (tmp_path / "m.pth.json").write_text("[")
    with pytest.raises(ConfigError, match=r"m\.pth\.json: cannot be read"):
        frozen.load(path)


@pytest.mark.parametrize("name", ["hubert_base", "hubert_large", "wav2vec2_base"])
def test_torchaudios_importer_and_ours_agree_about_fairseqs_names(name):
    state = fairseq.parameters(name)
    theirs = torchaudio_models.named(_convert_state_dict(state))
    theirs.pop("label_embs_concat", None)
    ours = fairseq_models.named(state)
    del ours["masked_spec_embed"]
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[k], ours[k]) for k in ours)


def changed(name="hubert_base", task=None, drop=(), **model):
    made = fairseq.s3prl(name)
    made["model_cfg"] |= model
    made["task_cfg"] |= task or {}
    for key in drop:
        del made["model_weight"][key]
    return made


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"task": {"sample_rate": 8000}}, "takes 8000 Hz; labels are made at 16000 Hz"),
        ({"task": {"normalize": "${task.x}"}}, "normalize: .* is not of type bool"),
        ({"layer_type": "conformer"}, "layer_type: conformer; a teacher has transformer"),
        ({"activation_fn": "relu"}, "activation_fn: relu; a teacher has gelu"),
        ({"extractor_mode": "odd"}, "extractor_mode: odd; a teacher has default or layer_norm"),
        ({"encoder_layers": 4}, "missing: encoder.layers.3"),
        ({"encoder_embed_dim": 24}, "is .12.*, must be .24"),
        ({"encoder_attention_heads": "3"}, "encoder_attention_heads: '3' is not of type int"),
        ({"encoder_attention_heads": 5}, "model.pt: .*divisible by num_heads"),
        ({"drop": ["encoder.layers.1.fc1.bias"]}, "missing: encoder.layers.1.feed_forward.interm"),
        ({"conv_feature_layers": "[(8,10,5)] + [(8,3,2)] * 4 + [(10,2,2)]"}, "stride of 160"),
        ({"conv_feature_layers": "__import__('os').getpid()"}, "conv_feature_layers: .*no list"),
        ({"conv_feature_layers": "[(1,1,1)] * 10 ** 9"}, "conv_feature_layers: .*no list"),
        ({"conv_feature_layers": "[(1,1,1)] * 1000000000"}, "conv_feature_layers: .*no list"),
        ({"conv_feature_layers": "[(1,1)]"}, "conv_feature_layers: .*no list"),
        ({"relative_position_embedding": True}, "relative_position_embedding: True; .* has False"),
    ],
)
def test_settings_of_fairseq_that_no_teacher_has(tmp_path, kwargs, message):
    torch.save(changed(**kwargs), tmp_path / "model.pt")
    with pytest.raises(ConfigError, match=message):
        frozen.load(tmp_path / "model.pt")


def test_settings_that_are_not_there_are_fairseqs_defaults():
    made = fairseq_models.config({}, "hubert", "m.pt")
    public = torchaudio_models.config(BUNDLES["HUBERT_BASE"]._params)
    assert made == public
    wavlm = fairseq_models.config({}, "wavlm", "m.pt")
    assert (wavlm["num_buckets"], wavlm["max_bucket_distance"]) == (320, 1280)  # WavLMConfig's


def test_quiet_waveforms_are_normalised_as_fairseq_does(tmp_path):
    torch.save(fairseq.s3prl("hubert_large"), tmp_path / "m.pt")
    mine = frozen.load(tmp_path / "m.pt")
    quiet = 0.002 * fairseq.waves()[0]
    wanted = mine.model(torch.nn.functional.layer_norm(quiet, quiet.shape)[None])
    torch.testing.assert_close(mine.hidden([quiet])[0][-1], wanted[-1][0], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"cfg": None, "args": None, "model": {}}, "no settings of a HuBERT"),
        ({"args": Namespace(arch="transformer"), "model": {}}, "no settings of a HuBERT"),
        (
            {"model_weight": [], "model_cfg": {"encoder_layers": 1}},
            "holds no parameters of fairseq's models.*it holds model_weight: list",
        ),
        ({"a": torch.zeros(1)}, "no checkpoint of torchaudio, fairseq or s3prl"),
        ([1], "no checkpoint of torchaudio"),
    ],
)
def test_files_of_torch_that_are_no_teacher(tmp_path, found, message):
    torch.save(found, tmp_path / "m.pt")
    with pytest.raises(ConfigError, match=rf"m\.pt: .*{message}"):
        frozen.load(tmp_path / "m.pt")


@pytest.mark.parametrize("legacy", [False, True])
def test_files_that_are_cut_short(tmp_path, legacy):
    path = tmp_path / "m.pt"
    made = fairseq.hydra("hubert_base")
    fairseq.save(made, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    frozen.load(path)
    for size in (0, 10, 500, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:size])
        with pytest.raises(ConfigError, match=r"m\.pt: (cut short|damaged)"):
            frozen.load(path)
    path.write_text("<html>404</html>")
    with pytest.raises(ConfigError, match="no file that torch.save wrote"):
        frozen.load(path)


class Leaves:
    """Unpickling it leaves a trace."""

    def __init__(self, call, *args):
        self.how = call, args

    def __reduce__(self):
        return self.how


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_in_a_checkpoint_is_run(tmp_path, legacy):
    trace, path = tmp_path / "trace", tmp_path / "m.pt"
    made = fairseq.hydra("hubert_base")
    made["extra_state"] = [
        Leaves(open, str(trace), "w"),
        Leaves(exec, f"open({str(trace)!r}, 'w')"),
        Leaves(getattr, Leaves(__import__, "os"), "getpid"),
    ]
    fairseq.save(made, path, _use_new_zipfile_serialization=not legacy)
    before = set(torch.serialization.get_safe_globals())
    assert frozen.load(path).layers == 3
    assert not trace.exists()
    assert set(torch.serialization.get_safe_globals()) == before
    del made["task_state"]  # fairseq's class is not here
    torch.save(made, path)
    torch.load(path, weights_only=False)
    assert trace.exists()  # an attack indeed


def test_a_file_that_would_have_to_run_is_refused(tmp_path):
    import os

    path = tmp_path / "m.pt"
    made = fairseq.s3prl("hubert_base")
    made["extra"] = Leaves(os.mkdir, str(tmp_path / "trace"))
    torch.save(made, path)
    with pytest.raises(ConfigError, match=r"m\.pt: a pickle .* --trust_pickle true"):
        frozen.load(path)
    assert not (tmp_path / "trace").exists()
    assert frozen.load(path, trust_pickle=True).layers == 3
    assert (tmp_path / "trace").exists()
