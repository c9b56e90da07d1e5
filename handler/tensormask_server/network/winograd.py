"""3×3 convolutions in a quarter of the products: Winograd's minimal filtering F(4×4, 3×3), for CPUs.

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016.

A tile of 4×4 outputs depends on 6×6 inputs. The inputs and the weights are transformed to 36 numbers each. Their
products are summed over the input channels and transformed to the 16 outputs: 36 products instead of 144. Each
transform is one product of matrices for both axes at once. This takes more operations than one axis after the other,
but fewer passes over memory. One strip of the map is done at a time, so that it stays in the processor's cache.
"""

import torch
from torch import Tensor, nn

from tensormask_server.network.onednn import PackedConv2d, supports, with_norm

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
                setattr(parent, name, with_norm(WinogradConv2d(child), child))


class WinogradConv2d(nn.Module):
    """The same function as a 3×3 convolution of stride 1 and padding 1, except for rounding: `Activated`."""

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.out_channels, channels = convolution.weight.shape[:2]
        weight = _both_axes(WEIGHT_TRANSFORM) @ convolution.weight.detach().double().flatten(2).permute(
            2, 1, 0
        ).flatten(1)
        bias = torch.zeros(READ**2, self.out_channels)
        if convolution.bias is not None:
            bias[READ + 1] = convolution.bias.detach()  # the transform adds this product to each output
        products = _PackedProducts if supports(torch.float32) else _Products
        self.products = products(weight.view(READ**2, channels, -1).float(), bias)

    def forward(self, x: Tensor, added: Tensor | None = None, relu: bool = False) -> Tensor:
        """From float32 (N, C, H, W) to (N, K, H, W), with channels last in memory.

        Args:
            added: of the result's shape. It is added to a strip while that is in the cache. None: nothing.
            relu: whether negative numbers become 0.
        """
        num, channels, height, width = x.shape
        down, across = -(-height // TILE), -(-width // TILE)
        y = x.new_empty(num, down * TILE, across * TILE, self.out_channels)
        strip = _Strip(_rows_at_once(down, across), across, channels, self.out_channels)
        for image, (inputs, outputs) in enumerate(zip(x.permute(0, 2, 3, 1), y, strict=True)):
            for begin in range(0, down, strip.down):
                begin = min(begin, down - strip.down)  # the last strip computes some tiles a second time
                rows = slice(begin * TILE, (begin + strip.down) * TILE)
                strip.read(inputs, rows.start)
                strip.write(self.products.forward(strip.transformed), outputs[rows])  # no layer: without hooks
                if added is not None:
                    part = added[image, :, rows].permute(1, 2, 0)
                    outputs[rows][: len(part), :width] += part
                if relu:
                    outputs[rows].clamp_min_(0)
        return y[:, :height, :width].permute(0, 3, 1, 2)

    def activated(self, x: Tensor, added: Tensor | None) -> Tensor:
        """As `convolutions.activated`."""
        return self.forward(x, added, relu=True)


class _Products(nn.Module):
    """The 36 products of transformed inputs and weights."""

    def __init__(self, weight: Tensor, bias: Tensor):
        """
        Args:
            weight: float32 (36, C, K).
            bias: float32 (36, K), added to the products.
        """
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias, requires_grad=False)

    def forward(self, transformed: Tensor) -> Tensor:
        """From (T, 36, C), of T tiles, to (T, 36, K)."""
        return torch.baddbmm(self.bias[:, None], transformed.transpose(0, 1), self.weight).transpose(0, 1)


class _PackedProducts(nn.Module):
    """The same as oneDNN's 1×1 convolution of 36 groups, which on some CPUs takes half the time."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        groups, channels, num_filters = weight.shape
        with torch.device("meta"):  # so that no random weights are drawn
            convolution = nn.Conv2d(groups * channels, groups * num_filters, 1, groups=groups)
        filters = weight.transpose(1, 2).reshape(convolution.weight.shape)
        convolution.weight = nn.Parameter(filters, requires_grad=False)
        convolution.bias = nn.Parameter(bias.flatten(), requires_grad=False)
        self.convolution = PackedConv2d(convolution)

    def forward(self, transformed: Tensor) -> Tensor:
        """From (T, 36, C), of T tiles, to (T, 36, K)."""
        tiles, groups, channels = transformed.shape
        pixels = transformed.view(1, 1, tiles, groups * channels).permute(0, 3, 1, 2)  # (1, 36·C, 1, T)
        products = self.convolution.forward(pixels)  # (1, 36·K, 1, T); no layer of the network, so without hooks
        return products.permute(0, 2, 3, 1).view(tiles, groups, -1)


class _Strip:
    """The buffers for some rows of tiles, T together, which all strips of a map use."""

    def __init__(self, down: int, across: int, channels: int, num_filters: int):
        self.down = down
        self.padded = torch.zeros(down * TILE + 2, across * TILE + 2, channels)
        row, column, _ = self.padded.stride()
        shape, strides = (down, across, READ, READ, channels), (TILE * row, TILE * column, row, column, 1)
        self.tiles = self.padded.as_strided(shape, strides)  # a view, in which tiles overlap
        self.inputs = torch.empty(shape)
        num_tiles = down * across
        self.transformed = torch.empty(num_tiles, READ**2, channels)
        self.outputs = torch.empty(num_tiles, TILE**2, num_filters)
        self.input_transform = _both_axes(INPUT_TRANSFORM).float().expand(num_tiles, -1, -1)  # (T, 36, 36)
        self.output_transform = _both_axes(OUTPUT_TRANSFORM).float().expand(num_tiles, -1, -1)  # (T, 16, 36)

    def read(self, x: Tensor, first_row: int) -> None:
        """Transforms the inputs, (H, W, C), of the tiles whose outputs begin at a row."""
        height, width = x.shape[:2]
        top = first_row - 1  # of the padded rows
        bottom = top + len(self.padded)
        if top < 0 or bottom > height:
            self.padded.zero_()
        first, last = max(top, 0), min(bottom, height)
        self.padded[first - top : last - top, 1 : width + 1] = x[first:last]
        self.inputs.copy_(self.tiles)
        torch.bmm(self.input_transform, self.inputs.view_as(self.transformed), out=self.transformed)

    def write(self, products: Tensor, out: Tensor) -> None:
        """Transforms the products, (T, 36, K), to outputs, (4·down, W, K)."""
        torch.bmm(self.output_transform, products, out=self.outputs)
        tiles = self.outputs.view(self.down, -1, TILE, TILE, out.shape[-1])
        out.view(self.down, TILE, -1, TILE, out.shape[-1]).copy_(tiles.transpose(1, 2))


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
        and bool(convolution.weight.isfinite().all())  # NaN stays where `prediction.finite` finds it
        and FEWEST_CHANNELS <= min(channels) <= max(channels) <= MOST_CHANNELS
    )
