"""A convolution with the ReLU behind it, and an addition between the two, which some devices compute in one pass."""

from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor, nn


@runtime_checkable
class Activated(Protocol):
    """A convolution that computes in one pass what `activated` asks for."""

    def activated(self, x: Tensor, added: Tensor | None) -> Tensor: ...


def activated(convolution: nn.Module, x: Tensor, added: Tensor | None = None) -> Tensor:
    """max(convolution(x) + added, 0).

    Args:
        convolution: with its norm.
        x: (N, C, H, W).
        added: of the result's shape, and not needed any more: the result may be written there. None: nothing.
    """
    hooked = (
        convolution._forward_hooks or convolution._forward_pre_hooks
    )  # a hook sees the convolution's own numbers: a ReLU can hide NaN
    if isinstance(convolution, Activated) and not hooked:
        return convolution.activated(x, added)
    y: Tensor = convolution(x)
    if added is not None:
        y += added
    return F.relu_(y)


class OnlyWeights(nn.Conv2d):
    """A convolution that never runs as such. Others read its weights, so nothing may replace it."""


class Tower(nn.Sequential):
    """Convolutions in turn with ReLUs: with detectron2's entry names, 0, 2, and so on."""

    def forward(self, x: Tensor) -> Tensor:
        for convolution in list(self)[::2]:
            x = activated(convolution, x)
        return x
