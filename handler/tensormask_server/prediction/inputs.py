"""From images to the network's input: check, resize, group, normalise and pad (docs/NETWORK.md, section 3)."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tensormask_server.images.large import LargeImage
from tensormask_server.network.config import InputConfig


def check_images(images: Sequence[np.ndarray | LargeImage]) -> None:
    """
    Raises:
        ValueError: an image isn't uint8 (H, W, 3).
    """
    for image in images:
        if isinstance(image, LargeImage):
            continue
        good = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
        if not good or image.shape[2] != 3 or 0 in image.shape:
            found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise ValueError(f"an image is {found}; expected uint8 (H, W, 3), RGB")


def resize_image(image: np.ndarray | LargeImage, config: InputConfig) -> np.ndarray:
    """Resizes an image to the network's input size with Pillow's bilinear filter.

    Args:
        image: uint8 (H, W, 3), RGB.

    Returns:
        uint8 (h, w, 3), with h and w from `resized_shape`. The image itself if it has this size already.
    """
    height, width = image.shape[:2]
    new_height, new_width = resized_shape(height, width, config)
    if isinstance(image, LargeImage):
        return image.resized(new_height, new_width)
    contiguous = np.require(image, requirements=("C", "W"))  # torch takes no other arrays
    if (new_height, new_width) == (height, width):
        return contiguous
    return np.array(Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR))


def resized_shape(height: int, width: int, config: InputConfig) -> tuple[int, int]:
    """The height and width in pixels that `resize_image` gives an image of this height and width.

    The shorter side becomes MIN_SIZE_TEST. If the longer side would be above MAX_SIZE_TEST, it becomes that instead.
    If MIN_SIZE_TEST is 0, the size stays.
    """
    if config.min_size == 0:
        return height, width
    shorter = min(height, width)
    new_height, new_width = (
        float(config.min_size) if side == shorter else config.min_size / shorter * side for side in (height, width)
    )
    longer = max(new_height, new_width)
    if longer > config.max_size:
        new_height, new_width = (side * (config.max_size / longer) for side in (new_height, new_width))
    # the shorter side of a very long image would be rounded to 0 pixels
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


def unreduced_side(config: InputConfig) -> int:
    """The side in pixels of the largest square that `resize_image` doesn't reduce.

    If MIN_SIZE_TEST is 0, nothing is reduced. Then it is MAX_SIZE_TEST, which is nearest to what the network was made
    for.
    """
    return min(config.min_size, config.max_size) if config.min_size else config.max_size


class Shaped(Protocol):
    """An image, or what only has its shape."""

    @property
    def shape(self) -> tuple[int, ...]: ...


def group_by_padded_shape(images: Sequence[Shaped], stride: int, batch_size: int) -> Iterator[list[int]]:
    """Groups the indices of images that have one shape once each is padded to a multiple of the stride.

    Args:
        images: each (h, w, 3).
        batch_size: the most images in a group.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for i, image in enumerate(images):
        groups.setdefault(padded_shape([image], stride), []).append(i)
    for group in groups.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def normalised_batch(images: Sequence[np.ndarray], config: InputConfig, stride: int, device: torch.device) -> Tensor:
    """Normalises images and pads them with zeros to one shape, at their right and bottom.

    Args:
        images: N resized images, each uint8 (h, w, 3), RGB, contiguous.
        config: PIXEL_MEAN, PIXEL_STD and the order of the channels, INPUT.FORMAT.
        stride: H and W of the batch are multiples of it.

    Returns:
        float32 (N, 3, H, W) on the device, in the order of INPUT.FORMAT, channels last in memory.
    """
    batch = torch.zeros(len(images), *padded_shape(images, stride), 3, device=device)
    mean, std = (batch.new_tensor(each) for each in (config.pixel_mean, config.pixel_std))
    for padded, image in zip(batch, images, strict=True):
        pixels = torch.from_numpy(image).to(device)
        if config.format == "BGR":
            pixels = pixels.flip(2)
        padded[: image.shape[0], : image.shape[1]] = (pixels.float() - mean) / std
    return batch.permute(0, 3, 1, 2)


def padded_shape(images: Sequence[Shaped], stride: int) -> tuple[int, int]:
    """The smallest multiples of the stride that are as high and as wide as each of the images."""
    height, width = (-(-max(image.shape[axis] for image in images) // stride) * stride for axis in (0, 1))
    return height, width
