"""Masks on the picture (specification, section 8), each kept as the rectangle that holds it, a bit per pixel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Anchor = tuple[float, float, float, float]

# pixels that are computed at a time: their numbers stay in a core's cache
BLOCK = 1 << 16


@dataclass(frozen=True)
class MaskCrop:
    """A mask on a picture: what is on lies in a rectangle of it."""

    top: int  # the rectangle's first row and column
    left: int
    height: int
    width: int
    bits: np.ndarray  # uint8, of the rectangle's pixels column by column, packed by numpy.packbits

    @classmethod
    def of_columns(cls, top: int, left: int, columns: np.ndarray) -> "MaskCrop":
        """
        Args:
            columns: bool (w, h), of the rectangle.
        """
        width, height = columns.shape
        return cls(top, left, height, width, np.packbits(columns))

    @classmethod
    def of_mask(cls, mask: np.ndarray) -> "MaskCrop":
        """
        Args:
            mask: bool (H, W).
        """
        rows = _extent(mask, axis=0)
        columns = _extent(mask[rows], axis=1)
        return cls.of_columns(rows.start, columns.start, mask[rows, columns].T)

    @property
    def columns(self) -> np.ndarray:
        """bool (w, h): the rectangle's pixels, one column of the picture after the other, as run lengths go."""
        pixels = np.unpackbits(self.bits, count=self.width * self.height)
        return pixels.view(bool).reshape(self.width, self.height)

    @property
    def pixels(self) -> np.ndarray:
        """bool (h, w), of the rectangle."""
        return self.columns.T

    @property
    def place(self) -> tuple[slice, slice]:
        """The rectangle's rows and columns on the picture."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class PictureMasks:
    """The masks of N things on a picture of H×W pixels."""

    height: int
    width: int
    crops: Sequence[MaskCrop]  # N

    @classmethod
    def of_masks(cls, masks: np.ndarray) -> "PictureMasks":
        """
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
        """bool (N, H, W). It takes N·H·W bytes; `dense_mask` makes one at a time."""
        masks = np.zeros((len(self), self.height, self.width), bool)  # what no crop reaches is never touched
        for mask, crop in zip(masks, self.crops, strict=True):
            mask[crop.place] = crop.pixels
        return masks

    def dense_mask(self, index: int) -> np.ndarray:
        """bool (H, W)."""
        mask = np.zeros((self.height, self.width), bool)
        crop = self.crops[index]
        mask[crop.place] = crop.pixels
        return mask


def paste_mask(probabilities: np.ndarray, anchor: Anchor, threshold: float, height: int, width: int) -> MaskCrop:
    """Stretches one mask over its anchor on the picture; on where the probability, sampled bilinearly, is enough.

    Only the pixels between entries that are enough are computed.

    Args:
        probabilities: float32 (M, M), 0…1.
        anchor: x0 y0 x1 y1 in the picture's pixels, not clipped to it.
        threshold: what is enough; above 0, as outside the anchor the probability is 0.
        height, width: of the picture.
    """
    x0, y0, x1, y1 = anchor
    size = len(probabilities)
    # a sample of no entry that is enough isn't either; the slack is for rounding
    enough = probabilities >= np.float32(threshold * (1 - 1e-5))
    rows = _extent(enough, axis=0)
    columns = _extent(enough[rows], axis=1)
    vertical, horizontal = _Samples(y0, y1, size, height, rows), _Samples(x0, x1, size, width, columns)
    # a border of zeros: what is sampled between the mask's edge and one pixel outside of it
    bordered = np.zeros((size + 2, size + 2), np.float32)
    bordered[1:-1, 1:-1] = probabilities
    by_row = vertical.interpolated(bordered)  # (h, M+2)
    columns_on = horizontal.at_least(np.float32(threshold), by_row.T)  # (w, h)
    return MaskCrop.of_columns(vertical.first, horizontal.first, columns_on)


class _Samples:
    """Where the pixel centres of one axis fall on a mask, for the pixels that some of its entries reach."""

    def __init__(self, low: float, high: float, size: int, length: int, reached: slice):
        """
        Args:
            low, high: where the mask begins and ends on the picture, in pixels.
            size: entries of the mask.
            length: pixels of the picture.
            reached: the entries that matter; none: no pixel is sampled.
        """
        entry = (high - low) / size  # pixels per mask entry
        begin, end = low + (reached.start - 0.5) * entry, low + (reached.stop + 0.5) * entry
        self.first = min(max(int(begin) - 1, 0), length)
        last = min(max(int(end) + 2, self.first), length) if reached.stop > reached.start else self.first
        position = (np.arange(self.first, last) + (0.5 - low)) / entry + 0.5  # in the mask with a border of one entry
        position = np.minimum(np.maximum(position, 0), size + 1)  # beyond the border there are only zeros
        self._lower = np.minimum(position.astype(np.int64), size)
        self._weight = (position - self._lower).astype(np.float32)[:, None]

    def interpolated(self, along_rows: np.ndarray, pixels: slice = slice(None)) -> np.ndarray:
        """(M+2, K) to (pixels, K)."""
        lower = self._lower[pixels]
        values: np.ndarray = along_rows.take(lower, axis=0)
        upper = along_rows.take(lower + 1, axis=0)
        upper -= values
        upper *= self._weight[pixels]
        values += upper
        return values

    def at_least(self, threshold: np.float32, along_rows: np.ndarray) -> np.ndarray:
        """(M+2, K) to where what is interpolated is at least the threshold, bool (pixels, K); block by block."""
        along_rows = np.ascontiguousarray(along_rows)
        enough = np.empty((len(self._lower), along_rows.shape[1]), bool)
        step = max(BLOCK // max(along_rows.shape[1], 1), 1)
        for first in range(0, len(enough), step):
            pixels = slice(first, first + step)
            np.greater_equal(self.interpolated(along_rows, pixels), threshold, out=enough[pixels])
        return enough


def _extent(mask: np.ndarray, axis: int) -> slice:
    """From the first to the last row (axis 0) or column (axis 1) where a pixel is on."""
    on = np.logical_or.reduce(mask, axis=1 - axis)
    if not on.any():
        return slice(0, 0)
    return slice(int(on.argmax()), len(on) - int(on[::-1].argmax()))
