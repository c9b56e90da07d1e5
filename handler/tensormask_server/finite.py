"""Finds the first layer of a network whose output isn't finite."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class NotFiniteError(ValueError):
    """A layer's output has infinite values or NaN. The message is one line and names the layer."""


@contextmanager
def finite_layers(network: nn.Module) -> Iterator[None]:
    """While it is open, running the network raises an error at the first layer whose output isn't finite.

    Each output is read once more, and a GPU is waited for after each layer.

    Raises:
        NotFiniteError: from the network's forward pass.
    """
    hooks = [
        module.register_forward_hook(partial(_check, name))
        for name, module in network.named_modules()
        if not isinstance(module, nn.Identity)  # it replaces a folded norm; the layer before it has the better name
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    for tensor in _tensors(output):
        if tensor.isfinite().all():
            continue
        if not name:  # the network itself uses some layers' weights without calling the layer
            names = (name for name, each in module.named_modules() if _any_not_finite(_own_tensors(each)))
            name = next(names, "")
            module = module.get_submodule(name)
        layer = f"the layer {name}" if name else "the step from the last layers to boxes and masks"
        given = ", and its input holds such numbers too" if _any_not_finite(inputs) else ""
        own = _own_tensors(module)
        if _any_not_finite(own):
            cause = "its own weights hold such numbers"
        else:
            cause = "its weights or those of a layer before it are damaged, or belong to another configuration"
        if tensor.dtype == torch.float16 or any(each.dtype == torch.float16 for each in (*own, *_tensors(inputs))):
            largest = torch.finfo(torch.float16).max
            cause += f"; or, most often, a value exceeds {largest:g}, the largest of float16: use bfloat16 or float32"
        raise NotFiniteError(
            f"{layer} gives numbers that are infinite or not a number{given}, so the network can't be used: {cause}"
        )


def _own_tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _any_not_finite(values: Any) -> bool:
    return any(not tensor.isfinite().all() for tensor in _tensors(values))


def _tensors(value: Any) -> Iterator[Tensor]:
    """The floating-point tensors in a layer's output, within mappings, sequences and dataclasses."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for each in value:
            yield from _tensors(each)
    elif is_dataclass(value):
        yield from _tensors([getattr(value, field.name) for field in fields(value)])
