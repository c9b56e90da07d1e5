"""Masks of an image's size. Each is stored as the rectangle around it, one bit per pixel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

MOST_PIXELS = 1 << 32  # of the rectangles around an image's masks together: 512 MiB of bits


class LargeMasksError(ValueError):
    """The masks of an image would take too much memory."""

    def __init__(self) -> None:
        self.found = f"the masks span more than {MOST_PIXELS} pixels together"
        self.expected = "a higher score_threshold, fewer max_detections, or a tile_whole of false"
        super().__init__(f"{self.found}; expected {self.expected}")


def check_pixels(pixels: int) -> None:
    """Checks how many pixels the rectangles around an image's masks have together.

    Raises:
        LargeMasksError: more than MOST_PIXELS.
    """
    if pixels > MOST_PIXELS:
        raise LargeMasksError


@dataclass(frozen=True)
class MaskCrop:
    """One mask on an image, cropped to a rectangle. Pixels outside of the rectangle are off."""

    top: int  # the rectangle's first row and column
    left: int
    height: int
    width: int
    bits: np.ndarray  # uint8: the rectangle's pixels, column by column, packed by numpy.packbits

    @classmethod
    def of_columns(cls, top: int, left: int, columns: np.ndarray) -> "MaskCrop":
        """Makes a crop from the pixels of its rectangle.

        Args:
            top, left: the rectangle's first row and column on the image.
            columns: bool (w, h): the rectangle, transposed.
        """
        width, height = columns.shape
        return cls(top, left, height, width, np.packbits(columns))

    @classmethod
    def of_mask(cls, mask: np.ndarray) -> "MaskCrop":
        """Crops a mask to the smallest rectangle that has all pixels that are on.

        Args:
            mask: bool (H, W).
        """
        rows = _extent(mask, axis=0)
        columns = _extent(mask[rows], axis=1)
        return cls.of_columns(rows.start, columns.start, mask[rows, columns].T)

    @property
    def columns(self) -> np.ndarray:
        """bool (w, h): the rectangle, transposed. Run lengths go through an image column by column, too."""
        pixels = np.unpackbits(self.bits, count=self.width * self.height)
        return pixels.view(bool).reshape(self.width, self.height)

    @property
    def pixels(self) -> np.ndarray:
        """bool (h, w): the rectangle."""
        return self.columns.T

    @property
    def pixels_spanned(self) -> int:
        """How many pixels the rectangle has."""
        return self.height * self.width

    @property
    def area(self) -> int:
        """How many pixels are on."""
        return int(np.bitwise_count(self.bits).sum())

    def part(self, rows: slice, columns: slice) -> np.ndarray:
        """bool (w, h): the mask in a rectangle of the image, transposed. Only the rectangle's columns are unpacked.

        Args:
            rows, columns: of the image, within the crop's own.
        """
        first, count = (columns.start - self.left) * self.height, (columns.stop - columns.start) * self.height
        start = first // 8
        unpacked = np.unpackbits(self.bits[start : -(-(first + count) // 8)])[first - 8 * start :][:count]
        top = rows.start - self.top
        return unpacked.view(bool).reshape(-1, self.height)[:, top : top + rows.stop - rows.start]

    @property
    def place(self) -> tuple[slice, slice]:
        """The rectangle's rows and columns on the image: `mask[crop.place]` is the rectangle of a dense mask."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class ImageMasks:
    """The masks of N instances on an image of H×W pixels."""

    height: int
    width: int
    crops: Sequence[MaskCrop]  # N

    @classmethod
    def of_masks(cls, masks: np.ndarray) -> "ImageMasks":
        """Crops dense masks.

        Args:
            masks: bool (N, H, W).
        """
        height, width = masks.shape[1:]
        return cls(height, width, [MaskCrop.of_mask(mask) for mask in masks])

    def __len__(self) -> int:
        return len(self.crops)

    def __iter__(self) -> Iterator[MaskCrop]:
        return iter(self.crops)

    def dense(self) -> np.ndarray:
        """bool (N, H, W): all masks. They take N·H·W bytes; `dense_mask` makes one at a time."""
        # zeros: the system gives no memory to pages that no crop writes to
        masks = np.zeros((len(self), self.height, self.width), bool)
        for mask, crop in zip(masks, self.crops, strict=True):
            mask[crop.place] = crop.pixels
        return masks

    def dense_mask(self, index: int) -> np.ndarray:
        """bool (H, W): one mask."""
        mask = np.zeros((self.height, self.width), bool)
        crop = self.crops[index]
        mask[crop.place] = crop.pixels
        return mask


def extents_of(on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bool (N, M) to int64 (N,) twice: each row's first entry that is on, and the one after the last; else 0, 0."""
    start = on.argmax(axis=1)
    stop = on.shape[1] - on[:, ::-1].argmax(axis=1)
    return start, np.where(on.any(axis=1), stop, 0)


def _extent(mask: np.ndarray, axis: int) -> slice:
    """The range of a mask's rows (axis 0) or columns (axis 1) from the first to the last that has a pixel on."""
    [start], [stop] = extents_of(np.logical_or.reduce(mask, axis=1 - axis)[None])
    return slice(int(start), int(stop))
