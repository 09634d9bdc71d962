"""Arguments that recognisers and HuBERT students have in common, checked before anything loads."""

from numbers import Integral
from typing import Any

import numpy as np

from espnet_dice.io.audio import AudioOptions
from espnet_dice.io.errors import ConfigError


def audio_options(rate: int, resample: Any, channel: Any) -> AudioOptions:
    """What audio to accept.

    Raises:
        ConfigError: an argument is of another type, or out of range.
    """
    if not isinstance(resample, (bool, np.bool_)):
        raise ConfigError(f"resample must be True or False, not {resample!r}")
    if channel is not None and (isinstance(channel, bool) or not isinstance(channel, Integral)):
        raise ConfigError(f"channel must be a whole number from 0, or None, not {channel!r}")
    return AudioOptions(rate, bool(resample), None if channel is None else int(channel))


def check_device(device: Any) -> str:
    """The name of a device that is there.

    Raises:
        ConfigError: torch knows no such device, or this machine has none.
    """
    import torch

    try:
        return str(torch.empty(0, device=torch.device(device)).device)
    except (RuntimeError, TypeError, ValueError, AssertionError) as err:
        said = str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
        raise ConfigError(f"device={device!r}: give cpu or cuda:N ({said[:150]})") from err
