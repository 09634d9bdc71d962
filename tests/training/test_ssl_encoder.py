"""Recognisers on an SSL model, through the stages: waves, teachers of another input, decoding."""

import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from espnet_dice.export import shipped
from espnet_dice.export.onnx import missing_for_onnx
from espnet_dice.hubert import frozen
from espnet_dice.hubert.formats import teacher_files
from espnet_dice.io import fingerprint
from espnet_dice.io.errors import ConfigError, DataError, StaleError
from espnet_dice.io.fingerprint import Fingerprint, key_of
from espnet_dice.kd.distillation_options import DistillationOptions
from espnet_dice.records import experiment, feature_dir
from espnet_dice.records.feature_shards import ALGORITHM
from espnet_dice.stages import decode, export, teacher_outputs
from espnet_dice.training import asr, ssl_encoder
from espnet_dice.training.jobs import Plan, run_jobs
from tests.hubert.tiny_models import BASE, save
from tests.stages import tiny

RAW, FBANK = Path("dump/raw"), tiny.DUMP
OUTPUTS = Path("exp/teacher_outputs")
SSL = {**BASE, "hidden_dropout": 0.0, "attention_dropout": 0.0, "layerdrop": 0.0}
PLAIN_ENCODER = {"source": "ssl", "layer": 1, "freeze": "none", "mask_prob": 0.1}
SLOW_ENCODER = {**PLAIN_ENCODER, "subsample": 2, "output_size": 16}


def write_waves(
    directory: Path, fbank: feature_dir.FeatureDir, seed: int, rate: int = 16000
) -> None:
    """The transcripts of a set of features; a tone of 60 ms for each character."""
    texts = dict(
        line.split(maxsplit=1) for line in fbank.text.read_text(encoding="utf-8").splitlines()
    )
    t = np.arange(960) / 16000
    waves, samples = directory / "wavs", {}
    waves.mkdir(parents=True)
    for utt, text in texts.items():
        tones = [0.3 * np.sin(2 * np.pi * (200 + 60 * (ord(c) - 31)) * t) for c in text]
        wave = np.concatenate([*tones, np.zeros(240)]).astype(np.float32)
        soundfile.write(waves / f"{utt}.wav", wave, 16000)
        samples[utt] = len(wave)
    tables = {
        "text": texts,
        "utt2spk": dict.fromkeys(texts, fbank.name),
        "wav.scp": {utt: waves / f"{utt}.wav" for utt in texts},
        "feats_shape": samples,
    }
    for name, table in tables.items():
        (directory / name).write_text("".join(f"{u} {v}\n" for u, v in table.items()))
    heard = {"feats_type": "raw", "rate": rate, "algorithm": ALGORITHM}
    Fingerprint("features", {"seed": seed, **heard}, {}).finish(directory)


def config(encoder_conf: dict, kind: str = "uncertainty_kd", **model_conf) -> dict:
    made = tiny.asr_config(kind, **model_conf)
    return {**made, "encoder": "dice_ssl", "encoder_conf": encoder_conf, "batch_bins": 200000}


def job(
    tag: str,
    made: dict,
    dump: Path = RAW,
    teaching: DistillationOptions | None = None,
    extra: str = "",
):
    path = tiny.write_config(f"conf/train_asr_{tag}.yaml", made)
    sets = [feature_dir.load(dump / name) for name in ("train", "dev")]
    key = key_of(tiny.TOKENS, "stage 3")
    return asr.make_job(tag, path, *sets, tiny.TOKENS, key, tiny.EXP, 0, extra, teaching)


def cache(name: str, exp: Path, dump: Path) -> None:
    sets = [feature_dir.load(dump / part) for part in ("train", "dev")]
    teacher_outputs.make_outputs({name: exp}, sets, tiny.TOKENS, OUTPUTS, 3, with_ctc=True, nj=1)


@pytest.fixture(scope="module")
def place(trained, tmp_path_factory):
    """Waves beside the tiny recipe's features, an SSL model, and three recognisers.

    ``plain`` has the bare model, ``slow`` an adapter with 25 frames a second; ``slow_kd`` is taught
    by a teacher on features, ``fbank_kd``, on features, by ``slow``.
    """
    root = tmp_path_factory.mktemp("ssl")
    with tiny.inside(root):
        Path("dump").mkdir()
        FBANK.symlink_to(trained.root / FBANK)
        Path("data").symlink_to(trained.root / "data")
        for seed, name in enumerate(tiny.SIZES):
            write_waves(RAW / name, feature_dir.load(FBANK / name), seed)
        save(Path("ssl"), SSL)
        tiny.write_config("conf/decode.yaml", tiny.DECODE)
        from_fbank = trained.root / tiny.EXP / "asr_teacher_t"
        cache("fbank", from_fbank, FBANK)
        taught = DistillationOptions.parse([f"fbank={from_fbank}"], "cached", OUTPUTS, FBANK)
        conf = {"kd_alpha": 0.5, "kd_beta": 0.5, "kd_ctc": 0.5}
        jobs = [
            job("plain", config(PLAIN_ENCODER, "espnet")),
            job("slow", config(SLOW_ENCODER)),
            job("slow_kd", config(SLOW_ENCODER, **conf), RAW, taught),
        ]
        assert run_jobs(jobs, nj=1) == 3
        cache("ssl", tiny.EXP / "asr_slow", RAW)
        taught = DistillationOptions.parse([f"ssl={tiny.EXP / 'asr_slow'}"], "cached", OUTPUTS, RAW)
        on_features = tiny.asr_config("uncertainty_kd", **conf)
        assert run_jobs([job("fbank_kd", on_features, FBANK, taught)]) == 1
    return root


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def test_the_ssl_model_is_where_training_begins(here):
    """With everything frozen but the head, the encoder stays what it was; tuned, it moves."""
    start = frozen.load("ssl").model.state_dict()
    made = torch.load(experiment.load("exp/asr_plain").model_file, weights_only=True)
    moved = {
        k: (made[f"encoder.model.{k}"] - start[k]).abs().max() for k in start if "layers.0" in k
    }
    assert all(0 < d < 0.2 for d in moved.values())
    stats = yaml.safe_load(Path("exp/asr_plain/config.yaml").read_text())
    assert stats["input_size"] == 1 and stats["normalize"] is None and stats["frontend"] is None


def test_size_counts_frozen_parameters(here, tmp_path):
    frozen = {**PLAIN_ENCODER, "freeze": "all"}
    before = experiment.load("exp/asr_plain").parameters
    from espnet_dice.training.trainer import count_parameters

    written = yaml.safe_load(Path("exp/asr_plain/config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**written, "encoder_conf": frozen}))
    assert count_parameters("asr", tmp_path) == before


def test_kd_between_features_and_waves_was_used(here):
    for name in ("slow_kd", "fbank_kd"):
        log = Path(f"exp/asr_{name}/train.log").read_text()
        for stat in ("loss_tok", "loss_unc", "loss_ctc_kd"):
            assert f"{stat}=" in log


def test_decoding_and_export_to_plain_espnet(here):
    systems = [Path("exp/asr_plain"), Path("exp/asr_slow")]
    plans = decode.plan(systems, [RAW / "test"], None, [False], Path("conf/decode.yaml"))
    assert decode.run(plans, nj=1) == 2
    plain = (plans[0].out / "text").read_text().splitlines()
    assert {line.split()[0] for line in plain} == set(plans[0].dump.lengths)

    how = {"test_set": RAW / "test", "data": Path("data")}
    assert export.export([systems[0]], tiny.TOKENS, **how) == 1
    out = systems[0] / "export"
    made = yaml.safe_load((out / "config.yaml").read_text())
    assert made["encoder"] == "torchaudiohubert" and "ssl" not in str(made["encoder_conf"])
    from espnet2.bin.asr_inference import Speech2Text

    heard = Speech2Text(out / "config.yaml", out / "model.pth", batch_size=1, **plans[0].conf)
    assert type(heard.asr_model.encoder).__module__.startswith("espnet2.")
    waves = feature_dir.Waves(plans[0].dump)
    said = [f"{utt} {heard(waves[utt])[0][0]}".rstrip() for utt in plans[0].dump.lengths]
    assert said == plain
    if missing_for_onnx():
        return
    figures = json.loads((out / "export.json").read_text())["greedy_wer"]
    assert figures["ship"] > 0 and figures["utterances"] == 6
    shipped_model = shipped.runtime(out).Model(out / "ship", int8=False)
    assert shipped_model.config["subsampling"] == 320
    for utt, wave in waves.items():
        with torch.no_grad():
            lengths = torch.tensor([len(wave)])
            memory, _ = heard.asr_model.encode(torch.from_numpy(wave)[None], lengths)
            ids = heard.asr_model.ctc.argmax(memory)[0].tolist()
        tokens = [heard.asr_model.token_list[i] for i, _ in groupby(ids) if i]
        text = " ".join("".join(tokens).replace("▁", " ").split())
        path = RAW / f"test/wavs/{utt}.wav"
        assert shipped_model.text(path, ctc=True) == text
        how = {"beam": plans[0].conf["beam_size"], "ctc_weight": plans[0].conf["ctc_weight"]}
        # ESPnet adds an end to what ends in the last frame, and leaves one in the text
        wanted = [line.removesuffix("<sos/eos>") for line in plain]
        assert f"{utt} {shipped_model.text(path, **how)}".rstrip() in wanted


def test_what_plain_espnet_has_not_is_said(here, caplog):
    """An adapter: the export keeps our encoder, and needs the SSL model's checkpoint no more."""
    from espnet2.tasks.asr import ASRTask

    system = Path("exp/asr_slow")
    assert export.export([system], tiny.TOKENS) == 1
    assert "subsample: 2 is ours alone: the export loads only where this package" in caplog.text
    made = yaml.safe_load((system / "export/config.yaml").read_text())
    assert made["encoder"] == "dice_ssl" and made["encoder_conf"]["source"] is None
    assert made["model"] == "espnet" and made["decoder"] == "transformer"
    wave = torch.from_numpy(next(iter(feature_dir.Waves(feature_dir.load(RAW / "test")).values())))[
        None
    ]
    found = []
    for where in (experiment.load(system), None):
        files = (
            (where.config, where.model_file)
            if where
            else (
                system / "export/config.yaml",
                system / "export/model.pth",
            )
        )
        model, _ = ASRTask.build_model_from_file(*files)
        with torch.no_grad():
            found.append(model.eval().encode(wave, torch.tensor([wave.size(1)]))[0])
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_the_ssl_model_is_an_input_of_the_training(here, tmp_path, monkeypatch):
    made = job("plain", config(PLAIN_ENCODER, "espnet"))
    assert made.inputs["encoder"] == teacher_files.key_of("ssl") and Plan(made).done
    save(tmp_path / "other", {**SSL, "num_hidden_layers": 2})
    other = config({**PLAIN_ENCODER, "source": str(tmp_path / "other")}, "espnet")
    assert job("other", other).inputs["encoder"] != made.inputs["encoder"]
    extra = f"--encoder_conf source={tmp_path / 'other'}"
    given = job("other2", config(PLAIN_ENCODER, "espnet"), extra=extra)
    assert given.inputs["encoder"] == teacher_files.key_of(tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "dump", "message"),
    [
        ({}, FBANK, "takes waveforms, and dump/fbank_pitch/train holds features"),
        ({"specaug": "specaug"}, RAW, "specaug masks features; encoder_conf: mask_prob"),
        ({"normalize": "utterance_mvn"}, RAW, "write 'normalize: null'"),
        (
            {"encoder_conf": {"source": "gone"}},
            RAW,
            "encoder_conf: source: gone: no such file",
        ),
    ],
)
def test_a_config_that_does_not_fit_is_named(here, change, dump, message):
    with pytest.raises(ConfigError, match=message) as said:
        job("bad", config(PLAIN_ENCODER) | change, dump)
    assert str(said.value).startswith("conf/train_asr_bad.yaml: ")


def test_unknown_keys_are_named_with_the_nearest_one(here):
    from espnet_dice.training.jobs import check_configs

    with pytest.raises(ConfigError, match="SSLEncoder has no key 'freese'; did you mean 'freeze'"):
        check_configs([Plan(job("bad", config({"source": "ssl", "freese": "all"})))])


def test_waves_of_another_rate_and_short_ones_are_refused(here, tmp_path):
    conf = tiny.write_config("conf/train_asr_bad.yaml", config(PLAIN_ENCODER))
    write_waves(tmp_path / "slow", feature_dir.load(FBANK / "dev"), 0, rate=8000)
    with pytest.raises(ConfigError, match="is at 8000 Hz, encoder dice_ssl works at 16000 Hz"):
        ssl_encoder.inputs(conf, "", [feature_dir.load(tmp_path / "slow")])
    write_waves(tmp_path / "dev", feature_dir.load(FBANK / "dev"), 0)
    shape = tmp_path / "dev/feats_shape"
    first, *rest = shape.read_text().splitlines()
    shape.write_text("\n".join([f"{first.split()[0]} 399", *rest]) + "\n")
    with pytest.raises(DataError, match="1 utterances have fewer than 400 samples.*dev000"):
        ssl_encoder.inputs(conf, "", [feature_dir.load(tmp_path / "dev")])


def test_teachers_of_other_speech_and_other_input_are_refused(here, tmp_path, trained):
    from_fbank = f"fbank={trained.root / tiny.EXP / 'asr_teacher_t'}"
    taught = config(SLOW_ENCODER, kd_alpha=0.5)
    with pytest.raises(ConfigError, match="reads 20-dimensional features, the student waveforms"):
        job("bad", taught, RAW, DistillationOptions.parse([from_fbank], "online", OUTPUTS))
    with pytest.raises(StaleError, match="made from other data"):
        job("bad", taught, RAW, DistillationOptions.parse([from_fbank], "cached", OUTPUTS))
    other = tmp_path / "fbank_pitch"
    for name in ("train", "dev"):
        write_waves(other / name, feature_dir.load(FBANK / name), 0)
        record = fingerprint.read(other / name)
        changed = Fingerprint("features", record["settings"], {"data": "other"})
        changed.finish(other / name)
    with pytest.raises(StaleError, match="were made from different speech or transcripts"):
        job("bad", taught, RAW, DistillationOptions.parse([from_fbank], "cached", OUTPUTS, other))


def test_ctc_frames_of_another_rate_are_refused(here, trained):
    """50 frames a second against the 25 of the teacher on features."""
    from espnet_dice.kd import teachers
    from espnet_dice.kd.teachers import Targets, Teacher

    lengths = torch.tensor([50, 40])
    theirs = Targets(torch.zeros(2, 1, 3), None, torch.zeros(2, 25, 3), torch.tensor([25, 20]))
    with pytest.raises(DataError, match="25 CTC frames where the student has 50"):
        teachers.ctc_pair(torch.zeros(2, 50, 3), lengths, theirs, Teacher("t", 1.0))
