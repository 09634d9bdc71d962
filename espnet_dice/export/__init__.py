"""What leaves the house: models in the formats of other tools."""

import importlib.util

ONNX_NEEDS = ("onnx", "onnxruntime", "onnxscript")


def missing_for_onnx() -> list[str]:
    """Packages of the extra ``onnx`` that are not installed."""
    return [name for name in ONNX_NEEDS if importlib.util.find_spec(name) is None]
