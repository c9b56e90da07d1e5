"""A kernel that normalises a batch of images, which takes ten operations of torch (docs/NETWORK.md, section 3)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tensormask_server.network.kernels import Kernels, blocks_for
from tensormask_server.network.stored_numbers import SOURCE as STORED_NUMBERS
from tensormask_server.network.transfers import to_device

# a division by a product with the reciprocal would round differently than torch's operations
OPTIONS = ("--fmad=false", "--prec-div=true")

SOURCE = (
    STORED_NUMBERS
    + r"""
// A thread is of one pixel. sizes: each image's height and width; beyond them are zeros.
extern "C" __global__ void normalise(
    const unsigned char* pixels, const long long* sizes, const float* mean, const float* std, stored* out,
    long long num, long long height, long long width, long long is_bgr)
{
    const long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= num * height * width) return;
    const long long x = thread % width, y = thread / width % height, image = thread / width / height;
    const bool inside = y < sizes[2 * image] && x < sizes[2 * image + 1];
    for (int channel = 0; channel < 3; ++channel) {
        const float value = pixels[3 * thread + (is_bgr ? 2 - channel : channel)];
        out[3 * thread + channel] = from_float(inside ? (value - mean[channel]) / std[channel] : 0.0f);
    }
}
"""
)


def normalised_by_kernel(
    pixels: Tensor,
    images: Sequence[np.ndarray],
    mean: Tensor,
    std: Tensor,
    is_bgr: bool,
    dtype: torch.dtype,
    kernels: Kernels,
) -> Tensor:
    """
    Args:
        pixels: uint8 (N, H, W, 3), RGB, on the device.
        images: N, whose shapes say which of the pixels are an image's.
        mean, std: float32 (3,), on the device, in the order of the result's channels.
        is_bgr: whether the result's first channel is blue.
        dtype: of the result.
        kernels: of SOURCE, for this dtype.

    Returns:
        (N, 3, H, W), with channels last in memory, and zeros where an image has no pixels.
    """
    num, height, width, _ = pixels.shape
    [sizes] = to_device([np.array([image.shape[:2] for image in images], np.int64)], pixels.device)
    out = torch.empty(num, height, width, 3, dtype=dtype, device=pixels.device)
    arguments = pixels, sizes, mean, std, out, num, height, width, int(is_bgr)
    kernels.launch("normalise", (blocks_for(num * height * width), 1), arguments)
    return out.permute(0, 3, 1, 2)
