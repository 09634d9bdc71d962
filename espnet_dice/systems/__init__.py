"""The recipes as ESPnet 202611 runs them: systems of ``espnet3``, for ``egs3/*/*/run.py``."""

from espnet_dice import compat


def kd1(argv: list[str] | None = None) -> None:
    """Run stages of uncertainty-matching distillation: the ``run.py`` of an egs3 recipe.

    Raises:
        ConfigError: an ESPnet without ``espnet3``.
        DiceError: a stage failed.
    """
    compat.need_espnet3()
    from espnet3.systems.launch import launch

    from espnet_dice.systems.kd1 import KD1System

    launch(KD1System, conf_package=__name__, argv=argv)
