"""The masks of a batch's detections by three kernels of a GPU (docs/NETWORK.md, section 5).

The first adds the upsampled mask tower of a level to the finest one. The second averages the features between
neighbours and lays them out channel by channel, as the threads of the third read them. The third computes each entry of
each mask with one thread: it multiplies the features with the weights of up to 4 entries of the aligned representation,
and interpolates. It also finds which rows and columns of a mask have entries that can be on. `batched_masks.py` does
the same by operations of torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tensormask_server.network.align import PAD_VALUE, first_tap
from tensormask_server.network.batched_masks import FlatCells
from tensormask_server.network.batched_selection import HostCandidates
from tensormask_server.network.head import TensorMaskHead
from tensormask_server.network.kernels import Kernels, blocks_for
from tensormask_server.network.stored_numbers import SOURCE as STORED_NUMBERS
from tensormask_server.network.stored_numbers import VECTOR
from tensormask_server.network.transfers import to_device

SOURCE = (
    STORED_NUMBERS
    + r"""
// (num, height, width, channels) = finest + coarse, upsampled bilinearly by the scale
extern "C" __global__ void add_upsampled(
    const stored* finest, const stored* coarse, stored* sum, long long num, long long height, long long width,
    long long channels, long long coarse_height, long long coarse_width, long long scale)
{
    const long long vectors = channels / 8;
    const long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= num * height * width * vectors) return;
    const long long vector = thread % vectors, cell = thread / vectors;
    const int x = cell % width, y = cell / width % height;
    const long long image = cell / width / height;
    const float from_y = fmaxf((y + 0.5f) / scale - 0.5f, 0.0f), from_x = fmaxf((x + 0.5f) / scale - 0.5f, 0.0f);
    const int low_y = (int)from_y, low_x = (int)from_x;
    const int high_y = min(low_y + 1, (int)coarse_height - 1), high_x = min(low_x + 1, (int)coarse_width - 1);
    const float down = from_y - low_y, right = from_x - low_x;
    const Eight* of_image = (const Eight*)coarse + image * coarse_height * coarse_width * vectors + vector;
    const Eight top_left = of_image[(low_y * coarse_width + low_x) * vectors];
    const Eight top_right = of_image[(low_y * coarse_width + high_x) * vectors];
    const Eight bottom_left = of_image[(high_y * coarse_width + low_x) * vectors];
    const Eight bottom_right = of_image[(high_y * coarse_width + high_x) * vectors];
    const Eight fine = ((const Eight*)finest)[thread];
    Eight out;
    for (int i = 0; i < 8; ++i) {
        const float top = (1 - right) * to_float(top_left.values[i]) + right * to_float(top_right.values[i]);
        const float bottom = (1 - right) * to_float(bottom_left.values[i]) + right * to_float(bottom_right.values[i]);
        out.values[i] = from_float(to_float(fine.values[i]) + (1 - down) * top + down * bottom);
    }
    ((Eight*)sum)[thread] = out;
}

// The features (num, height, width, channels) as float32 planes (num, channels, width + between, height + between).
// With `between` index p+1 has the mean of the positions p and p+1 along both axes, where those outside count as 0.
extern "C" __global__ void feature_planes(
    const stored* features, float* planes, long long num, long long height, long long width, long long channels,
    long long between)
{
    const long long rows = height + between, columns = width + between, vectors = channels / 8;
    const long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= num * vectors * columns * rows) return;
    const int row = thread % rows, column = thread / rows % columns, vector = thread / rows / columns % vectors;
    const long long image = thread / rows / columns / vectors;
    float sums[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int y = row - between; y <= row; ++y)
        for (int x = column - between; x <= column; ++x) {
            if (y < 0 || x < 0 || y >= height || x >= width) continue;
            const Eight some = ((const Eight*)features)[((image * height + y) * width + x) * vectors + vector];
            for (int i = 0; i < 8; ++i) sums[i] += to_float(some.values[i]);
        }
    float* out = planes + ((image * channels + 8 * vector) * columns + column) * rows + row;
    for (int i = 0; i < 8; ++i) out[i * columns * rows] = between ? sums[i] / 4 : sums[i];
}

// The masks of a level and an anchor size, column by column. Block (d, ·) is of the group's d-th detection, and a
// thread of one entry. windows: per detection its number, its image, and where in the planes its first entry lies.
extern "C" __global__ void mask_entries(
    const float* planes, const float* weights, const float* biases, const long long* windows, const long long* starts,
    const float* lowest, float* probabilities, long long* extents, long long channels, long long height,
    long long width, long long mask_size, long long scale, long long between, float offset)
{
    const int side = mask_size * scale;
    const int entry = blockIdx.y * blockDim.x + threadIdx.x;
    if (entry >= side * side) return;
    const int row = entry % side, column = entry / side;
    const long long* window = windows + 4 * (long long)blockIdx.x;
    const long long detection = window[0], rows = height + between, columns = width + between;
    const int y = window[2] + row, x = window[3] + column;
    float logit = 0;
    if (y >= 0 && x >= 0 && y < rows && x < columns) {
        const float* at = planes + (window[1] * channels * columns + x) * rows + y;
        const long long step = rows * columns;
        // the entry lies at (2·row + 1 − scale) / (2·scale) between those of the aligned representation
        const int twice = 2 * scale, at_y = 2 * row + 1 - scale, at_x = 2 * column + 1 - scale;
        const int v = (at_y + twice) / twice - 1, u = (at_x + twice) / twice - 1;  // rounded down, −1 or more
        const float down = (at_y - v * twice) / (float)twice, right = (at_x - u * twice) / (float)twice;
        float shares[4] = {(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right};
        // how much of the mean is inside the map, and so has a bias
        const float inside = between ? ((y > 0) + (y < height)) * ((x > 0) + (x < width)) / 4.0f : 1.0f;
        const float4* of_taps[4];
        float products[4];
        for (int tap = 0; tap < 4; ++tap) {
            const int tap_v = v + tap / 2, tap_u = u + tap % 2;
            const bool exists = tap_v >= 0 && tap_u >= 0 && tap_v < mask_size && tap_u < mask_size;
            const long long tap_entry = exists ? tap_v * mask_size + tap_u : 0;
            if (!exists) shares[tap] = 0;
            of_taps[tap] = (const float4*)(weights + tap_entry * channels);
            products[tap] = inside * biases[tap_entry];
        }
        if (scale == 1) {  // one of them has all
            for (int channel = 0; channel < channels; channel += 4) {
                const float4 weight = of_taps[0][channel / 4];
                products[0] += at[channel * step] * weight.x + at[(channel + 1) * step] * weight.y +
                               at[(channel + 2) * step] * weight.z + at[(channel + 3) * step] * weight.w;
            }
            logit = shares[0] * products[0];
        } else {
            for (int channel = 0; channel < channels; channel += 4) {
                const float a = at[channel * step], b = at[(channel + 1) * step];
                const float c = at[(channel + 2) * step], d = at[(channel + 3) * step];
                for (int tap = 0; tap < 4; ++tap) {
                    const float4 weight = of_taps[tap][channel / 4];
                    products[tap] += a * weight.x + b * weight.y + c * weight.z + d * weight.w;
                }
            }
            for (int tap = 0; tap < 4; ++tap) logit += shares[tap] * products[tap];
        }
    }
    const float probability = 1 / (1 + expf(-(logit + offset)));
    probabilities[starts[detection] + entry] = probability;
    if (probability >= lowest[detection]) {
        long long* extent = extents + 4 * detection;  // rows from and to, columns from and to
        // most entries change nothing, and an atomic operation is slow
        if (row < *(volatile long long*)extent) atomicMin(extent, (long long)row);
        if (row + 1 > *(volatile long long*)(extent + 1)) atomicMax(extent + 1, (long long)(row + 1));
        if (column < *(volatile long long*)(extent + 2)) atomicMin(extent + 2, (long long)column);
        if (column + 1 > *(volatile long long*)(extent + 3)) atomicMax(extent + 3, (long long)(column + 1));
    }
}
"""
)


@dataclass(frozen=True)
class FlatMasks:
    """The masks of D detections one after the other, column by column."""

    probabilities: Tensor  # float32, on the device
    sizes: np.ndarray  # int64 (D,): of each mask, M
    starts: np.ndarray  # int64 (D,): of each mask in `probabilities`
    # int64 (D, 4), on the device: the first row with an entry that can be on, the one after the last, and the columns
    # alike. Without any the first is M, and the other one 0.
    extents: Tensor


class KernelMasks:
    """Makes the masks of a network's detections. It keeps a copy of the weights of the head's 1×1 convolutions."""

    def __init__(self, head: TensorMaskHead, kernels: Kernels):
        """
        Args:
            head: with its weights, on its device, with aligned masks and a multiple of VECTOR channels.
            kernels: of SOURCE, for the dtype of the mask tower.
        """
        self.head = head
        self.kernels = kernels
        pairs = [head.mask_pred(i) for i in range(len(head.mask_sizes))]
        # per anchor size float32 (V·V, C) and (V·V,), relative to PAD_VALUE, which stands for what is outside
        self._weights = [
            (weight.detach().float().flatten(1).contiguous(), bias.detach().float() - PAD_VALUE)
            for weight, bias in pairs
        ]

    def __call__(self, towers: Sequence[Tensor], detections: Sequence[HostCandidates], lowest: np.ndarray) -> FlatMasks:
        """
        Args:
            towers: per level the mask tower's output, (N, MASK_CHANNELS, H, W).
            detections: of each of the N images, D together, 1 or more.
            lowest: float32 (D,), the least probability of an entry that can be on.
        """
        flat = FlatCells.of(detections, 0, self.head)
        shapes = [(tower.shape[2], tower.shape[3]) for tower in towers]
        of_size = np.array(self.head.mask_sizes)[flat.size_indices]
        sizes = of_size * np.array([self.head.mask_scale(level) for level in range(len(towers))])[flat.levels]
        ends = np.cumsum(sizes**2)
        starts = ends - sizes**2
        groups = list(flat.groups())
        windows = [self._windows(flat, *group) for group in groups]
        unknown = np.stack((sizes, np.zeros_like(sizes)) * 2, axis=1)  # extents
        device = towers[0].device
        starts_there, lowest_there, extents, *windows_there = to_device([starts, lowest, unknown, *windows], device)
        probabilities = torch.empty(int(ends[-1]), device=device)
        features: dict[int, Tensor] = {}  # the latest level's
        planes: dict[tuple[int, int], Tensor] = {}  # likewise; by whether they lie between neighbours
        for (level, size_index, members), window in zip(groups, windows_there, strict=True):
            scale, mask_size = self.head.mask_scale(level), self.head.mask_sizes[size_index]
            between = _is_between(scale, mask_size)
            if level not in features:
                features, planes = {level: self._features(towers, level)}, {}
            if (level, between) not in planes:
                planes = {(level, between): self._planes(features[level], between)}
            self.kernels.launch(
                "mask_entries",
                (len(members), blocks_for((scale * mask_size) ** 2)),
                (
                    planes[level, between],
                    *self._weights[size_index],
                    window,
                    starts_there,
                    lowest_there,
                    probabilities,
                    extents,
                    self.head.config.mask_channels,
                    *self.head.mask_map_shape(level, shapes),
                    mask_size,
                    scale,
                    between,
                    PAD_VALUE,
                ),
            )
        return FlatMasks(probabilities, sizes, starts, extents)

    def _windows(self, flat: FlatCells, level: int, size_index: int, members: np.ndarray) -> np.ndarray:
        """int64 (D, 4), of the kernel `mask_entries`."""
        scale, mask_size = self.head.mask_scale(level), self.head.mask_sizes[size_index]
        first, _ = first_tap(scale, mask_size)
        first += _is_between(scale, mask_size)  # where the index of a position between neighbours is one more
        cells = (scale * each[members] + first for each in (flat.y, flat.x))
        return np.stack((members, flat.images[members], *cells), axis=1)

    def _features(self, towers: Sequence[Tensor], level: int) -> Tensor:
        """The input of the 1×1 convolutions for a level's mask map: (N, MASK_CHANNELS, H, W), with channels last."""
        if not self.head.config.bipyramid_on:
            return towers[level].contiguous(memory_format=torch.channels_last)
        finest, coarse = (towers[i].contiguous(memory_format=torch.channels_last) for i in (0, level))
        num, channels, height, width = finest.shape
        fused = torch.empty_like(finest)
        numbers = (num, height, width, channels, *coarse.shape[2:], self.head.mask_scale(level))
        blocks = blocks_for(finest.numel() // VECTOR)
        self.kernels.launch("add_upsampled", (blocks, 1), (finest, coarse, fused, *numbers))
        features: Tensor = self.head.mask_fuse(fused)
        return features.contiguous(memory_format=torch.channels_last)

    def _planes(self, features: Tensor, between: int) -> Tensor:
        """The features as the kernel `mask_entries` reads them, float32 (N, C, W or W+1, H or H+1)."""
        num, channels, height, width = features.shape
        planes = torch.empty(num, channels, width + between, height + between, device=features.device)
        numbers = (num, height, width, channels, between)
        self.kernels.launch("feature_planes", (blocks_for(planes.numel() // VECTOR), 1), (features, planes, *numbers))
        return planes


def _is_between(scale: int, mask_size: int) -> int:
    """1 if masks sample the map halfway between neighbours, or 0 at the neighbours themselves."""
    return int(first_tap(scale, mask_size)[1] > 0)


def has_kernels(head: TensorMaskHead) -> bool:
    """Whether the kernels can make a head's masks."""
    config = head.config
    return config.mask_on and config.aligned_on and config.mask_channels % VECTOR == 0
