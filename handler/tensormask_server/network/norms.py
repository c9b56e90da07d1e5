"""Norms with fixed statistics or of groups, and convolutions that take a fixed norm in before inference."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tensormask_server.model_files.key_reader import ConfigError
from tensormask_server.model_files.starting_weights import EPS


@runtime_checkable
class Foldable(Protocol):
    """A module that can move its norm into the weights of its convolution."""

    def fold_norm(self) -> None: ...


def fold_norms(network: nn.Module) -> None:
    """Folds the norm of every `Foldable` module of the network into its convolution, for inference."""
    for module in network.modules():
        if isinstance(module, Foldable):
            module.fold_norm()


GROUPS = 32  # of a GroupNorm, as in detectron2
# by detectron2's name, what a norm is at inference
NORMS: Mapping[str, str] = {
    **dict.fromkeys(("FrozenBN", "BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N"), "BN"),
    "GN": "GN",
}


def check_groups(norm: str, channels: Mapping[str, int]) -> None:
    """Checks that the channels of each layer with this norm can be put into groups.

    Args:
        norm: a value of `NORMS`, or "" for none.
        channels: by the keys of the configuration that they follow from.

    Raises:
        ConfigError: the norm is a GroupNorm, and a number of channels isn't a multiple of 32.
    """
    for key, count in channels.items():
        if norm == "GN" and count % GROUPS:
            raise ConfigError(f"{key} is {count}; supported with the norm GN: a multiple of {GROUPS}, its groups")


def new_norm(norm: str, channels: int) -> nn.Module:
    """Makes a norm.

    Args:
        norm: "BN" with fixed statistics, or "GN", whose statistics come from each image.
    """
    return nn.GroupNorm(GROUPS, channels, eps=FrozenBatchNorm.eps) if norm == "GN" else FrozenBatchNorm(channels)


class FrozenBatchNorm(nn.Module):
    """y = (x − running_mean) / sqrt(running_var + eps) · weight + bias, with all four fixed."""

    eps = EPS

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
    """A convolution without bias, then its norm. After `fold_norm` it is one convolution with a bias.

    A GroupNorm can't be folded, as its statistics come from the image. It stays behind the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        norm: str = "BN",
    ):
        """
        Args:
            norm: as of `new_norm`.
        """
        padding = dilation * (kernel_size // 2)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False)
        self.norm = new_norm(norm, out_channels)

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
