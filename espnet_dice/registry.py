"""The one place that touches ESPnet's registries of classes."""

import importlib
import importlib.machinery
import importlib.util
import logging
import os
import sys
from dataclasses import dataclass

from espnet_dice import compat
from espnet_dice.io.errors import ConfigError


@dataclass(frozen=True)
class Entry:
    """One class of the plug-in and the registry that it goes into.

    Attributes:
        task: ESPnet's module, mostly a task such as ``"espnet2.tasks.asr"``.
        registry: name of a ``ClassChoices`` or of a dict in that module.
        name: what configs call the class; lower case, as ESPnet looks it up so.
        module: module of the class, imported only when it is registered.
        cls: name of the class (or what else the registry holds) in that module.
    """

    task: str
    registry: str
    name: str
    module: str
    cls: str


ENTRIES = (
    Entry(
        "espnet2.tasks.asr",
        "model_choices",
        "uncertainty_kd",
        "espnet_dice.kd.model",
        "UncertaintyKDModel",
    ),
    Entry(
        "espnet2.tasks.asr",
        "decoder_choices",
        "uncertainty_transformer",
        "espnet_dice.kd.decoder",
        "UncertaintyTransformerDecoder",
    ),
    Entry(
        "espnet2.tasks.asr", "encoder_choices", "dice_ssl", "espnet_dice.hubert.ssl", "SSLEncoder"
    ),
    Entry("espnet2.tasks.ssl", "loss_choices", "dice_hard", "espnet_dice.dice.ssl_losses", "Hard"),
    Entry("espnet2.tasks.ssl", "loss_choices", "dice_soft", "espnet_dice.dice.ssl_losses", "Soft"),
    Entry(
        "espnet2.train.dataset",
        "DATA_TYPES",
        "dice_labels",
        "espnet_dice.dice.data_type",
        "DICE_LABELS",
    ),
    Entry(
        "espnet2.train.dataset",
        "DATA_TYPES",
        "dice_ids",
        "espnet_dice.dice.data_type",
        "DICE_IDS",
    ),
    Entry(
        "espnetez.task", "TASK_CLASSES", "dice_hubert", "espnet_dice.dice.task", "DiceHubertTask"
    ),
)
OPTIONAL = frozenset({"espnetez.task"})
"""Registered when somebody imports it: it imports all of ESPnet's tasks, and 202611 has none."""


def register() -> None:
    """Add every class of the plug-in to ESPnet; calling it again changes nothing.

    Imports ``espnet2.tasks.*``, about 12 s.

    Raises:
        ConfigError: no usable ESPnet, or one of our names is taken by another class. In that
            case no registry is changed.
    """
    compat.espnet_version()
    for task in sorted({entry.task for entry in ENTRIES} - OPTIONAL):
        _import_task(task)
        register_task(task)
    register_when_imported()


def register_task(task: str) -> None:
    """Add the plug-in's classes for one task module, which must have been imported."""
    module = sys.modules[task]
    todo = []
    for entry in ENTRIES:
        if entry.task == task:
            cls = getattr(importlib.import_module(entry.module), entry.cls)
            choices = getattr(module, entry.registry)
            _check(entry, cls, choices)
            todo.append((_classes(choices), entry.name, cls))
    for classes, name, cls in todo:
        classes[name] = cls


def register_when_imported() -> None:
    """Register for each task module the moment that it is imported, and not before.

    A tool that never imports the module pays nothing. Calling it again changes nothing.
    """
    if not any(isinstance(finder, _TaskFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TaskFinder())
    for task in sorted({entry.task for entry in ENTRIES}):
        if task in sys.modules:
            register_task(task)


def _import_task(task: str) -> None:
    if task not in sys.modules and not is_compiled(task):
        kept = "" if _keeps_compiled(task) else ": what it compiles is not kept here"
        logging.warning(
            "first import of ESPnet in this environment: Python compiles it and what it imports, "
            "which takes about a minute; %s%s",
            "later ones take some 10 s" if not kept else "every process will do so",
            kept,
        )
    try:
        importlib.import_module(task)
    except ModuleNotFoundError as err:
        raise ConfigError(
            f"ESPnet's {task} needs the package {err.name!r}, which is missing: install it "
            "(ESPnet does not declare all that it imports; take the torchaudio that goes with "
            "your torch)"
        ) from err


def is_compiled(task: str) -> bool:
    """Whether Python has compiled a module before, and kept that; imports its packages only."""
    try:
        spec = importlib.util.find_spec(task)
    except ModuleNotFoundError:
        return True  # there is nothing to compile: the import says what is missing
    return spec is None or not spec.cached or os.path.exists(spec.cached)


def _keeps_compiled(task: str) -> bool:
    spec = importlib.util.find_spec(task)
    folder = os.path.dirname(spec.origin or "")
    return not sys.dont_write_bytecode and (sys.pycache_prefix or os.access(folder, os.W_OK))


def _classes(choices) -> dict:
    return choices if isinstance(choices, dict) else choices.classes


def _check(entry: Entry, cls, choices) -> None:
    where = f"{entry.task}.{entry.registry}"
    there = _classes(choices).get(entry.name)
    if there is not None and _path(there) != _path(cls):
        raise ConfigError(
            f"{where} already has {entry.name!r} from {_path(there)}: this name belongs to "
            "espnet_dice, so register the other class under another name"
        )
    base = getattr(choices, "base_type", None)
    if base is not None and not issubclass(cls, base):
        raise ConfigError(f"{_path(cls)} is not a {_path(base)}, as {where} demands")


def _path(cls) -> str:
    return f"{cls.__module__}.{cls.__qualname__}" if isinstance(cls, type) else repr(cls)


class _TaskFinder:
    """Finds task modules as the other finders do, and registers at the end of their import."""

    def find_spec(self, fullname, path=None, target=None):
        if not any(entry.task == fullname for entry in ENTRIES):
            return None
        spec = self._find_elsewhere(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):
                execute(module)
                register_task(fullname)

            # on the instance: everything else about the loader stays as it was
            spec.loader.exec_module = execute_and_register
        return spec

    def _find_elsewhere(self, fullname, path, target) -> importlib.machinery.ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self:
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None
