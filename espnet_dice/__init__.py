"""Small speech models by distillation, as an ESPnet plug-in."""

from typing import Any

__version__ = "0.1.0"


def register() -> None:
    """Add the plug-in's classes to ESPnet's registries; calling it again changes nothing.

    Imports ``espnet2`` (about 12 s), which ``import espnet_dice`` alone does not.
    """
    from espnet_dice import registry

    registry.register()


def load(path, **options: Any) -> Any:
    """Load a trained model: a recogniser, which transcribes, or a HuBERT student, which extracts.

    See :func:`espnet_dice.inference.load.load`. A recogniser imports ``espnet2`` (about 6 s).
    """
    from espnet_dice.inference.load import load

    return load(path, **options)
