"""Convolutions that cuDNN computes together with the addition and the ReLU behind them, on an NVIDIA GPU.

By themselves, the bias, the addition and the ReLU read and write the whole map once more each, which takes as long as
the convolution in half precision.
"""

import logging

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tensormask_server.network.convolution_kernels import SOURCE, add_bias, can_add_bias
from tensormask_server.network.kernels import Kernels, kernels_for
from tensormask_server.network.stored_numbers import stored_option

logger = logging.getLogger(__name__)


def fuse_convolutions(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Replaces the convolutions of a network in half precision on an NVIDIA GPU, in place, with the same weights.

    Those without a bias, behind which a GroupNorm follows, stay.

    Args:
        dtype: of the convolutions.
    """
    if torch.version.cuda is None or dtype == torch.float32:
        return
    kernels = kernels_for(SOURCE, device, (stored_option(dtype),))
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d) and child.bias is not None:
                setattr(parent, name, FusedConv2d(child, kernels))


class FusedConv2d(nn.Conv2d):
    """A convolution with a bias, which is `Activated`."""

    def __init__(self, convolution: nn.Conv2d, kernels: Kernels | None):
        """
        Args:
            convolution: with channels last in memory.
            kernels: of `convolution_kernels`; None: an operation of torch adds the bias.
        """
        assert convolution.bias is not None and isinstance(convolution.padding, tuple)
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            kernel_size=(convolution.kernel_size[0], convolution.kernel_size[1]),
            stride=(convolution.stride[0], convolution.stride[1]),
            padding=(convolution.padding[0], convolution.padding[1]),
            dilation=(convolution.dilation[0], convolution.dilation[1]),
            groups=convolution.groups,
            device="meta",
        )
        self.weight, self.bias = convolution.weight, convolution.bias
        self._where = self.stride, convolution.padding, self.dilation, self.groups
        self._kernels = kernels if can_add_bias(convolution.out_channels) else None
        self._is_fused = True

    def forward(self, x: Tensor) -> Tensor:
        if self._kernels is None:
            whole: Tensor = super().forward(x)
            return whole
        assert self.bias is not None
        y: Tensor = self._conv_forward(x, self.weight, None)
        add_bias(y, self.bias, self._kernels)
        return y

    def activated(self, x: Tensor, added: Tensor | None) -> Tensor:
        """max(convolution(x) + added, 0)."""
        if self._is_fused:
            try:
                return self._fused(x, added)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                logger.info("cuDNN can't fuse a convolution, which runs in parts: %s", error)
                self._is_fused = False
        y = self(x)
        if added is not None:
            y += added
        return F.relu_(y)

    def _fused(self, x: Tensor, added: Tensor | None) -> Tensor:
        if added is None:
            return torch.cudnn_convolution_relu(x, self.weight, self.bias, *self._where)
        return torch.cudnn_convolution_add_relu(x, self.weight, added, 1, self.bias, *self._where)
