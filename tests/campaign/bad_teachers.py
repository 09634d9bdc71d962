"""Checkpoints of teachers that are wrong."""

import json
from pathlib import Path

from espnet_dice.stages import kmeans
from tests.campaign.bad_quantizers import speech
from tests.campaign.catalogue import Command, case
from tests.hubert import tiny_models

AREA = "Checkpoints of teachers"
HERE = Path("hubert")
CONFIG = {"model_type": "hubert", "hidden_size": 48, "num_hidden_layers": 2}


def cluster(source: str = "hubert") -> Command:
    """k-means on it."""
    speech()
    argv = ["--source", source, "--layer", "1", "--clusters", "4", "--dump", "dump/raw"]
    return kmeans.main, [*argv, "--sets", "d", "--out", "quantizer", "--nj", "1"]


def saved(weights: bytes = b"", name: str = "model.safetensors", **more) -> Command:
    """A directory in Hugging Face's format."""
    HERE.mkdir()
    (HERE / "config.json").write_text(json.dumps({**CONFIG, **more}))
    if name:
        (HERE / name).write_bytes(weights)
    return cluster()


@case(AREA, "no such file", "no such file or directory", "owner/name")
def missing() -> Command:
    return cluster("no/such/teacher")


@case(
    AREA,
    "an experiment that is not there: nothing is asked of the hub",
    "exp/dice_x",
    "there is an exp",
)
def missing_experiment() -> Command:
    Path("exp").mkdir()
    return cluster("exp/dice_x")


@case(AREA, "a directory without a model", "hubert: neither config.json", "given as a file")
def no_model() -> Command:
    HERE.mkdir()
    return cluster()


@case(AREA, "no parameters", "hubert: no parameters there", "looked for model.safetensors")
def no_parameters() -> Command:
    return saved(name="")


@case(
    AREA,
    "`config.json` cut short",
    "hubert/config.json: cannot be read",
    "copy",
    theirs=r"(?<=read \().*?(?=\))",
)
def cut_config() -> Command:
    said = saved()
    (HERE / "config.json").write_text('{"model_type": "hub')
    return said


@case(AREA, "another kind of model", "hubert/config.json: model_type 'bert'", "a teacher is hubert")
def other_kind() -> Command:
    return saved(model_type="bert")


@case(AREA, "a model for another sampling rate", "takes 8000 Hz", "labels are made at 16000 Hz")
def other_rate() -> Command:
    said = saved()
    (HERE / "preprocessor_config.json").write_text('{"sampling_rate": 8000}')
    return said


@case(
    AREA,
    "a processor for another sampling rate",
    "hubert/processor_config.json: the model takes 8000 Hz",
    "labels are made at 16000 Hz",
)
def other_rate_of_processor() -> Command:
    said = saved()
    settings = {"feature_extractor": {"sampling_rate": 8000}}
    (HERE / "processor_config.json").write_text(json.dumps(settings))
    return said


@case(
    AREA,
    "a checkpoint of another model",
    "m.pt: no checkpoint of torchaudio, fairseq or s3prl",
    "it holds 1 tensor in state_dict (net.weight …), epoch: int",
)
def other_checkpoint() -> Command:
    import torch

    torch.save({"state_dict": {"net.weight": torch.zeros(2)}, "epoch": 1}, "m.pt")
    return cluster("m.pt")


@case(AREA, "a pointer of Git LFS", "model.safetensors: damaged", "git lfs pull")
def pointer() -> Command:
    return saved(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


@case(AREA, "a quantised model", "model.safetensors: ", "quantised (take the model that it was")
def quantised() -> Command:
    import torch
    from safetensors.torch import load_file, save_file

    tiny_models.save(HERE)
    held = load_file(HERE / "model.safetensors")
    name = "feature_projection.projection.weight"
    save_file({**held, name: held[name].to(torch.int8)}, HERE / "model.safetensors")
    return cluster()


@case(
    AREA, "a sampling rate in quotes", "sampling_rate: '16000' is no number", "preprocessor_config"
)
def rate_in_quotes() -> Command:
    said = saved()
    (HERE / "preprocessor_config.json").write_text('{"sampling_rate": "16000"}')
    return said


@case(AREA, "a shard of parameters that is missing", "hubert/b.safetensors: missing", "names it")
def no_shard() -> Command:
    index = json.dumps({"weight_map": {"x": "b.safetensors"}}).encode()
    return saved(index, "model.safetensors.index.json")


@case(
    AREA, "an index that leads out of the directory", "index.json", "'../b.safetensors'", "own dir"
)
def out_of_directory() -> Command:
    Path("b.safetensors").write_bytes(b"")
    index = json.dumps({"weight_map": {"x": "../b.safetensors"}}).encode()
    return saved(index, "model.safetensors.index.json")


@case(
    AREA, "a file that is no checkpoint", "m.pt: cut short, or no file that torch.save", "copy it"
)
def no_checkpoint() -> Command:
    Path("m.pt").write_bytes(b"<html>404</html>")
    return cluster("m.pt")


@case(
    AREA, "a checkpoint cut short", "m.pt: cut short, or no file that torch.save", "copy it again"
)
def cut_checkpoint() -> Command:
    import torch

    torch.save({"x": torch.zeros(100)}, "m.pt")
    path = Path("m.pt")
    path.write_bytes(path.read_bytes()[:-50])
    return cluster("m.pt")


@case(
    AREA,
    "a preprocessor's settings that are a link to nothing",
    "hubert/preprocessor_config.json: a link to nothing",
    "cp -L",
)
def dangling() -> Command:
    said = saved()
    (HERE / "preprocessor_config.json").symlink_to("../blobs/0")
    return said


@case(AREA, "a directory in the place of parameters", "model.safetensors: a directory", "give a f")
def directory_of_parameters() -> Command:
    said = saved(name="")
    (HERE / "model.safetensors").mkdir()
    return said


@case(AREA, "an index that names no file", "index.json: no index of parameters", "copy it again")
def empty_index() -> Command:
    return saved(b'{"weight_map": {}}', "model.safetensors.index.json")


@case(AREA, "a program of TorchScript", "m.pt: a program of TorchScript", "save its parameters")
def program() -> Command:
    import torch

    torch.jit.script(torch.nn.Linear(2, 2)).save("m.pt")
    return cluster("m.pt")


@case(AREA, "a sparse parameter", "projection.weight has no values, or is sparse", "to_dense()")
def sparse() -> Command:
    import torch
    from safetensors.torch import load_file

    tiny_models.save(HERE)
    held = load_file(HERE / "model.safetensors")
    (HERE / "model.safetensors").unlink()
    name = "feature_projection.projection.weight"
    torch.save({**held, name: held[name].to_sparse()}, HERE / "pytorch_model.bin")
    return cluster()


@case(AREA, "several models of an experiment", "give the .pth file itself", "a.ave.pth, b.ave.pth")
def several() -> Command:
    HERE.mkdir()
    (HERE / "config.yaml").write_text("encoder: hubert\n")
    for name in ("a.ave.pth", "b.ave.pth"):
        (HERE / name).write_bytes(name.encode())
    return cluster()
