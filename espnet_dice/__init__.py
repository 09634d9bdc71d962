"""Small speech models by distillation, as an ESPnet plug-in."""

__version__ = "0.1.0"


def register() -> None:
    """Add the plug-in's classes to ESPnet's registries; calling it again changes nothing.

    Imports ``espnet2`` (about 12 s), which ``import espnet_dice`` alone does not.
    """
    from espnet_dice import registry

    registry.register()
