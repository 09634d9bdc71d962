"""Models as ONNX: how the files are named, and what writing them takes."""

import importlib
import importlib.util
import logging

from espnet_dice.io.errors import ConfigError

ENCODER, ENCODER_INT8 = "encoder.onnx", "encoder.int8.onnx"
DECODER, DECODER_INT8 = "decoder.onnx", "decoder.int8.onnx"
LM, LM_INT8 = "lm.onnx", "lm.int8.onnx"
"""A recogniser's parts and its language model as ONNX; so are figures in ``export.json`` named."""
ONNX_NEEDS = ("onnx", "onnxruntime", "onnxscript")


def missing_for_onnx() -> list[str]:
    """Packages of the extra ``onnx`` that are not installed."""
    return [name for name in ONNX_NEEDS if importlib.util.find_spec(name) is None]


def warm_up_onnx() -> None:
    """Import before forking what an export to ONNX imports."""
    for name in ("onnxruntime.quantization", "onnxscript", "torch._dynamo", "torch.onnx"):
        importlib.import_module(name)


def wants_onnx(asked: bool | None) -> bool:
    """Whether to export to ONNX.

    Args:
        asked: None: if the packages that it takes are installed.

    Raises:
        ConfigError: it is asked for, and they are not.
    """
    missing = missing_for_onnx()
    if asked and missing:
        raise ConfigError(
            f"--onnx true needs {', '.join(missing)}: pip install 'espnet-dice[onnx]'"
        )
    if asked is None and missing:
        logging.info("no ONNX: %s not installed (pip install 'espnet-dice[onnx]')", missing[0])
    return not missing if asked is None else asked
