"""Norms with fixed statistics, and convolutions that take their norm in before inference."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Foldable(Protocol):
    """A module that can move its norm into the weights of its convolution."""

    def fold_norm(self) -> None: ...


def fold_norms(network: nn.Module) -> None:
    """Folds the norm of every `Foldable` module of the network into its convolution, for inference."""
    for module in network.modules():
        if isinstance(module, Foldable):
            module.fold_norm()


class FrozenBatchNorm(nn.Module):
    """y = (x − running_mean) / sqrt(running_var + eps) · weight + bias, with all four fixed."""

    eps = 1e-5

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = _scale_and_shift(self)
        return x * scale[:, None, None] + shift[:, None, None]  # (N, C, H, W)


class NormedConv2d(nn.Conv2d):
    """A convolution without bias, then its norm. After `fold_norm` it is one convolution with a bias."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, groups: int, dilation: int):
        padding = dilation * (kernel_size // 2)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False)
        self.norm: nn.Module = FrozenBatchNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(super().forward(x))
        return y

    @torch.no_grad()
    def fold_norm(self) -> None:
        """Moves the norm into the convolution's weight and bias, computed in float64. The norm may have learnt."""
        if isinstance(self.norm, FrozenBatchNorm | nn.BatchNorm2d | nn.SyncBatchNorm):
            scale, shift = _scale_and_shift(self.norm.double())
            dtype = self.weight.dtype
            self.weight.copy_((self.weight.double() * scale[:, None, None, None]).to(dtype))
            self.bias = nn.Parameter(shift.to(dtype), requires_grad=False)
            self.norm = nn.Identity()


def _scale_and_shift(norm: FrozenBatchNorm | nn.BatchNorm2d | nn.SyncBatchNorm) -> tuple[Tensor, Tensor]:
    """The norm at inference as x · scale + shift, both (C,)."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale
