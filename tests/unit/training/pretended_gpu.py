"""A device that computes on the CPU and refuses what a GPU refuses: operations on tensors of two devices.

torch's device "meta" has no memory and needs no driver. Here its tensors hold a tensor of the CPU each. So a training
runs on it with real numbers, and a tensor that was left on the host is found without a GPU.
"""

from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = "meta"
COPIES = (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)


class OnDevice(Tensor):
    """A tensor on the device."""

    held: Tensor  # what it is, on the CPU

    @staticmethod
    def __new__(cls, held: Tensor) -> Self:
        made: Self = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=torch.device(DEVICE)
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch calls it on the class
        cls, operation: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(operation, args, kwargs or {})


class PretendedGpu(TorchDispatchMode):
    """While it is entered, what is made or copied with device=DEVICE is on the device."""

    def __enter__(self) -> Self:
        self._numbers = _Numbers()
        self._numbers.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._numbers.__exit__(*exception)

    def __torch_dispatch__(self, operation: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(operation, args, kwargs or {})


class _Numbers(TorchFunctionMode):
    """Makes tensors of Python's numbers by a copy to the device; torch would forget the numbers on "meta"."""

    def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.tensor and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return function(*args, **kwargs).to(device)
        if function is Tensor.new_tensor:
            like, numbers = args
            return torch.tensor(numbers, dtype=like.dtype).to(like.device)
        return function(*args, **kwargs)


def _run(operation: Any, args: Any, kwargs: Any) -> Any:
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    there = [each for each in tensors if isinstance(each, OnDevice)]
    here = [each for each in tensors if not isinstance(each, OnDevice) and each.dim()]  # a scalar may be on the host
    if there and here and operation not in COPIES:
        raise RuntimeError(f"{operation}: expected all tensors on one device; {tuple(here[0].shape)} is on the host")
    device = kwargs.get("device")
    stays = bool(there) if device is None else torch.device(device).type == DEVICE
    if operation is torch.ops.aten.copy_.default:
        stays = isinstance(args[0], OnDevice)
    result = operation(*tree_map(_held, args), **tree_map(_held, kwargs))
    known = {id(each.held): each for each in there}  # what an operation changed in place stays the same tensor

    def placed(value: Any) -> Any:
        if not stays or not isinstance(value, Tensor):
            return value
        return known[id(value)] if id(value) in known else OnDevice(value)

    return tree_map(placed, result)


def _held(value: Any) -> Any:
    if isinstance(value, OnDevice):
        return value.held
    return torch.device("cpu") if isinstance(value, torch.device) else value
