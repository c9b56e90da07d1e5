"""oneDNN's convolutions with the addition and the ReLU behind them in the same pass, and with packed weights, for CPUs.

torch has these operations for its compiler. Their names and arguments aren't promised, so `supports` tries them once.
"""

import platform
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tensormask_server.network.convolutions import OnlyWeights, activated
from tensormask_server.network.norms import NormedConv2d

MACHINES = ("x86_64", "AMD64")  # on others nobody has measured them
DTYPES = (torch.float32, torch.bfloat16)
# rows and columns of maps that weights are packed for. oneDNN chooses the layout by the size of the map. If the packed
# weights have another one, it converts them in every call, which can take ten times as long as the convolution.
PACKED_FOR = ((32, 32), (30, 40), (50, 68), (4, 5))
MOST_SIZES = 4096  # of maps and layers whose layouts are remembered


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
            tuple(map(int, pair)) for pair in (convolution.padding, convolution.stride, convolution.dilation)
        )
        self.shape = padding, stride, dilation, convolution.groups
        weight = convolution.weight.detach()
        self.weight_shape = tuple(weight.shape)
        self.packed: dict[int, Tensor] = {}  # by their bytes: layouts differ in their padding
        for size in PACKED_FOR:
            packed = _packed(weight, self.shape, (1, convolution.in_channels, *size))
            self.packed.setdefault(operations._nbytes(packed), packed)

    def forward(self, x: Tensor, added: Tensor | None = None, relu: bool = False) -> Tensor:
        """From (N, C, H, W) to (N, K, H', W'), with channels last in memory.

        Args:
            added: of the result's shape. The sum is written there if it has channels last in memory. None: nothing.
            relu: whether negative numbers become 0.
        """
        weight = self._weight_for(x)
        if added is None:
            y: Tensor = self._run(_channels_last(x), weight, self.bias, *self.shape, "relu" if relu else "none", [], "")
            return y
        sums = added.contiguous(memory_format=torch.channels_last)
        self._add_to(
            sums, _channels_last(x), weight, self.bias, *self.shape, "add", 1.0, "relu" if relu else None, [], ""
        )
        return sums

    def activated(self, x: Tensor, added: Tensor | None) -> Tensor:
        """As `convolutions.activated`."""
        return self.forward(x, added, relu=True)

    def _weight_for(self, x: Tensor) -> Tensor:
        """The packed weights with the layout for a map's size. If there are none, others: the result is the same."""
        first = next(iter(self.packed.values()))
        if len(self.packed) == 1:
            return first
        layer = Layer(self.weight_shape, x.dtype, self.shape, torch.get_num_threads())
        return self.packed.get(_packed_bytes(layer, tuple(x.shape)), first)


Shape = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]  # padding, stride, dilation, groups


def _packed(weight: Tensor, shape: Shape, size: Sequence[int]) -> Tensor:
    """A convolution's weights as oneDNN has them for maps of a size, (N, C, H, W)."""
    packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(_channels_last(weight), *shape, size)
    return packed


class Layer(NamedTuple):
    """All that oneDNN's choice of a layout depends on, but for the map's size."""

    weight_shape: tuple[int, ...]
    dtype: torch.dtype
    shape: Shape
    threads: int  # of torch


@lru_cache(MOST_SIZES)
def _packed_bytes(layer: Layer, size: tuple[int, ...]) -> int:
    """The bytes of a layer's `_packed` weights."""
    zeros = torch.zeros(layer.weight_shape, dtype=layer.dtype)
    return int(torch.ops.mkldnn._nbytes(_packed(zeros, layer.shape, size)))


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
