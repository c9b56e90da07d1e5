"""oneDNN's convolutions with the addition and the ReLU behind them in the same pass, and with packed weights, for CPUs.

torch has these operations for its compiler. Their names and arguments aren't promised, so `supports` tries them once.
"""

import platform
from functools import cache

import torch
from torch import Tensor, nn

from tensormask_server.network.convolutions import OnlyWeights, activated
from tensormask_server.network.norms import NormedConv2d

MACHINES = ("x86_64", "AMD64")  # on others nobody has measured them
DTYPES = (torch.float32, torch.bfloat16)
PACKED_FOR = 32  # rows and columns of the map that weights are packed for; other sizes mostly have the same layout


def pack_convolutions(network: nn.Module) -> None:
    """Replaces the convolutions that run, for inference on a CPU, if torch has the operations for their dtype.

    Norms that can be folded are folded before. One that can't, a GroupNorm, stays behind its convolution.
    """
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d) and not isinstance(child, OnlyWeights) and _packs(child.weight):
                setattr(parent, name, with_norm(PackedConv2d(child), child))


def with_norm(faster: nn.Module, convolution: nn.Conv2d) -> nn.Module:
    """What replaces a convolution, with the convolution's norm behind it if there is one that couldn't be folded."""
    if isinstance(convolution, NormedConv2d) and not isinstance(convolution.norm, nn.Identity):
        return nn.Sequential(faster, convolution.norm)
    return faster


def _packs(weight: Tensor) -> bool:
    """Weights that hold NaN stay where `prediction.finite` finds them."""
    return supports(weight.dtype) and bool(weight.isfinite().all())


@cache
def supports(dtype: torch.dtype) -> bool:
    """Whether torch has these operations for a dtype on this CPU, and they compute what its public ones do."""
    if platform.machine() not in MACHINES or dtype not in DTYPES:
        return False
    plain = nn.Conv2d(8, 8, 3, padding=1).requires_grad_(False).to(dtype)
    for index, parameter in enumerate(plain.parameters()):
        parameter.copy_(torch.arange(parameter.numel()).add(index).sin().view_as(parameter))
    x = torch.arange(8 * 4 * 5).cos().view(1, 8, 4, 5).to(dtype=dtype, memory_format=torch.channels_last)
    try:
        packed = PackedConv2d(plain)
        pairs = [(packed(x), plain(x))]
        pairs += [(activated(packed, x, None), activated(plain, x, None))]
        pairs += [(activated(packed, x, x.clone()), activated(plain, x, x.clone()))]
    except (AttributeError, RuntimeError, TypeError):  # another name, another CPU, other arguments
        return False
    return all(torch.allclose(*pair, rtol=0.02, atol=0.05) for pair in pairs)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x · weightᵀ, not differentiable. On some CPUs oneDNN takes a third of MKL's time.

    Args:
        x: float32 (H, W, C).
        weight: float32 (K, C).

    Returns:
        float32 (H, W, K).
    """
    if not supports(torch.float32):
        return x @ weight.T
    pixels, filters = x[None].permute(0, 3, 1, 2), weight[:, :, None, None]
    shape = [0, 0], [1, 1], [1, 1], 1  # padding, stride, dilation, groups
    y = torch.ops.mkldnn._convolution_pointwise.default(_channels_last(pixels), filters, None, *shape, "none", [], "")
    return y[0].permute(1, 2, 0)  # type: ignore[no-any-return]  # torch.ops has no types


class PackedConv2d(nn.Module):
    """The same function as a convolution: `Activated`. It keeps only the packed weights."""

    def __init__(self, convolution: nn.Conv2d):
        """
        Args:
            convolution: of one of the `DTYPES`, on a CPU. Its norm isn't taken.
        """
        super().__init__()
        operations = torch.ops.mkldnn
        self._run, self._add_to = operations._convolution_pointwise.default, operations._convolution_pointwise_.binary
        self.bias = convolution.bias
        padding, stride, dilation = (
            list(map(int, pair)) for pair in (convolution.padding, convolution.stride, convolution.dilation)
        )
        self.shape = padding, stride, dilation, convolution.groups
        weight = convolution.weight.detach().contiguous(memory_format=torch.channels_last)
        size = [1, convolution.in_channels, PACKED_FOR, PACKED_FOR]
        self.packed = operations._reorder_convolution_weight(weight, *self.shape, size)

    def forward(self, x: Tensor, added: Tensor | None = None, relu: bool = False) -> Tensor:
        """From (N, C, H, W) to (N, K, H', W'), with channels last in memory.

        Args:
            added: of the result's shape. The sum is written there if it has channels last in memory. None: nothing.
            relu: whether negative numbers become 0.
        """
        activation = "relu" if relu else "none"
        if added is None:
            y: Tensor = self._run(_channels_last(x), self.packed, self.bias, *self.shape, activation, [], "")
            return y
        sums = added.contiguous(memory_format=torch.channels_last)
        self._add_to(sums, _channels_last(x), self.packed, self.bias, *self.shape, "add", 1.0, activation, [], "")
        return sums

    def activated(self, x: Tensor, added: Tensor | None) -> Tensor:
        """As `convolutions.activated`."""
        return self.forward(x, added, relu=True)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
