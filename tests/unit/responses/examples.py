"""A result whose masks have every kind of shape, and masks for property tests."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from tensormask_server import Detections
from tensormask_server.prediction.image_masks import ImageMasks, MaskCrop
from tensormask_server.responses.options import ResponseOptions
from tensormask_server.responses.result import Model, Result

CLASS_NAMES = ("ant", "cat", "hot dog")


def shapes(with_masks: bool = True, **response: Any) -> Result:
    """Rectangles, ellipses, two in two pieces, one with a hole, one empty, one of a pixel, over one another."""
    random = np.random.default_rng(3)
    masks = np.zeros((9, 50, 70), bool)
    for mask in masks[:6]:
        drawn = Image.new("1", (70, 50))
        draw = ImageDraw.Draw(drawn)
        for _ in range(random.integers(1, 3)):
            x, y = random.integers(-5, 50), random.integers(-5, 40)
            draw.ellipse((x, y, x + random.integers(1, 40), y + random.integers(1, 40)), fill=1)
        mask[:] = np.array(drawn)
    masks[6, 10:40, 10:60], masks[6, 20:30, 30:40] = True, False
    masks[8, 49, 69] = True
    detections = Detections.of_masks(
        boxes=random.random((9, 4), np.float32) * 20 + np.array([0, 0, 30, 30], np.float32),
        scores=np.linspace(0.9, 0.1, 9, dtype=np.float32),
        classes=np.arange(9) % 3,
        masks=masks if with_masks else None,
    )
    image = random.integers(0, 256, (50, 70, 3), np.uint8)
    return Result(image, detections, Model("small", CLASS_NAMES, "0123abcd"), response=ResponseOptions(**response))


KINDS = ("ellipses", "lines", "noise", "blocks", "ring", "pixel", "whole", "empty")


def random_mask(kind: str, seed: int) -> np.ndarray:
    """A mask of one kind, bool (H, W), at most 90 pixels a side."""
    random = np.random.default_rng(seed)
    height, width = random.integers(5, 90, 2)
    drawn = Image.new("1", (int(width), int(height)))
    draw = ImageDraw.Draw(drawn)
    if kind == "ellipses":
        for _ in range(random.integers(1, 6)):
            x, y = random.integers(-20, width), random.integers(-20, height)
            draw.ellipse(
                (x, y, x + random.integers(1, 60), y + random.integers(1, 60)), fill=int(random.random() > 0.3)
            )
    elif kind == "lines":
        for _ in range(random.integers(1, 6)):
            ends = [(int(random.integers(width)), int(random.integers(height))) for _ in range(2)]
            draw.line(ends, fill=1, width=int(random.integers(1, 4)))
    elif kind == "ring":
        side = int(min(height, width)) - 1
        draw.ellipse((0, 0, side, side), fill=1)
        draw.ellipse((side // 4, side // 4, side // 2, side // 2), fill=0)
        draw.point((side // 3, side // 3), fill=1)  # an island in the hole
    elif kind == "pixel":
        draw.point((int(random.integers(width)), int(random.integers(height))), fill=1)
    mask = np.array(drawn)
    if kind == "noise":
        mask = random.random((height, width)) > random.random()
    elif kind == "blocks":
        mask = np.kron(random.random((height // 5, width // 5)) > 0.5, np.ones((5, 5))) > 0
    elif kind == "whole":
        mask[:] = True
    return mask


def loose_crop(mask: np.ndarray, seed: int) -> MaskCrop:
    """The crop of a mask with pixels that are off around it, as the network's masks have them."""
    tight = MaskCrop.of_mask(mask)
    height, width = mask.shape
    random = np.random.default_rng(seed)
    top, left = random.integers(0, tight.top + 1), random.integers(0, tight.left + 1)
    bottom = random.integers(tight.top + tight.height, height + 1)
    right = random.integers(tight.left + tight.width, width + 1)
    return MaskCrop.of_columns(int(top), int(left), mask[top:bottom, left:right].T)


def result_of(mask: np.ndarray, seed: int = 0, score: float = 0.5, **response: Any) -> Result:
    """A result with one instance, in a loose crop of its mask."""
    detections = Detections(
        np.array([[1, 2, 4, 4.5]], np.float32),
        np.array([score], np.float32),
        np.zeros(1, np.int64),
        ImageMasks(len(mask), mask.shape[1], [loose_crop(mask, seed)]),
    )
    image = np.random.default_rng(seed).integers(0, 256, (*mask.shape, 3), np.uint8)
    return Result(image, detections, Model("small", CLASS_NAMES, ""), response=ResponseOptions(**response))


def even_odd(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels of an image whose centres are inside of a polygon by the even-odd rule.

    Args:
        points: float64 (n, 2): x, y in pixels, where the centre of the first pixel is at 0.5, 0.5.
        size: height and width of the image.

    Returns:
        bool (H, W).
    """
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    inside = np.zeros(size, bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return inside
