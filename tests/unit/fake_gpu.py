"""A GPU without a GPU: torch's fake tensors have a device, and no numbers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from tensormask_server.network import batched_masks, batched_selection
from tensormask_server.network.transfers import DTYPES
from tensormask_server.prediction import batched, batched_pasting
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

GPU = torch.device("cuda:0")


@contextmanager
def fake_gpu(returns: list[list[np.ndarray]], monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """While it is open, tensors are fake, and an operation on tensors of two devices raises an error.

    Args:
        returns: what copies to the host give, in order. Each is taken from the list.
    """

    def to_device(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
        return [torch.empty(each.shape, dtype=DTYPES[each.dtype], device=device) for each in arrays]

    def images_to_device(
        images: Sequence[np.ndarray], height: int, width: int, device: torch.device, *_: Any
    ) -> Tensor:
        return torch.empty((len(images), height, width, 3), dtype=torch.uint8, device=device)

    def to_host(tensors: Sequence[Tensor]) -> list[np.ndarray]:
        given = returns.pop(0)
        for tensor, array in zip(tensors, given, strict=True):
            assert (tensor.device, tensor.shape, tensor.dtype) == (GPU, array.shape, DTYPES[array.dtype])
        return given

    with monkeypatch.context() as patched, FakeTensorMode() as mode, torch.no_grad():
        for module in (batched, batched_masks, batched_pasting, batched_selection):
            patched.setattr(module, "to_device", to_device)
        patched.setattr(batched, "images_to_device", images_to_device)
        for module in (batched_pasting, batched_selection):
            patched.setattr(module, "to_host", to_host)
        # a torch without CUDA can't pad a fake tensor of CUDA, nor index it by brackets
        patched.setattr(nn.functional, "pad", _padded)
        patched.setattr(Tensor, "__getitem__", _indexed)
        patched.setattr(Tensor, "__setitem__", lambda tensor, key, value: _indexed(tensor, key).fill_(value))
        yield mode


def to_fake_gpu(network: nn.Module, dtype: torch.dtype) -> None:
    """Moves a network of fake tensors, in place; its convolutions get a dtype."""
    for module in network.modules():
        of_module = dtype if isinstance(module, nn.Conv2d) else torch.float32
        for name, parameter in module.named_parameters(recurse=False):
            there = torch.empty(parameter.shape, dtype=of_module, device=GPU)
            module._parameters[name] = nn.Parameter(there, requires_grad=False)
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=GPU)


def _padded(tensor: Tensor, widths: Sequence[int]) -> Tensor:
    """The result's shape is that of `torch.nn.functional.pad`."""
    shape = list(tensor.shape)
    for number, width in enumerate(widths):
        shape[-1 - number // 2] += width
    return torch.empty(shape, dtype=tensor.dtype, device=tensor.device)


def _indexed(tensor: Tensor, key: Any) -> Tensor:
    """`tensor[key]` by functions. An index on another device, for which torch would wait, is an error."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if any(each is ... for each in keys):
        place = next(i for i, each in enumerate(keys) if each is ...)
        missing = tensor.dim() - sum(each is not None and each is not ... for each in keys)
        keys[place : place + 1] = [slice(None)] * missing
    indices: list[Tensor | None] = []
    for each in keys:
        dim = len(indices)
        if isinstance(each, int):
            tensor = tensor.select(dim, each)
            continue
        indices.append(each if isinstance(each, Tensor) else None)
        if each is None:
            tensor = tensor.unsqueeze(dim)
        elif isinstance(each, slice):
            start, stop, step = each.indices(tensor.shape[dim])
            assert step == 1
            tensor = tensor.narrow(dim, start, max(stop - start, 0))
        else:
            assert each.device == tensor.device
    if all(each is None for each in indices):
        return tensor
    result: Tensor = torch.ops.aten.index.Tensor(tensor, indices)
    return result
