"""Finds the layer at which a network stops to give finite numbers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class NotFiniteError(ValueError):
    """A network that gives infinite numbers, or ones that are none. The message names the layer, in one line."""


@contextmanager
def finite_layers(network: nn.Module) -> Iterator[None]:
    """While it is open, running the network raises where a layer's output isn't finite: the first one that is run.

    It costs a pass over each output, and on a GPU waits for each layer.

    Raises:
        NotFiniteError: from within the network.
    """
    hooks = [
        module.register_forward_hook(partial(_check, name))
        for name, module in network.named_modules()
        if not isinstance(module, nn.Identity)  # in the place of a norm: the layer itself has a better name
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
        if not name:  # some layers' weights are used outside of the layers
            names = (name for name, each in module.named_modules() if _any_not_finite(_own(each)))
            name = next(names, "")
            module = module.get_submodule(name)
        layer = f"the layer {name}" if name else "what makes boxes and masks of the last layers' numbers"
        given = ", though it is given such numbers already" if _any_not_finite(inputs) else ""
        cause = "its weights or those before it are damaged, or aren't of this configuration"
        own = _own(module)
        if _any_not_finite(own):
            cause = "its own weights hold such numbers"
        if tensor.dtype == torch.float16 or any(each.dtype == torch.float16 for each in (*own, *_tensors(inputs))):
            most = torch.finfo(torch.float16).max
            cause += f"; or, most often, they are beyond {most:g}, the largest of float16: use bfloat16 or float32"
        raise NotFiniteError(
            f"{layer} gives numbers that are infinite or not a number{given}, so the network can't be served: {cause}"
        )


def _own(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _any_not_finite(values: Any) -> bool:
    return any(not tensor.isfinite().all() for tensor in _tensors(values))


def _tensors(value: Any) -> Iterator[Tensor]:
    """The floating-point tensors in a layer's output, whatever they are wrapped in."""
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
