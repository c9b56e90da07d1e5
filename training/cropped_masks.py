"""Masks as what is inside their boxes: quicker to resize, to flip and to pack than whole images of mostly zeros."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

MARGIN = 2  # pixels, of the mask or of the result, around what is resized: twice as far as the filter looks
HALF = 127  # of 255; exactly half is rounded down or up
NUM_BITS = 8  # of a byte


@dataclass(frozen=True)
class CroppedMask:
    """A mask of an image: zero outside of its box."""

    pixels: np.ndarray  # bool (h, w), of the box; without a pixel (0, 0)
    top: int
    left: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0 y0 x1 y1."""
        height, width = self.pixels.shape
        return self.left, self.top, self.left + width, self.top + height

    def flipped(self, width: int) -> "CroppedMask":
        """The mask of the image's mirror image, left for right. `width` is the image's."""
        return CroppedMask(self.pixels[:, ::-1], self.top, width - self.left - self.pixels.shape[1])

    def bits(self, height: int, width: int) -> np.ndarray:
        """The mask of the whole image with 8 pixels to a byte, uint8 (height, ⌈width/8⌉), as numpy.packbits."""
        packed = np.zeros((height, -(-width // NUM_BITS)), np.uint8)
        first, before = divmod(self.left, NUM_BITS)
        aligned = np.pad(self.pixels, ((0, 0), (before, 0)))
        of_box = np.packbits(aligned, axis=1)
        packed[self.top : self.top + len(of_box), first : first + of_box.shape[1]] = of_box
        return packed


def resized_mask(mask: np.ndarray, height: int, width: int) -> CroppedMask:
    """A mask at another size, with Pillow's bilinear filter: on where at least about half of it is.

    Args:
        mask: uint8 (H, W) of 0 or 1.
    """
    whole = _cropped(mask > 0)
    if mask.shape == (height, width) or not whole.pixels.size:
        return whole
    scales = np.array((height, width)) / mask.shape
    margins = MARGIN * np.maximum(scales, 1)
    x0, y0, x1, y1 = whole.box
    low = np.maximum(np.floor(scales * (y0, x0) - margins).astype(int), 0)
    high = np.minimum(np.ceil(scales * (y1, x1) + margins).astype(int), (height, width))
    # in pixels of the mask, where the part of the result begins and ends
    top, left = low / scales
    bottom, right = np.minimum(high / scales, mask.shape)
    scaled = Image.fromarray(mask * 255).resize(
        (int(high[1] - low[1]), int(high[0] - low[0])), Image.Resampling.BILINEAR, (left, top, right, bottom)
    )
    part = _cropped(np.asarray(scaled) >= HALF)
    return CroppedMask(part.pixels, part.top + int(low[0]), part.left + int(low[1]))


def _cropped(mask: np.ndarray) -> CroppedMask:
    """Of a bool (H, W)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return CroppedMask(mask[:0, :0], 0, 0)
    top, left = int(rows[0]), int(columns[0])
    return CroppedMask(mask[top : rows[-1] + 1, left : columns[-1] + 1], top, left)
