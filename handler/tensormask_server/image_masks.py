"""Masks on the image (docs/NETWORK.md, section 8), each kept as the rectangle that holds it, a bit per pixel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# pixels that are computed at a time: their numbers stay in a core's cache
BLOCK = 1 << 16


@dataclass(frozen=True)
class MaskCrop:
    """A mask on an image: what is on lies in a rectangle of it."""

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
        """bool (w, h): the rectangle's pixels, one column of the image after the other, as run lengths go."""
        pixels = np.unpackbits(self.bits, count=self.width * self.height)
        return pixels.view(bool).reshape(self.width, self.height)

    @property
    def pixels(self) -> np.ndarray:
        """bool (h, w), of the rectangle."""
        return self.columns.T

    @property
    def place(self) -> tuple[slice, slice]:
        """The rectangle's rows and columns on the image."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class ImageMasks:
    """The masks of N things on an image of H×W pixels."""

    height: int
    width: int
    crops: Sequence[MaskCrop]  # N

    @classmethod
    def of_masks(cls, masks: np.ndarray) -> "ImageMasks":
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


def paste_masks(
    probabilities: Sequence[np.ndarray], anchors: np.ndarray, threshold: float, height: int, width: int
) -> ImageMasks:
    """Stretches masks over their anchors on the image; on where the probability, sampled bilinearly, is enough.

    Only the pixels between entries that are enough are computed.

    Args:
        probabilities: N of float32 (M, M), 0…1; each M may be another.
        anchors: float64 (N, 4), x0 y0 x1 y1 in the image's pixels, not clipped to it.
        threshold: what is enough; above 0, as outside the anchor the probability is 0.
        height, width: of the image.
    """
    bordered = [np.empty(0, np.float32)] * len(probabilities)
    reached = np.zeros((2, 2, len(probabilities)), np.int64)
    sizes = np.array([len(mask) for mask in probabilities], np.int64)
    for size in np.unique(sizes):
        members = np.flatnonzero(sizes == size).tolist()
        # a border of zeros: what is sampled between a mask's edge and one pixel outside of it
        masks = np.zeros((len(members), size + 2, size + 2), np.float32)
        masks[:, 1:-1, 1:-1] = [probabilities[member] for member in members]
        # a sample of no entry that is enough isn't either; the slack is for rounding
        enough = masks[:, 1:-1, 1:-1] >= np.float32(threshold * (1 - 1e-5))
        reached[0][:, members] = _extents(np.logical_or.reduce(enough, axis=2))
        reached[1][:, members] = _extents(np.logical_or.reduce(enough, axis=1))
        for member, mask in zip(members, masks, strict=True):
            bordered[member] = mask
    x0, y0, x1, y1 = anchors.T
    vertical = _samples(y0, y1, sizes, height, *reached[0])
    horizontal = _samples(x0, x1, sizes, width, *reached[1])
    crops = [
        _paste(mask, np.float32(threshold), rows, columns)
        for mask, rows, columns in zip(bordered, vertical, horizontal, strict=True)
    ]
    return ImageMasks(height, width, crops)


def _paste(mask: np.ndarray, threshold: np.float32, vertical: "_Samples", horizontal: "_Samples") -> MaskCrop:
    """
    Args:
        mask: float32 (M+2, M+2), with its border.
    """
    by_row = vertical.interpolated(mask)  # (h, M+2)
    columns_on = horizontal.at_least(threshold, by_row.T)  # (w, h)
    return MaskCrop.of_columns(vertical.first, horizontal.first, columns_on)


@dataclass(frozen=True, slots=True)
class _Samples:
    """Where the centres of an axis' pixels fall on a mask with a border of one entry, for n pixels from the first."""

    first: int
    lower: np.ndarray  # int64 (n,), the entry before the centre
    upper: np.ndarray  # int64 (n,), and the one after it
    weight: np.ndarray  # float32 (n, 1), of the upper one

    def interpolated(self, along_rows: np.ndarray, pixels: slice = slice(None)) -> np.ndarray:
        """(M+2, K) to (pixels, K)."""
        values: np.ndarray = along_rows.take(self.lower[pixels], axis=0)
        upper = along_rows.take(self.upper[pixels], axis=0)
        upper -= values
        upper *= self.weight[pixels]
        values += upper
        return values

    def at_least(self, threshold: np.float32, along_rows: np.ndarray) -> np.ndarray:
        """(M+2, K) to where what is interpolated is at least the threshold, bool (n, K); block by block."""
        along_rows = np.ascontiguousarray(along_rows)
        enough = np.empty((len(self.lower), along_rows.shape[1]), bool)
        step = max(BLOCK // max(along_rows.shape[1], 1), 1)
        for first in range(0, len(enough), step):
            pixels = slice(first, first + step)
            np.greater_equal(self.interpolated(along_rows, pixels), threshold, out=enough[pixels])
        return enough


def _samples(
    low: np.ndarray, high: np.ndarray, size: np.ndarray, length: int, start: np.ndarray, stop: np.ndarray
) -> list[_Samples]:
    """Of one axis of N masks, all together, for the pixels that some of the entries from `start` to `stop` reach.

    Args:
        low, high: float64 (N,), where the masks begin and end on the image, in pixels.
        size: int64 (N,), entries of the masks.
        length: pixels of the image.
        start, stop: int64 (N,), the entries that matter; none: no pixel is sampled.
    """
    entry = (high - low) / size  # pixels per mask entry
    first = np.clip(np.trunc(low + (start - 0.5) * entry) - 1, 0, length).astype(np.int64)
    last = np.clip(np.trunc(low + (stop + 0.5) * entry) + 2, first, length).astype(np.int64)
    counts = np.where(stop > start, last - first, 0)
    ends = counts.cumsum()
    pixel = np.arange(counts.sum()) + np.repeat(first - ends + counts, counts)
    position = (pixel + np.repeat(0.5 - low, counts)) / np.repeat(entry, counts) + 0.5
    size_of = np.repeat(size, counts)
    position = np.minimum(np.maximum(position, 0), size_of + 1)  # beyond the border there are only zeros
    lower = np.minimum(position.astype(np.int64), size_of)
    weight = (position - lower).astype(np.float32)[:, None]
    upper = lower + 1
    parts = [slice(end - count, end) for end, count in zip(ends.tolist(), counts.tolist(), strict=True)]
    return [
        _Samples(pixel, lower[part], upper[part], weight[part])
        for pixel, part in zip(first.tolist(), parts, strict=True)
    ]


def _extents(on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From which to which entry something is on, 0 to 0 where nothing is: bool (N, M) to twice int64 (N,)."""
    start = on.argmax(axis=1)
    stop = on.shape[1] - on[:, ::-1].argmax(axis=1)
    return start, np.where(on.any(axis=1), stop, 0)


def _extent(mask: np.ndarray, axis: int) -> slice:
    """From the first to the last row (axis 0) or column (axis 1) where a pixel is on."""
    [start], [stop] = _extents(np.logical_or.reduce(mask, axis=1 - axis)[None])
    return slice(int(start), int(stop))
