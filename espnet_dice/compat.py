"""The one place that knows ESPnet's versions: 202511 (Python 3.11) and 202611 (Python 3.12 on).

``espnet.nets`` and ``espnet.utils`` of 202511 live under ``espnet2.legacy`` in 202611. What the
plug-in needs from there is fetched by name, on first use::

    from espnet_dice.compat import make_pad_mask, th_accuracy

Importing this module imports neither ESPnet nor torch.
"""

import importlib
import importlib.util
import re
from collections.abc import Sequence
from types import ModuleType

from espnet_dice.io.errors import ConfigError

OLDEST = 202511
WAY_OUT = "install ESPnet 202511 (Python 3.11) or 202611 (Python 3.12 or 3.13)"

# name -> module below ``espnet`` (202511) or ``espnet2.legacy`` (202611)
MOVED = {
    "ErrorCalculator": "nets.e2e_asr_common",
    "LabelSmoothingLoss": "nets.pytorch_backend.transformer.label_smoothing_loss",
    "add_sos_eos": "nets.pytorch_backend.transformer.add_sos_eos",
    "make_pad_mask": "nets.pytorch_backend.nets_utils",
    "subsequent_mask": "nets.pytorch_backend.transformer.mask",
    "th_accuracy": "nets.pytorch_backend.nets_utils",
}


def espnet_version() -> int:
    """The year and month of the ESPnet that is installed, such as ``202511``.

    Raises:
        ConfigError: there is no ESPnet, it is older than 202511, or its version cannot be read.
    """
    try:
        espnet2 = importlib.import_module("espnet2")
    except ModuleNotFoundError as err:
        if err.name not in ("espnet", "espnet2"):
            raise
        raise ConfigError(f"ESPnet is not installed: {WAY_OUT}") from err
    text = str(espnet2.__version__)
    match = re.match(r"(\d{6})(?!\d)", text)
    if match is None:
        raise ConfigError(f"ESPnet's version {text!r} cannot be read: {WAY_OUT}")
    version = int(match.group(1))
    if version < OLDEST:
        raise ConfigError(f"ESPnet {text} is too old: {WAY_OUT}")
    return version


def need_espnet3() -> None:
    """Refuse an ESPnet without ``espnet3``, which 202611 brought.

    Raises:
        ConfigError: naming what to do.
    """
    version = espnet_version()
    if importlib.util.find_spec("espnet3") is None:
        raise ConfigError(
            f"ESPnet {version} has no espnet3: egs3 recipes need ESPnet 202611 (Python 3.12 or "
            "3.13); the same recipe without it is in egs2"
        )


def moved_module(path: str) -> ModuleType:
    """Import a module that lies below ``espnet`` in 202511 and ``espnet2.legacy`` in 202611.

    Args:
        path: the part that both have in common, such as ``"nets.pytorch_backend.nets_utils"``.

    Raises:
        ConfigError: the ESPnet installed has it in neither place.
    """
    version = espnet_version()
    modern = importlib.util.find_spec("espnet2.legacy") is not None
    name = f"espnet2.legacy.{path}" if modern else f"espnet.{path}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as err:
        if err.name is None or not f"{name}.".startswith(f"{err.name}."):
            raise  # a package that ESPnet itself needs is missing, not the module asked for
        raise ConfigError(f"ESPnet {version} has no module {name}: {WAY_OUT}") from err


def none_running(hypotheses: Sequence) -> Sequence:
    """What ``post_process`` of a beam search returns to end the search.

    Args:
        hypotheses: what it would go on with: a list, or a ``BatchHypothesis``, of which 202511 asks
            how many there are and 202611 whether its utterances are done.
    """
    if hasattr(hypotheses, "done_mask"):
        return hypotheses.replace(done=hypotheses.done_mask() | True)
    return hypotheses[:0]


def __getattr__(name: str):
    if name not in MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = moved_module(MOVED[name])
    try:
        value = getattr(module, name)
    except AttributeError as err:
        raise ConfigError(f"{module.__name__} has no {name}: {WAY_OUT}") from err
    globals()[name] = value
    return value
