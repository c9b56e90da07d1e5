"""Copies between the host and a device, many arrays in one copy. All of the batched path's copies go through here."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

ALIGNMENT = 8  # bytes: of the widest number
DTYPES = {
    np.dtype(np.uint8): torch.uint8,
    np.dtype(bool): torch.bool,
    np.dtype(np.int64): torch.int64,
    np.dtype(np.float32): torch.float32,
    np.dtype(np.float64): torch.float64,
}
LOWEST_BIT_FIRST = np.left_shift(1, np.arange(8)).astype(np.uint8)
HIGHEST_BIT_FIRST = LOWEST_BIT_FIRST[::-1].copy()  # as numpy.packbits


def to_device(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Copies arrays to a device in one copy. A GPU copies while the host goes on.

    Args:
        arrays: of any shapes, and of dtypes in DTYPES.

    Returns:
        Per array a tensor of its shape and dtype. The tensors share memory.
    """
    ends = np.cumsum([0, *(-(-each.nbytes // ALIGNMENT) * ALIGNMENT for each in arrays)]).tolist()
    memory = _host_memory(max(ends[-1], ALIGNMENT), device)  # memory without a byte can't be viewed as another dtype
    bytes_of = memory.numpy()
    for start, each in zip(ends, arrays, strict=False):
        bytes_of[start : start + each.nbytes] = np.ascontiguousarray(each).reshape(-1).view(np.uint8)
    there = memory.to(device, non_blocking=True)
    return [
        there[start : start + each.nbytes].view(DTYPES[each.dtype]).view(each.shape)
        for start, each in zip(ends, arrays, strict=False)
    ]


def images_to_device(images: Sequence[np.ndarray], height: int, width: int, device: torch.device) -> Tensor:
    """Copies images into one tensor, each to its upper left corner.

    Args:
        images: N, each uint8 (h, w, 3), not larger than height and width.

    Returns:
        uint8 (N, height, width, 3). Where an image has no pixels, the numbers are undefined.
    """
    memory = _host_memory(len(images) * height * width * 3, device).view(len(images), height, width, 3)
    for of_image, image in zip(memory, images, strict=True):
        of_image[: image.shape[0], : image.shape[1]] = torch.from_numpy(image)  # by several threads, if it is large
    return memory.to(device, non_blocking=True)


def to_host(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """Copies tensors of one device to the host in one copy, and waits for it.

    Args:
        tensors: of any shapes, and of dtypes in DTYPES. Those with wider numbers come first, so that all are aligned.

    Returns:
        Per tensor an array of its shape and dtype. The arrays share memory.
    """
    parts = [each.contiguous().view(-1).view(torch.uint8) for each in tensors]
    flat = torch.cat(parts) if len(parts) > 1 else parts[0]
    if flat.device.type == "cuda":
        memory = _host_memory(flat.numel(), flat.device)
        memory.copy_(flat, non_blocking=True)
        torch.cuda.current_stream(flat.device).synchronize()
        flat = memory
    bytes_of = flat.cpu().numpy()
    dtypes = {there: here for here, there in DTYPES.items()}
    arrays, start = [], 0
    for each in tensors:
        end = start + each.numel() * each.element_size()
        arrays.append(bytes_of[start:end].view(dtypes[each.dtype]).reshape(each.shape))
        start = end
    return arrays


def packed_bits(values: Tensor, bit_values: Tensor) -> Tensor:
    """Packs 8 values to a byte: bool (…, 8·B) to uint8 (…, B).

    Args:
        bit_values: LOWEST_BIT_FIRST or HIGHEST_BIT_FIRST, on the values' device.
    """
    return (values.view(*values.shape[:-1], values.shape[-1] // 8, 8) * bit_values).sum(dim=-1, dtype=torch.uint8)


def _host_memory(num_bytes: int, device: torch.device) -> Tensor:
    """Memory on the host, uint8. For a GPU it is pinned, so that the GPU copies from it; torch keeps it for reuse."""
    if device.type == "cuda":
        return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)
    return torch.from_numpy(np.empty(num_bytes, np.uint8))
