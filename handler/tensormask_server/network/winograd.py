"""3×3 convolutions in a quarter of the products: Winograd's minimal filtering F(4×4, 3×3), for CPUs.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016. A tile of 4×4 outputs is made of 6×6
inputs. The inputs and the weights are transformed to 36 numbers each, whose products, summed over the input channels,
are transformed to the 16 outputs: 36 products for what takes 144. The rest are additions, done for a strip of the map
at a time, so that it stays in the processor's cache.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

TILE = 4  # outputs on a side
READ = TILE + 2  # inputs on a side
TILES_AT_ONCE = 256  # of a strip
# with fewer channels the additions take longer than the products that they save; with more the weights are too large
FEWEST_CHANNELS = 128
MOST_CHANNELS = 256

# for the points 0, 1, −1, 2, −2 and infinity, as are `_transform_inputs` and `_transform_products`
WEIGHT_TRANSFORM = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


def use_winograd(network: nn.Module) -> None:
    """Replaces the 3×3 convolutions for which it pays; for inference in float32 on a CPU, with norms folded."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d) and _pays(child):
                setattr(parent, name, WinogradConv2d(child))


class WinogradConv2d(nn.Module):
    """The same map as a 3×3 convolution of stride 1 and padding 1, but for the rounding."""

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        transform = torch.tensor(WEIGHT_TRANSFORM, dtype=torch.float64)
        weight = torch.einsum("ia,kcab,jb->ijck", transform, convolution.weight.detach().double(), transform)
        self.weight = nn.Parameter(weight.flatten(0, 1).float().contiguous(), requires_grad=False)  # (36, C, K)
        bias = convolution.bias
        self.bias = nn.Parameter(torch.zeros(len(convolution.weight)) if bias is None else bias.detach())  # (K,)

    def forward(self, x: Tensor) -> Tensor:
        """float32 (N, C, H, W) to (N, K, H, W), in memory with channels last."""
        num, channels, height, width = x.shape
        down, across = -(-height // TILE), -(-width // TILE)
        y = x.new_empty(num, down, TILE, across, TILE, len(self.bias))
        strip = _Strip(min(max(TILES_AT_ONCE // across, 1), down), across, channels, len(self.bias))
        for inputs, outputs in zip(x.permute(0, 2, 3, 1), y, strict=True):
            for begin in range(0, down, strip.down):
                begin = min(begin, down - strip.down)  # the last strip computes some tiles a second time
                strip.read(inputs, begin)
                strip.multiply(self.weight, self.bias)
                strip.write(outputs[begin : begin + strip.down])
        return y.view(num, down * TILE, across * TILE, -1)[:, :height, :width].permute(0, 3, 1, 2)


class _Strip:
    """Some rows of tiles; the buffers are used again for each strip of a map."""

    def __init__(self, down: int, across: int, channels: int, num_filters: int):
        self.down = down
        self.padded = torch.zeros(down * TILE + 2, across * TILE + 2, channels)
        self.rows = torch.empty(READ, down, across * TILE + 2, channels)
        self.transformed = torch.empty(READ, READ, down, across, channels)
        self.products = torch.empty(READ, READ, down, across, num_filters)
        self.outputs = torch.empty(TILE, READ, down, across, num_filters)

    def read(self, x: Tensor, begin: int) -> None:
        """Transforms the inputs (H, W, C) of the rows of tiles from `begin` on."""
        height, width = x.shape[:2]
        top = begin * TILE - 1  # of the padded rows
        bottom = top + len(self.padded)
        if top < 0 or bottom > height:
            self.padded.zero_()
        first, last = max(top, 0), min(bottom, height)
        self.padded[first - top : last - top, 1 : width + 1] = x[first:last]
        _transform_inputs(_every_fourth(self.padded, 0), self.rows)
        _transform_inputs(_every_fourth(self.rows, 2), self.transformed.transpose(0, 1))

    def multiply(self, weight: Tensor, bias: Tensor) -> None:
        torch.bmm(self.transformed.flatten(2, 3).flatten(0, 1), weight, out=self.products.flatten(2, 3).flatten(0, 1))
        self.products[1, 1] += bias  # which the transform adds to each output

    def write(self, out: Tensor) -> None:
        """Transforms the products to the outputs, (down, 4, across, 4, K)."""
        _transform_products(self.products, self.outputs)
        _transform_products(self.outputs.transpose(0, 1), out.permute(3, 1, 0, 2, 4))


def _every_fourth(x: Tensor, dim: int) -> list[Tensor]:
    """Of each of a tile's six inputs along a dimension those of all tiles."""
    step = (slice(None),) * dim
    last = x.shape[dim] - READ + 1
    return [x[(*step, slice(i, i + last, TILE))] for i in range(READ)]


def _transform_inputs(d: Sequence[Tensor], out: Tensor) -> None:
    """
    4·d0 − 5·d2 + d4,  d4 + d3 − 4·(d2 + d1),  d4 − d3 − 4·(d2 − d1),  d4 − d2 + 2·(d3 − d1),  d4 − d2 − 2·(d3 − d1),
    4·d1 − 5·d3 + d5
    """
    sum_ = torch.sub(d[4], d[2], alpha=4)
    difference = torch.sub(d[3], d[1], alpha=4)
    torch.add(sum_, difference, out=out[1])
    torch.sub(sum_, difference, out=out[2])
    torch.sub(d[4], d[2], out=sum_)
    torch.sub(d[3], d[1], out=difference)
    torch.add(sum_, difference, alpha=2, out=out[3])
    torch.sub(sum_, difference, alpha=2, out=out[4])
    torch.sub(d[5], d[3], out=out[5]).sub_(difference, alpha=4)
    torch.sub(d[0], d[2], out=difference)
    torch.add(sum_, difference, alpha=4, out=out[0])


def _transform_products(m: Tensor, out: Tensor) -> None:
    """m0 + m1 + m2 + m3 + m4,  m1 − m2 + 2·(m3 − m4),  m1 + m2 + 4·(m3 + m4),  m1 − m2 + 8·(m3 − m4) + m5"""
    inner, outer = m[1] - m[2], m[3] - m[4]
    torch.add(inner, outer, alpha=2, out=out[1])
    torch.add(inner, outer, alpha=8, out=out[3]).add_(m[5])
    torch.add(m[1], m[2], out=inner)
    torch.add(m[3], m[4], out=outer)
    torch.add(inner, outer, alpha=4, out=out[2])
    torch.add(inner, m[0], out=out[0]).add_(outer)


def _pays(convolution: nn.Conv2d) -> bool:
    plain = (convolution.kernel_size, convolution.stride, convolution.padding, convolution.dilation, convolution.groups)
    channels = convolution.in_channels, convolution.out_channels
    return (
        plain == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
        and FEWEST_CHANNELS <= min(channels) <= max(channels) <= MOST_CHANNELS
    )
