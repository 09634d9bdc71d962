"""A device that is not there: tensors named ``meta`` whose values lie in memory.

On a GPU a step waits wherever a value comes back to Python (``.item()``, ``if tensor:``,
``.tolist()``, ``.cpu()``), where a shape depends on values (``x[mask]``, ``nonzero``), and where
values are sent to it (``torch.tensor(…, device=…)``). torch's own ``meta`` device stops at the
first of these; here each is noted with its place and the step goes on, with the values of a CPU.
Tensors of two devices do not meet, as on a GPU.
"""

import contextlib
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
ALONE = ("_to_copy", "copy_", "index", "index_put_", "_index_put_impl_")
"""Operations that take tensors of two devices on a GPU, too."""
SITE = str(Path(torch.__file__).parent)
AUTOCAST, GENERATOR = torch.autocast, torch.Generator
NEW = (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor, torch.Tensor.new)


class OnDevice(torch.Tensor):
    """A tensor of the device; ``value`` is what it holds."""

    value: torch.Tensor
    is_cuda = True  # of what does something else there

    @staticmethod
    def __new__(cls, value: torch.Tensor):
        """Wrap a tensor of the CPU."""
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            value.size(),
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            device=DEVICE,
        )
        made.value = value
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """Outside :class:`Accelerator` there is no such device."""
        raise RuntimeError(f"{func}: the device is switched off")


class Accelerator:
    """Inside ``with`` the device is there.

    Attributes:
        waits: how often the host waited, by ``module.function: what``.
    """

    def __init__(self):
        self.waits: Counter[str] = Counter()
        self.generators: list[torch.Generator] = []
        self._inside = contextlib.ExitStack()

    def __enter__(self) -> "Accelerator":
        # torch has neither for meta
        self._inside.enter_context(mock.patch.object(torch, "autocast", _autocast))
        self._inside.enter_context(
            mock.patch.object(torch, "Generator", _generators(self.generators))
        )
        self._inside.enter_context(_Functions(self))
        self._inside.enter_context(_Operations(self))
        return self

    def __exit__(self, *error) -> None:
        self._inside.close()

    def note(self, what: str) -> None:
        """The host waits, here."""
        self.waits[f"{_place(sys._getframe(1))}: {what}"] += 1


def _autocast(device_type: str, *args, **kwargs):
    if device_type == DEVICE.type:
        return contextlib.nullcontext()
    return AUTOCAST(device_type, *args, **kwargs)


def _generators(of_device: list[torch.Generator]) -> type:
    """In the place of ``torch.Generator``; one for the device draws what it draws on a CPU."""

    class Generator:
        def __new__(cls, device: torch.device | str = "cpu"):
            if torch.device(device) != DEVICE:
                return GENERATOR(device)
            of_device.append(GENERATOR())
            return of_device[-1]

    return Generator


def _place(frame: FrameType | None) -> str:
    """Module and function of the innermost frame that is neither torch's nor this file's."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file != __file__ and not file.startswith(SITE):
            # a comprehension is a function until Python 3.12
            inside = frame.f_code.co_qualname.partition(".<locals>")[0]
            return f"{frame.f_globals['__name__']}.{inside}"
        frame = frame.f_back
    return "?"


class _Functions(TorchFunctionMode):
    """What reads values, or makes tensors of them, without an operation."""

    def __init__(self, owner: Accelerator):
        super().__init__()
        self.owner = owner

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        first = args[0] if args else None
        if isinstance(first, OnDevice) and func in (torch.Tensor.tolist, torch.Tensor.numpy):
            if func is torch.Tensor.numpy:
                raise TypeError("can't convert a tensor of the device to numpy")
            self.owner.note("tolist")
            return first.value.tolist()
        if func in NEW:
            target = kwargs.get("device")
            if target is None and isinstance(first, OnDevice):
                target = DEVICE
            if target is not None and torch.device(target) == DEVICE:
                made = func(*_values(args), **{**kwargs, "device": "cpu"})
                self.owner.note("upload")
                return OnDevice(made)
        return func(*args, **kwargs)


class _Operations(TorchDispatchMode):
    """Every operation, below autograd."""

    def __init__(self, owner: Accelerator):
        super().__init__()
        self.owner = owner

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        leaves = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        ours = [x for x in leaves if isinstance(x, OnDevice)]
        name = func._schema.name.removeprefix("aten::")
        target = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        if target is None:
            target = DEVICE if ours else torch.device("cpu")
        elif target == DEVICE:
            kwargs["device"] = torch.device("cpu")
        plain = [x for x in leaves if not isinstance(x, OnDevice) and x.dim()]
        if ours and plain and name not in ALONE:
            shapes = [tuple(x.shape) for x in plain]
            raise RuntimeError(f"{func}: tensors of the device, and of the CPU {shapes}")
        drawn = kwargs.get("generator")
        own = drawn is not None and drawn._cdata in {g._cdata for g in self.owner.generators}
        if drawn is not None and own != (target == DEVICE):
            raise RuntimeError(f"{func}: a generator of another device than {target}")
        what = _waits_for(func, name, args, ours, plain, target)
        if what:
            self.owner.note(what)
        wrappers = {id(x.value): x for x in ours}
        made = func(*_values(args), **_values(kwargs))

        def back(x: Any) -> Any:
            if not isinstance(x, torch.Tensor) or target != DEVICE:
                return x
            known = wrappers.get(id(x))  # an operation in place gives its argument
            return OnDevice(x) if known is None else known

        return tree_map(back, made)


def _values(tree: Any) -> Any:
    return tree_map(lambda x: x.value if isinstance(x, OnDevice) else x, tree)


def _waits_for(func, name: str, args, ours: list, plain: list, target: torch.device) -> str | None:
    """What the host waits for in an operation, if it does."""
    if name == "_to_copy" and bool(ours) != (target == DEVICE):
        return "upload" if target == DEVICE else "cpu"
    if not ours:
        return None
    if plain:
        return "upload" if isinstance(args[0], OnDevice) else "cpu"
    if name == "_local_scalar_dense":
        return "item"
    if name == "_ctc_loss":
        return "ctc_loss"
    if name in ("index", "index_put_", "_index_put_impl_"):
        masks = [i for i in args[1] if i is not None and i.dtype in (torch.bool, torch.uint8)]
        if not masks or (name != "index" and args[2].numel() == 1):  # masked_fill
            return None
        return "mask index"
    dynamic = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output} & set(func.tags)
    return name if dynamic else None
