"""What our commands change in other libraries, and why: each keeps a run right or safe.

The classes that the plug-in adds to ESPnet's registries are in :mod:`espnet_dice.registry`.
"""

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from espnet_dice.io.atomic import atomic_file
from espnet_dice.io.untrusted import torch_files

LOADERS = (
    "espnet2.tasks.abs_task",
    "espnet2.torch_utils.load_pretrained_model",
    "espnet2.train.trainer",
)
"""ESPnet's modules that load what may come from anywhere."""


def load_tensors_only() -> None:
    """Let ESPnet load models, checkpoints and ``--init_param`` without running what is in them.

    202511 unpickles whatever it is given; 202611 refuses, with a question on a terminal. Both now
    say what to do; with ``ESPNET_ALLOW_UNSAFE_TORCH_LOAD=1``, as 202611 has it, all is as it was.
    Only ESPnet's modules are changed, and nothing else that uses torch.
    """
    for name in LOADERS:
        module = importlib.import_module(name)
        if hasattr(module, "safe_torch_load"):
            module.safe_torch_load = torch_files.load_own
        elif not isinstance(module.torch, _Torch):
            module.torch = _Torch(module.torch, torch_files.load_own)


class _Torch:
    """torch, with another ``load``."""

    def __init__(self, torch: ModuleType, load: Callable[..., Any]):
        self._torch, self.load = torch, load

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)


def save_whole_files() -> None:
    """Let ``torch.save`` write beside its target and rename: a kill leaves the old file whole."""
    import torch

    plain = torch.save
    if getattr(plain, "whole", False):
        return

    def save(obj, f, *args, **kwargs):
        if isinstance(f, (str, os.PathLike)):
            with atomic_file(f, "wb") as out:
                try:
                    plain(obj, out, *args, **kwargs)
                except RuntimeError as err:  # of a full disk torch says "unexpected pos"
                    if isinstance(err.__context__, OSError):
                        raise err.__context__ from None
                    raise
        else:
            plain(obj, f, *args, **kwargs)

    save.whole = True
    torch.save = save


@contextlib.contextmanager
def without_downloads() -> Iterator[None]:
    """Import ESPnet without g2p_en's attempt to download NLTK data.

    The data are for phonemes, which nothing here uses; where the network swallows packets the
    attempt would hold up every command for minutes.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError):
            import nltk

            stack.callback(setattr, nltk, "download", nltk.download)
            nltk.download = lambda *_, **__: False
        yield
