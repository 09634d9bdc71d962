"""From a trained recogniser to one that plain ESPnet loads without this package.

The variance head has no part in the scores of beam search (decode_samples 0), so that what is left
is ESPnet's own Transformer: its config without the plug-in's keys, its parameters without the
head's. The parameters are matched key by key and shape by shape with the model that ESPnet builds
from the new config, because ESPnet itself loads with ``strict=False`` and would hide a difference.
"""

import contextlib
import io
import os
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

import yaml

from espnet_dice.export import shipped
from espnet_dice.hubert.models.schedule import UPDATES
from espnet_dice.io.errors import ConfigError
from espnet_dice.records.config_base import read_trained
from espnet_dice.records.configs import accepted_keys
from espnet_dice.records.frontend import Frontend

CONFIG, MODEL = "config.yaml", "model.pth"
# in a directory: espnet_model_zoo takes a name without one, from a hub, for a plain word
BPE, STATS, SYMBOLS = "data/bpe.model", "data/feats_stats.npz", "data/nlsyms.txt"
PLAIN = {"model": "espnet", "decoder": "transformer"}
TRAINING_ONLY = ("decoder.variance.", UPDATES)
# Where the training data was: of no use elsewhere.
DATA_KEYS = (
    "train_data_path_and_name_and_type",
    "valid_data_path_and_name_and_type",
    "train_shape_file",
    "valid_shape_file",
)


def carried(config: dict[str, Any]) -> dict[str, Path]:
    """The files that a config names, under their names in the export.

    Raises:
        ConfigError: one is not there; paths start from the directory of the recipe.
    """
    named = {
        BPE: config.get("bpemodel"),
        SYMBOLS: config.get("non_linguistic_symbols"),
        STATS: (config.get("normalize_conf") or {}).get("stats_file"),
    }
    found = {name: Path(path) for name, path in named.items() if path}
    for path in found.values():
        if not path.is_file():
            raise ConfigError(f"{path}: missing; export in the directory that the training ran in")
    return found


def plain_config(config: dict[str, Any], where: Path | None = None) -> dict[str, Any]:
    """The config without the plug-in: ESPnet's classes, their keys only, new paths.

    Args:
        config: ESPnet's ``config.yaml`` of the training.
        where: the directory of the export; None: paths start from there.
    """
    from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
    from espnet2.asr.espnet_model import ESPnetASRModel

    from espnet_dice.kd.decoder import UncertaintyTransformerDecoder
    from espnet_dice.kd.model import UncertaintyKDModel

    ours = {
        "model": ("uncertainty_kd", UncertaintyKDModel, ESPnetASRModel),
        "decoder": ("uncertainty_transformer", UncertaintyTransformerDecoder, TransformerDecoder),
    }
    plain = dict(config)
    for part, (name, mine, base) in ours.items():
        if plain.get(part) == name:
            plain[part] = PLAIN[part]
            extra = {*(accepted_keys(mine) or ())} - {*(accepted_keys(base) or ())}
            conf = plain.get(f"{part}_conf") or {}
            plain[f"{part}_conf"] = {k: v for k, v in conf.items() if k not in extra}
    placed = {name: str(where / name) if where else name for name in (BPE, SYMBOLS, STATS)}
    for key, name in (("bpemodel", BPE), ("non_linguistic_symbols", SYMBOLS)):
        if plain.get(key):
            plain[key] = placed[name]
    if (plain.get("normalize_conf") or {}).get("stats_file"):
        plain["normalize_conf"] = {**plain["normalize_conf"], "stats_file": placed[STATS]}
    plain.update({key: [] for key in DATA_KEYS if key in plain})
    plain.update(config=None, output_dir=None, allow_variable_data_keys=False, init_param=[])
    return plain


def plain_state(state: dict) -> dict:
    """The parameters without the variance head's and a schedule's counter."""
    return {k: v for k, v in state.items() if not k.startswith(TRAINING_ONLY)}


def check_state(state: dict, model) -> None:
    """Refuse parameters that are not exactly those of ``model``, key by key, shape by shape.

    Raises:
        ConfigError: naming the keys that are missing, left over, or of another shape.
    """
    wanted = model.state_dict()
    problems = [f"missing: {k}" for k in wanted if k not in state]
    problems += [f"left over: {k}" for k in state if k not in wanted]
    problems += [
        f"{k} is {tuple(v.shape)}, must be {tuple(wanted[k].shape)}"
        for k, v in state.items()
        if k in wanted and v.shape != wanted[k].shape
    ]
    if problems:
        shown = "; ".join(problems[:5]) + ("; …" if len(problems) > 5 else "")
        raise ConfigError(f"the exported parameters do not fit plain ESPnet's model: {shown}")


def check_outputs(theirs, ours, frames: int = 120, tolerance: float = 1e-5) -> float:
    """Compare the encoders and decoders of two models on noise.

    Returns:
        The largest absolute difference of encoder outputs and token log-probabilities.

    Raises:
        ConfigError: it is above ``tolerance``.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    if theirs.frontend is None and theirs.normalize is not None:
        speech = torch.randn(2, frames, theirs.normalize.mean.numel(), generator=generator)
        speech = speech * theirs.normalize.std.float() + theirs.normalize.mean.float()
    else:
        speech = torch.randn(2, 160 * frames, generator=generator)
    # of equal length where an SSL model hears them: torchaudio's would hear the padding, ours not
    half = speech.size(1) if theirs.normalize is None else speech.size(1) // 2
    lengths = torch.tensor([speech.size(1), half])
    tokens = torch.randint(3, len(theirs.token_list) - 1, (2, 7), generator=generator)
    tokens[:, 0] = theirs.sos
    outputs = []
    for model in (theirs.eval(), ours.eval()):
        with torch.no_grad():
            memory, memory_lens = model.encode(speech.clone(), lengths)  # GlobalMVN works in place
            logits, _ = model.decoder(memory, memory_lens, tokens, torch.tensor([7, 7]))
        outputs.append((memory, logits.log_softmax(-1)))
    worst = max(float((a - b).abs().max()) for a, b in zip(*outputs, strict=True))
    if not worst <= tolerance:
        raise ConfigError(f"the exported model computes something else: difference {worst:.3g}")
    return worst


def write_export(
    config_file: Path,
    model_file: Path,
    directory: Path,
    final: Path,
    onnx: bool = False,
    heard: Frontend | None = None,
) -> dict[str, Any]:
    """Write config.yaml, model.pth, data/, infer.py and a packed zip.

    Args:
        config_file, model_file: of the trained recogniser.
        directory: where to write; what is there already is packed too.
        final: where ``directory`` is going to be; ESPnet looks up the paths in a config from the
            working directory, so that ``config.yaml`` needs absolute ones.
        onnx: also the encoder, as :mod:`asr_encoder` does, if it is of a kind that has such a form.
        heard: its features, if they are known: ``infer.py`` makes them.

    Returns:
        How many ``parameters``, the ``largest_difference`` between the two models' outputs, why
        plain ESPnet cannot load it (``not_plain``; None: it can), why no ``infer.py`` takes it from
        sound to text (``no_infer``), why there is no ONNX (``no_onnx``), or none of the decoder
        (``no_decoder``), and what was measured of ``onnx``.

    Raises:
        ConfigError: a file that the config names is missing; or the result is not exactly plain
            ESPnet's model, or with an SSL encoder that plain ESPnet has not, not exactly the one
            that was trained.
    """
    import torch
    from espnet2.tasks.asr import ASRTask

    from espnet_dice.export import ssl_encoder

    config = read_trained(config_file)
    if config.get("decoder_conf", {}).get("decode_samples"):
        raise ConfigError(
            f"{config_file}: decode_samples > 0 needs the variance head, which plain ESPnet has not"
        )
    for name, path in carried(config).items():
        (directory / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, directory / name)
    state = plain_state(torch.load(model_file, map_location="cpu"))
    trained_encoder = config.get("encoder")
    config, not_plain = ssl_encoder.leave(config)

    built = plain_config(config, directory.resolve())
    plain = ASRTask.build_model(Namespace(**built))
    if config.get("encoder") != trained_encoder:
        state = ssl_encoder.rename(state, plain.state_dict())
    check_state(state, plain)
    plain.load_state_dict(state, strict=True)
    trained, _ = ASRTask.build_model_from_file(str(config_file), str(model_file), "cpu")
    worst = check_outputs(trained, plain)
    no_infer = not_plain or shipped.why_not(heard)
    if heard is not None:
        heard.save(directory)
        if no_infer is None:
            shipped.with_espnet(directory, heard)
    torch.save(state, directory / MODEL)
    write_config(directory, plain_config(config))
    pack(directory, f"{final.parent.name}.zip")
    write_config(directory, plain_config(config, final.resolve()))
    report: dict[str, Any] = {
        "parameters": sum(p.numel() for p in plain.parameters()),
        "largest_difference": worst,
        "not_plain": not_plain,
        "no_infer": no_infer,
    }
    if onnx:
        from espnet_dice.export.onnx import asr_encoder, search_step
        from espnet_dice.export.onnx.graphs import NoGraph

        # ESPnet's HuBERT is for padded batches, and has no form as a graph
        model = trained if trained_encoder == ssl_encoder.OURS else plain
        report["no_onnx"] = why = asr_encoder.why_not(model)
        report["onnx"] = {}
        if why is None:
            try:
                report["onnx"] = asr_encoder.write(model, directory, final.parent.name, heard)
            except NoGraph as err:  # the recogniser is exported all the same
                report["no_onnx"] = str(err)
        if report["onnx"]:
            report["no_decoder"] = search_step.why_no_decoder(plain)
            if report["no_decoder"] is None:
                try:
                    report["onnx"] |= search_step.write_decoder(plain, directory, final.parent.name)
                except NoGraph as err:  # CTC alone decodes
                    report["no_decoder"] = str(err)
    return report


def write_config(directory: Path, config: dict) -> None:
    """Write ``config.yaml``."""
    with open(directory / CONFIG, "w", encoding="utf-8") as f:
        yaml.safe_dump(config, f, sort_keys=False)


def pack(directory: Path, name: str) -> None:
    """Add ESPnet's portable form: a zip whose paths ``espnet2``'s unpack sets right.

    Args:
        directory: holds the parameters and a config with paths relative to ``directory``.
        name: of the zip.
    """
    from espnet2.main_funcs.pack_funcs import pack as espnet_pack

    others = [f.name for f in directory.iterdir() if f.name not in (CONFIG, MODEL)]
    here = os.getcwd()
    os.chdir(directory)  # ESPnet names the members by their path from here
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            espnet_pack({"asr_model_file": MODEL}, {"asr_train_config": CONFIG}, name, others)
    finally:
        os.chdir(here)
