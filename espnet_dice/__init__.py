"""Small speech models by distillation, as an ESPnet plug-in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet_dice.inference.extractor import Extractor
    from espnet_dice.inference.recogniser import Recogniser

__version__ = "0.1.0"


def register() -> None:
    """Add the plug-in's classes to ESPnet's registries; calling it again changes nothing.

    Imports ``espnet2`` (about 12 s; a minute the first time in a new environment, which is said),
    which ``import espnet_dice`` alone does not.
    """
    from espnet_dice import registry

    registry.register()


def load(path: str | Path, **options: Any) -> Recogniser | Extractor:
    """Load a trained model: a recogniser, which transcribes, or a HuBERT student, which extracts.

    See :func:`espnet_dice.inference.load.load`. A recogniser imports ``espnet2`` (about 6 s).
    """
    from espnet_dice.inference.load import load

    return load(path, **options)
