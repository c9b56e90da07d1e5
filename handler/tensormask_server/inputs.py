"""Images on their way into the network: checked, resized, normalised, in batches (docs/NETWORK.md, section 3)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tensormask_server.config import InputConfig


def check_images(images: Sequence[np.ndarray]) -> None:
    """
    Raises:
        ValueError: one isn't uint8 (H, W, 3).
    """
    for image in images:
        good = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
        if not good or image.shape[2] != 3 or 0 in image.shape:
            found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise ValueError(f"an image is {found}; expected uint8 (H, W, 3), RGB")


def resize_image(image: np.ndarray, options: InputConfig) -> np.ndarray:
    """Resizes to the network's size with Pillow's bilinear, as docs/NETWORK.md, section 3, says.

    Args:
        image: uint8 (H, W, 3).

    Returns:
        uint8 (h, w, 3): the shorter side MIN_SIZE_TEST, or the longer MAX_SIZE_TEST where it would pass that.
    """
    height, width = image.shape[:2]
    as_it_is = np.require(image, requirements=("C", "W"))  # torch takes no other
    new_height, new_width = resized_shape(height, width, options)
    if (new_height, new_width) == (height, width):
        return as_it_is
    return np.array(Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR))


def resized_shape(height: int, width: int, options: InputConfig) -> tuple[int, int]:
    """The height and width in pixels that `resize_image` gives an image of this height and width."""
    if options.min_size == 0:
        return height, width
    shorter = min(height, width)
    new_height, new_width = (
        float(options.min_size) if side == shorter else options.min_size / shorter * side for side in (height, width)
    )
    longer = max(new_height, new_width)
    if longer > options.max_size:
        new_height, new_width = (side * (options.max_size / longer) for side in (new_height, new_width))
    # an image far longer than it is wide would be left with no pixels
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


def same_shaped(inputs: list[np.ndarray], stride: int, largest: int) -> Iterator[list[int]]:
    """The images' indices in groups of one shape once padded, none of more than `largest`."""
    groups: dict[tuple[int, int], list[int]] = {}
    for i, image in enumerate(inputs):
        groups.setdefault(_padded_shape(image, stride), []).append(i)
    for group in groups.values():
        for start in range(0, len(group), largest):
            yield group[start : start + largest]


def normalised(images: Sequence[np.ndarray], options: InputConfig, stride: int, device: torch.device) -> Tensor:
    """
    Args:
        images: resized, of one shape once padded, each uint8 (h, w, 3), RGB.
        stride: what both sides are padded to a multiple of.

    Returns:
        float32 (N, 3, H, W) on the device, with channels last in memory and in INPUT.FORMAT's order, padded with zeros
        right and bottom.
    """
    return torch.stack([_normalised(each, options, stride, device) for each in images]).permute(0, 3, 1, 2)


def _normalised(image: np.ndarray, options: InputConfig, stride: int, device: torch.device) -> Tensor:
    """float32 (H, W, 3)"""
    pixels = torch.from_numpy(image).to(device)
    pixels = (pixels.flip(2) if options.format == "BGR" else pixels).float()
    mean, std = (pixels.new_tensor(each) for each in (options.pixel_mean, options.pixel_std))
    height, width = image.shape[:2]
    padded_height, padded_width = _padded_shape(image, stride)
    return nn.functional.pad((pixels - mean) / std, (0, 0, 0, padded_width - width, 0, padded_height - height))


def _padded_shape(image: np.ndarray, stride: int) -> tuple[int, int]:
    height, width = (-(-side // stride) * stride for side in image.shape[:2])
    return height, width
