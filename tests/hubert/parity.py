"""Teachers in every format beside the library that defines it; writes the table of the docs.

python -m tests.hubert.parity
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from espnet_dice.hubert import frozen
from espnet_dice.io.atomic import write_text
from tests.hubert import espnet_checkpoints, fairseq_checkpoints
from tests.hubert.tiny_models import BASE, LARGE, WAVLM, noise, perturbed

DOCS = Path(__file__).parents[2] / "egs2" / "TEMPLATE" / "dice1" / "TEACHERS.md"
BOUND = 1e-4
HEAD = ("| checkpoint | reference | largest error | `--teacher` |", "|---|---|--:|---|")
WAVES = [0.1 * noise(6000) + 0.02, 3 * noise(400, seed=1), 0.01 * noise(3210, seed=2)]
Layers = list[torch.Tensor]


@dataclass(frozen=True)
class Case:
    """A checkpoint, and what its library makes of some waveforms.

    Attributes:
        source: to load.
        waves: (samples,) each.
        wanted: for each waveform the output of each block, (frames, width).
    """

    source: Path
    waves: list[torch.Tensor]
    wanted: list[Layers]

    def error(self) -> float:
        """The largest deviation of any layer, of waveforms alone and in one batch.

        Raises:
            ValueError: layers or frames are missing.
        """
        mine = frozen.load(self.source)
        alone = [mine.hidden([wave])[0] for wave in self.waves]
        worst = 0.0
        for found in (alone, mine.hidden(self.waves)):
            for layers, wanted in zip(found, self.wanted, strict=True):
                for a, b in zip(layers[1:], wanted, strict=True):
                    if a.shape != b.shape:
                        raise ValueError(f"{tuple(a.shape)} instead of {tuple(b.shape)}")
                    worst = max(worst, (a - b).abs().max().item())
        return worst


@dataclass(frozen=True)
class Format:
    """A row of the table.

    Attributes:
        name: of the checkpoint.
        library: that it is compared with.
        given: an argument of ``--teacher``.
        make: writes one into a directory.
    """

    name: str
    library: str
    given: str
    make: Callable[[Path], Case]


def hugging_face(name: str, conf: dict, directory: Path) -> Case:
    import transformers

    normalize = "do_stable_layer_norm" in conf
    config = getattr(transformers, f"{name}Config")(**conf)
    model = perturbed(getattr(transformers, f"{name}Model"), config)
    model.save_pretrained(directory)
    prepare = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalize)
    prepare.save_pretrained(directory)
    wanted = []
    for wave in WAVES:
        ready = prepare(wave.numpy(), sampling_rate=16000, return_tensors="pt").input_values
        with torch.no_grad():
            states = model(ready, output_hidden_states=True).hidden_states
        wanted.append([x[0] for x in states[1:]])
    return Case(directory, WAVES, wanted)


def torchaudio(factory: str, large: bool, directory: Path) -> Case:
    """As ``torch.save(bundle.get_model().state_dict(), …)`` leaves it."""
    from torchaudio import models
    from torchaudio.pipelines._wav2vec2.utils import _extend_model

    conf = {
        "extractor_mode": "layer_norm" if large else "group_norm",
        "extractor_conv_layer_config": espnet_checkpoints.CNN,
        "extractor_conv_bias": large,
        "encoder_embed_dim": 48,
        "encoder_projection_dropout": 0.1,
        "encoder_pos_conv_kernel": 16,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": 3,
        "encoder_num_heads": 4,
        "encoder_attention_dropout": 0.1,
        "encoder_ff_interm_features": 64,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.1,
        "encoder_layer_norm_first": large,
        "encoder_layer_drop": 0.05,
        "aux_num_out": 5,
    }
    path = directory / "model.pth"
    if factory == "wavlm_model":
        conf |= {"encoder_num_buckets": 16, "encoder_max_distance": 14}
        path.with_name("model.pth.json").write_text('{"encoder_max_distance": 14}')
    else:
        path.with_name("model.pth.json").write_text('{"encoder_num_heads": 4}')
    model = perturbed(getattr(models, factory), **conf)
    if large:
        model = _extend_model(model, normalize_waveform=True).eval()
    torch.save(model.state_dict(), path)
    with torch.no_grad():
        wanted = [[x[0] for x in model.extract_features(w[None])[0]] for w in WAVES]
    return Case(path, WAVES, wanted)


def hubert1(directory: Path) -> Case:
    model = espnet_checkpoints.hubert1(directory).encoder.hubert_pretrain_model.wav2vec2
    with torch.no_grad():
        wanted = [[x[0] for x in model.extract_features(w[None])[0]] for w in WAVES]
    return Case(directory, WAVES, wanted)


def ssl1(directory: Path) -> Case:
    model = espnet_checkpoints.ssl1(directory)
    wanted = []
    for wave in WAVES:
        with torch.no_grad():
            _, layers, _ = model.inference_encode(wave[None], torch.tensor([len(wave)]))
        wanted.append([x[0] for x in layers])
    return Case(directory, WAVES, wanted)


def golden(layout: Callable, name: str, directory: Path, **kwargs) -> Case:
    path = fairseq_checkpoints.save(layout(name), directory / "model.pt", **kwargs)
    return Case(path, fairseq_checkpoints.waves(), fairseq_checkpoints.layers(name))


def omegaconf(name: str) -> dict:
    from omegaconf import OmegaConf

    return fairseq_checkpoints.hydra(name, OmegaConf.create)


FORMATS = [
    *(
        Format(
            f"Hugging Face {name}, {size}",
            f"transformers `{kind}Model`",
            f"{public}/",
            partial(hugging_face, kind, (BASE if size == "base" else LARGE) | extra),
        )
        for name, kind, extra, size, public in (
            ("HuBERT", "Hubert", {}, "base", "hubert-base-ls960"),
            ("HuBERT", "Hubert", {}, "large", "hubert-large-ll60k"),
            ("wav2vec 2.0", "Wav2Vec2", {}, "base", "wav2vec2-base"),
            ("wav2vec 2.0", "Wav2Vec2", {}, "large", "wav2vec2-large-lv60"),
            ("WavLM", "WavLM", WAVLM, "base", "wavlm-base-plus"),
            ("WavLM", "WavLM", WAVLM, "large", "wavlm-large"),
        )
    ),
    *(
        Format(
            f"torchaudio {name}, {size}",
            f"torchaudio `{factory}`",
            f"{name.lower()}_{size}.pth",
            partial(torchaudio, factory, size == "large"),
        )
        for name, factory in (("HuBERT", "wav2vec2_model"), ("WavLM", "wavlm_model"))
        for size in ("base", "large")
    ),
    Format(
        "fairseq HuBERT, base, `cfg` of omegaconf",
        "fairseq",
        "hubert_base_ls960.pt",
        partial(golden, omegaconf, "hubert_base"),
    ),
    Format(
        "fairseq HuBERT, large, plain `cfg`",
        "fairseq",
        "hubert_large_ll60k.pt",
        partial(golden, fairseq_checkpoints.hydra, "hubert_large"),
    ),
    Format(
        "fairseq HuBERT, fine-tuned",
        "fairseq",
        "hubert_large_ll60k_finetune_ls960.pt",
        partial(golden, fairseq_checkpoints.fine_tuned, "hubert_large"),
    ),
    Format(
        "fairseq wav2vec 2.0, base, `args`, old file",
        "fairseq",
        "wav2vec_small.pt",
        partial(
            golden,
            fairseq_checkpoints.old,
            "wav2vec2_base",
            _use_new_zipfile_serialization=False,
        ),
    ),
    *(
        Format(
            f"s3prl HuBERT, {size}",
            "fairseq, in s3prl",
            f"converted_ckpts/hubert_{public}.pt",
            partial(golden, fairseq_checkpoints.s3prl, f"hubert_{size}"),
        )
        for size, public in (("base", "base_ls960"), ("large", "large_ll60k"))
    ),
    *(
        Format(
            f"WavLM of its authors, {size}",
            "its authors' code",
            f"WavLM-{size.capitalize()}.pt",
            partial(golden, fairseq_checkpoints.authors_wavlm, f"wavlm_{size}"),
        )
        for size in ("base", "large")
    ),
    Format("ESPnet `hubert1`", "ESPnet, torchaudio", "exp/hubert_…/", hubert1),
    Format("ESPnet `ssl1`", "ESPnet", "exp/ssl_…/", ssl1),
]


def row(which: Format, error: float) -> str:
    """A line of the table."""
    return f"| {which.name} | {which.library} | {error:.0e} | `{which.given}` |"


def main() -> None:
    """Put the table into the docs, in the place of the one that is there."""
    rows = []
    for which in FORMATS:
        with tempfile.TemporaryDirectory() as directory:
            rows.append(row(which, which.make(Path(directory)).error()))
            print(rows[-1])
    before, rest = DOCS.read_text(encoding="utf-8").split(HEAD[0] + "\n", 1)
    after = rest[rest.index("\n\n") :]
    write_text(DOCS, before + "\n".join([*HEAD, *rows]) + after)


if __name__ == "__main__":
    main()
