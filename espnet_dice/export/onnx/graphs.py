"""A module as an ONNX graph, in int8 too, and how far it is from the module.

Only matrix products are quantised: int8 convolutions of onnxruntime are many times slower than
float ones. Needs the extra ``onnx`` (onnx, onnxruntime, onnxscript).
"""

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_dice.hubert.models.mel import FFT, WINDOW, MelStem, window
from espnet_dice.io.errors import ConfigError

INPUT = "speech"
SPECTRUM = tuple(f"feature_extractor.{name}" for name in ("power.transform", "filters"))
"""Ends of the names of a mel stem's fixed matrices in a graph, see :func:`prepare`."""
TOLERANCE, INT8_TOLERANCE = 1e-4, 0.03
"""Root-mean-square error over root-mean-square, of float32 and of int8."""
NORMALIZE = {True: "mean 0, variance 1 of each utterance, in the graph", False: "none"}
"""What the metadata of a graph of waveforms says."""


class NoGraph(ConfigError):
    """A model has an operation without an ONNX form."""


def prepare(module: torch.nn.Module) -> None:
    """Put in the place of some modules what computes the same in a graph, and faster."""
    without_weight_norm(module)
    for child in module.modules():
        if isinstance(child, MelStem):
            child.power = PowerByProduct()


class PowerByProduct(torch.nn.Module):
    """:class:`mel.Power` as a product with 256 cosines and 256 sines, (400, 512).

    onnxruntime's DFT takes twice as long as the product.
    """

    def __init__(self):
        super().__init__()
        angles = torch.arange(WINDOW, dtype=torch.float64).unsqueeze(1) * torch.arange(FFT // 2)
        angles = angles * (2 * math.pi / FFT)
        waves = torch.cat([torch.cos(angles), torch.sin(angles)], 1)
        self.register_buffer("transform", (window().double().unsqueeze(1) * waves).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, 400) → (…, 256)."""
        real, imaginary = (x @ self.transform).square().chunk(2, -1)
        return real + imaginary


def without_weight_norm(module: torch.nn.Module) -> None:
    """Put plain convolutions in the place of those whose weight is computed in every pass.

    ``remove_parametrizations`` would break the module that this one is a copy of: both share the
    class that it changes.
    """
    for name, child in module.named_children():
        if not torch.nn.utils.parametrize.is_parametrized(child, "weight"):
            without_weight_norm(child)
            continue
        plain = torch.nn.Conv1d(
            child.in_channels,
            child.out_channels,
            child.kernel_size,
            child.stride,
            child.padding,
            child.dilation,
            child.groups,
        )
        plain.load_state_dict({"weight": child.weight, "bias": child.bias})
        setattr(module, name, plain)


class Positions(torch.nn.Module):
    """ESPnet's ``PositionalEncoding``, computed: its 5000 positions are most of a small model.

    Args:
        table: the module of ESPnet's.
    """

    def __init__(self, table: torch.nn.Module):
        super().__init__()
        self.scale, width = table.xscale, table.d_model
        each = torch.arange(0, width, 2, dtype=torch.float32)
        self.register_buffer("rates", torch.exp(each * -(math.log(10000.0) / width)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, D) → (B, T, D)."""
        angles = torch.arange(x.size(1), dtype=torch.float32)[:, None] * self.rates
        return x * self.scale + torch.stack((angles.sin(), angles.cos()), -1).flatten(1)


def compute_positions(module: torch.nn.Module) -> None:
    """Put :class:`Positions` in the place of ESPnet's tables."""
    for name, child in module.named_children():
        if type(child).__name__ == "PositionalEncoding" and not child.reverse:
            setattr(module, name, Positions(child))
        else:
            compute_positions(child)


def trace(
    module: torch.nn.Module,
    example: Mapping[str, torch.Tensor],
    dims: Sequence[dict[int, Any]],
    outputs: Sequence[str],
    path: Path,
    source: str,
) -> None:
    """Write the graph that a module computes.

    Args:
        module: of tensors.
        example: one of each argument, by the name that it is to have, in order.
        dims: the dynamic dimensions of each.
        outputs: names of what it returns.
        path: where to write.
        source: what is exported, for messages.

    Raises:
        NoGraph: an operation has no ONNX form.
    """
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                tuple(example.values()),
                input_names=list(example),
                output_names=list(outputs),
                dynamic_shapes=tuple(dims),
                dynamo=True,
                optimize=True,
            )
        model = program.model_proto
        forget_sources(model.graph)
        path.write_bytes(model.SerializeToString())
    except OSError:
        raise
    except Exception as err:  # the exporter has many classes of errors
        said = " ".join(str(err).split())[:300]
        raise NoGraph(f"{source}: has no ONNX form ({type(err).__name__}: {said})") from err


def forget_sources(graph: Any) -> None:
    """Take out of an ONNX graph where in the sources each operation was written.

    torch notes files of this machine with every node: nobody's business, and two checkouts of the
    same code would export different files.
    """
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + [*attribute.graphs]:
                forget_sources(inner)


def describe(path: Path, said: Mapping[str, Any]) -> None:
    """Write into a graph's metadata what its input is, which onnxruntime shows: key → value."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {key: str(value) for key, value in said.items()})
    path.write_bytes(model.SerializeToString())


def quantise(path: Path, out: Path) -> None:
    """Quantise the weights of matrix products to eight bits, per channel; activations as they come.

    The weights are unsigned: onnxruntime multiplies signed ones by unsigned activations in 16-bit
    sums on processors without VNNI, which saturate. The spectrum of ``stem: mel`` stays float32:
    its energies lie a million times apart.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    nodes = onnx.load(path, load_external_data=False).graph.node
    with _quiet():
        quantize_dynamic(
            path,
            out,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QUInt8,
            nodes_to_exclude=[n.name for n in nodes if any(i.endswith(SPECTRUM) for i in n.input)],
        )


def session(path: Path, threads: int = 1) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A function from (B, S) float32 to the outputs, on the CPU."""
    graph = running(path, threads)
    return lambda speech: graph.run(None, {INPUT: speech})


def running(path: Path, threads: int = 1) -> Any:
    """onnxruntime's session, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def difference(
    pairs: Iterable[tuple[Sequence[np.ndarray], Sequence[np.ndarray]]],
) -> tuple[float, float]:
    """The largest relative (root-mean-square) error of any output, and the largest difference.

    Args:
        pairs: wanted and found outputs of each input; infinite where a shape differs or a value is
            not finite.
    """
    error = largest = 0.0
    for wanted, found in pairs:
        for a, b in zip(wanted, found, strict=True):
            if a.shape != b.shape or not np.isfinite(b).all():
                return float("inf"), float("inf")
            apart = np.abs(a - b)
            largest = max(largest, float(apart.max()))
            error = max(error, float(np.sqrt((apart**2).mean() / (a**2).mean())))
    return error, largest


def figures_of(
    path: Path, compared: tuple[float, float], tolerance: float, source: str
) -> dict[str, Any]:
    """What is reported of a file: error, largest difference, and size.

    Raises:
        ConfigError: the error is above the tolerance.
    """
    error, largest = compared
    if not error <= tolerance:
        raise ConfigError(
            f"{source}: {path.name} computes something else: relative error {error:.3g}, at most "
            f"{tolerance:g} is allowed"
        )
    size = path.stat().st_size
    return {"relative_error": error, "largest_difference": largest, "bytes": size}


@contextlib.contextmanager
def _quiet():
    """The exporter prints its progress and warns of what is on purpose."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
