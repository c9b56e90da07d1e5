"""3×3 convolutions in a quarter of the products: Winograd's minimal filtering F(4×4, 3×3), for CPUs.

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016.

A tile of 4×4 outputs depends on 6×6 inputs. The inputs and the weights are transformed to 36 numbers each. Their
products are summed over the input channels and transformed to the 16 outputs: 36 products instead of 144. Each
transform is one product of matrices for both axes at once. This takes more operations than one axis after the other,
but fewer passes over memory. One strip of the map is done at a time, so that it stays in the processor's cache.
"""

import torch
from torch import Tensor, nn

from tensormask_server.network.norms import NormedConv2d

TILE = 4  # outputs on a side
READ = TILE + 2  # inputs on a side
TILES_AT_ONCE = 128  # of a strip
# with fewer channels the transforms take longer than the products that they save; with more, the weights are too large
FEWEST_CHANNELS = 128
MOST_CHANNELS = 256

# along one axis, for the points 0, 1, −1, 2, −2 and infinity
WEIGHT_TRANSFORM = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
INPUT_TRANSFORM = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
OUTPUT_TRANSFORM = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


def use_winograd(network: nn.Module) -> None:
    """Replaces the 3×3 convolutions that become faster, for inference in float32 on a CPU.

    Norms that can be folded are folded before. One that can't, a GroupNorm, stays behind its convolution.
    """
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d) and _pays(child):
                faster: nn.Module = WinogradConv2d(child)
                if isinstance(child, NormedConv2d) and not isinstance(child.norm, nn.Identity):
                    faster = nn.Sequential(faster, child.norm)
                setattr(parent, name, faster)


class WinogradConv2d(nn.Module):
    """The same function as a 3×3 convolution of stride 1 and padding 1, except for rounding."""

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        weight = _both_axes(WEIGHT_TRANSFORM) @ convolution.weight.detach().double().flatten(2).permute(
            2, 1, 0
        ).flatten(1)
        self.weight = nn.Parameter(
            weight.view(READ**2, convolution.in_channels, -1).float(), requires_grad=False
        )  # (36, C, K)
        bias = convolution.bias
        self.bias = nn.Parameter(torch.zeros(len(convolution.weight)) if bias is None else bias.detach())  # (K,)

    def forward(self, x: Tensor) -> Tensor:
        """From float32 (N, C, H, W) to (N, K, H, W), with channels last in memory."""
        num, channels, height, width = x.shape
        down, across = -(-height // TILE), -(-width // TILE)
        y = x.new_empty(num, down, TILE, across, TILE, len(self.bias))  # (N, ⌈H/4⌉, 4, ⌈W/4⌉, 4, K)
        strip = _Strip(_rows_at_once(down, across), across, channels, len(self.bias))
        for inputs, outputs in zip(x.permute(0, 2, 3, 1), y, strict=True):
            for begin in range(0, down, strip.down):
                begin = min(begin, down - strip.down)  # the last strip computes some tiles a second time
                strip.read(inputs, begin)
                strip.multiply(self.weight, self.bias)
                strip.write(outputs[begin : begin + strip.down])
        return y.view(num, down * TILE, across * TILE, -1)[:, :height, :width].permute(0, 3, 1, 2)


class _Strip:
    """The buffers for some rows of tiles, which all strips of a map use."""

    def __init__(self, down: int, across: int, channels: int, num_filters: int):
        self.down = down
        self.padded = torch.zeros(down * TILE + 2, across * TILE + 2, channels)
        row, column, _ = self.padded.stride()
        shape, strides = (READ, READ, down, across, channels), (row, column, TILE * row, TILE * column, 1)
        self.tiles = self.padded.as_strided(shape, strides)  # a view, in which tiles overlap
        self.inputs = torch.empty(shape)
        self.transformed = torch.empty(READ**2, down * across, channels)
        self.products = torch.empty(READ**2, down * across, num_filters)
        self.outputs = torch.empty(TILE, TILE, down, across, num_filters)
        self.input_transform = _both_axes(INPUT_TRANSFORM).float()  # (36, 36)
        self.output_transform = _both_axes(OUTPUT_TRANSFORM).float()  # (16, 36)

    def read(self, x: Tensor, begin: int) -> None:
        """Transforms the inputs (H, W, C) of the rows of tiles from `begin` on."""
        height, width = x.shape[:2]
        top = begin * TILE - 1  # of the padded rows
        bottom = top + len(self.padded)
        if top < 0 or bottom > height:
            self.padded.zero_()
        first, last = max(top, 0), min(bottom, height)
        self.padded[first - top : last - top, 1 : width + 1] = x[first:last]
        self.inputs.copy_(self.tiles)
        torch.mm(self.input_transform, self.inputs.view(READ**2, -1), out=self.transformed.view(READ**2, -1))

    def multiply(self, weight: Tensor, bias: Tensor) -> None:
        torch.bmm(self.transformed, weight, out=self.products)
        self.products[READ + 1] += bias  # the transform adds this product to each output

    def write(self, out: Tensor) -> None:
        """Transforms the products to the outputs, (down, 4, across, 4, K)."""
        torch.mm(self.output_transform, self.products.view(READ**2, -1), out=self.outputs.view(TILE**2, -1))
        out.copy_(self.outputs.permute(2, 0, 3, 1, 4))


def _rows_at_once(down: int, across: int) -> int:
    """How many rows of tiles a strip has, so that strips are equal if possible."""
    most = max(TILES_AT_ONCE // across, 1)
    return -(-down // -(-down // most))


def _both_axes(transform: tuple[tuple[float, ...], ...]) -> Tensor:
    """A transform along one axis, (n, m), as one of squares along both, float64 (n·n, m·m)."""
    along = torch.tensor(transform, dtype=torch.float64)
    return torch.kron(along, along)


def _pays(convolution: nn.Conv2d) -> bool:
    plain = (convolution.kernel_size, convolution.stride, convolution.padding, convolution.dilation, convolution.groups)
    channels = convolution.in_channels, convolution.out_channels
    return (
        plain == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
        and FEWEST_CHANNELS <= min(channels) <= max(channels) <= MOST_CHANNELS
    )
