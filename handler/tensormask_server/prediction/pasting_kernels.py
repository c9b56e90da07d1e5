"""Masks on the image for all detections of a batch by two kernels of a GPU (docs/NETWORK.md, section 8).

They give what `pasting.paste_masks` gives, bit for bit. One finds where the centre of each row and column of pixels
lies on a mask. The other interpolates 8 pixels in each thread and writes their bits. `batched_pasting.py` does the same
by operations of torch.
"""

import numpy as np
import torch

from tensormask_server.network.kernels import Kernels, blocks_for
from tensormask_server.network.mask_kernels import FlatMasks
from tensormask_server.network.transfers import to_device, to_host
from tensormask_server.prediction.batched_pasting import Stretching
from tensormask_server.prediction.image_masks import MaskCrop
from tensormask_server.prediction.pasting import axis_pixels

MOST_BLOCKS = 64  # of one mask's pixels; further pixels are computed by the same threads
# a product and an addition in one step would round differently than NumPy
OPTIONS = ("--fmad=false",)

SOURCE = r"""
// Block (m, ·) is of the m-th axis: the rows of all masks, then their columns. A thread is of one pixel of the axis.
extern "C" __global__ void axis_samples(
    const double* lows, const double* highs, const long long* sizes, const long long* first_pixels,
    const long long* counts, const long long* starts, int* lower, float* weights)
{
    const long long axis = blockIdx.x, sample = (long long)blockIdx.y * blockDim.x + threadIdx.x;
    if (sample >= counts[axis]) return;
    const double low = lows[axis], size = (double)sizes[axis];
    const double pixels_per_entry = (highs[axis] - low) / size;
    double position = ((double)(first_pixels[axis] + sample) + (0.5 - low)) / pixels_per_entry + 0.5;
    position = fmin(fmax(position, 0.0), size + 1.0);
    const int whole = min((int)position, (int)size);
    lower[starts[axis] + sample] = whole;
    weights[starts[axis] + sample] = (float)(position - (double)whole);
}

// An entry of a mask that has a border of zeros. Masks lie column by column.
__device__ float entry_at(const float* mask, int size, int row, int column)
{
    const bool inside = row >= 1 && column >= 1 && row <= size && column <= size;
    return inside ? mask[(column - 1) * size + row - 1] : 0.0f;
}

// Block (d, ·) is of the d-th mask, and a thread of bytes of its bits: 8 pixels, down the columns.
extern "C" __global__ void mask_bits(
    const float* probabilities, const long long* mask_starts, const long long* sizes, const float* thresholds,
    const long long* counts, const long long* starts, const int* lower, const float* weights,
    const long long* byte_starts, unsigned char* bits)
{
    const long long mask = blockIdx.x, columns_of = gridDim.x + mask;
    const int size = sizes[mask];
    const long long height = counts[mask], pixels = height * counts[columns_of], num_bytes = (pixels + 7) / 8;
    const float* entries = probabilities + mask_starts[mask];
    const float threshold = thresholds[mask];
    const long long step = (long long)gridDim.y * blockDim.x;
    for (long long byte = (long long)blockIdx.y * blockDim.x + threadIdx.x; byte < num_bytes; byte += step) {
        long long column = starts[columns_of] + 8 * byte / height;
        int row = 8 * byte % height;
        unsigned value = 0;
        for (int bit = 0; bit < 8 && 8 * byte + bit < pixels; ++bit) {
            const int v = lower[starts[mask] + row], u = lower[column];
            const float down = weights[starts[mask] + row], right = weights[column];
            const float top_left = entry_at(entries, size, v, u), top_right = entry_at(entries, size, v, u + 1);
            const float left = top_left + (entry_at(entries, size, v + 1, u) - top_left) * down;
            const float to_right = top_right + (entry_at(entries, size, v + 1, u + 1) - top_right) * down;
            if (left + (to_right - left) * right >= threshold) value |= 128u >> bit;
            if (++row == height) { row = 0; ++column; }
        }
        bits[byte_starts[mask] + byte] = value;
    }
}
"""


def lowest_on(thresholds: np.ndarray) -> np.ndarray:
    """The least probability of an entry that can be on, float32 (D,): 1e-5 is the tolerance for rounding.

    Args:
        thresholds: float64 (D,).
    """
    return np.asarray(thresholds * (1 - 1e-5), np.float32)


def paste_by_kernels(masks: FlatMasks, stretching: Stretching, kernels: Kernels) -> list[MaskCrop]:
    """Stretches each mask over its anchor on its image.

    Args:
        masks: of D detections, 1 or more.
        stretching: of the same detections.
        kernels: of SOURCE.

    Returns:
        D masks, in the order of the detections.
    """
    count = len(masks.sizes)
    [extents] = to_host([masks.extents])
    extents = np.where(np.repeat(extents[:, 1::2] > 0, 2, axis=1), extents, 0)
    x0, y0, x1, y1 = stretching.anchors.T
    rows = axis_pixels(y0, y1, masks.sizes, stretching.heights, extents[:, 0], extents[:, 1])
    columns = axis_pixels(x0, x1, masks.sizes, stretching.widths, extents[:, 2], extents[:, 3])
    firsts, counts = (np.concatenate(pair) for pair in zip(rows, columns, strict=True))
    starts = counts.cumsum() - counts
    num_bytes = -(-counts[:count] * counts[count:] // 8)
    ends = num_bytes.cumsum()
    tables = to_device(
        [
            np.concatenate((y0, x0)),
            np.concatenate((y1, x1)),
            np.tile(masks.sizes, 2),
            firsts,
            counts,
            starts,
            masks.starts,
            stretching.thresholds.astype(np.float32),
            ends - num_bytes,
        ],
        masks.probabilities.device,
    )
    lows, highs, sizes, first_pixels, counts_there, starts_there, mask_starts, thresholds, byte_starts = tables
    lower = torch.empty(int(counts.sum()), dtype=torch.int32, device=lows.device)
    weights = torch.empty(len(lower), device=lows.device)
    bits_there = torch.empty(int(ends[-1]), dtype=torch.uint8, device=lows.device)
    kernels.launch(
        "axis_samples",
        (2 * count, blocks_for(int(counts.max()))),
        (lows, highs, sizes, first_pixels, counts_there, starts_there, lower, weights),
    )
    kernels.launch(
        "mask_bits",
        (count, min(MOST_BLOCKS, blocks_for(int(num_bytes.max())))),
        (
            masks.probabilities,
            mask_starts,
            sizes,
            thresholds,
            counts_there,
            starts_there,
            lower,
            weights,
            byte_starts,
            bits_there,
        ),
    )
    [bits] = to_host([bits_there])
    numbers = np.stack((*firsts.reshape(2, -1), *counts.reshape(2, -1), ends - num_bytes, ends), axis=1).tolist()
    return [MaskCrop(top, left, height, width, bits[start:end]) for top, left, height, width, start, end in numbers]
