"""Pastes masks on the image, each over its anchor (docs/NETWORK.md, section 8)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tensormask_server.prediction.image_masks import ImageMasks, MaskCrop, check_pixels, extents_of

BLOCK = 1 << 16  # pixels that are computed at a time, so that their values stay in a core's cache


def paste_masks(
    probabilities: Sequence[np.ndarray], anchors: np.ndarray, threshold: float, height: int, width: int
) -> ImageMasks:
    """Stretches each mask over its anchor on the image.

    A pixel's probability is interpolated bilinearly at its centre. Outside of the anchor it is 0. The pixel is on if
    the probability is the threshold or more. Only pixels near entries above the threshold are computed.

    Args:
        probabilities: N masks, each float32 (M, M), 0…1. M may differ between masks.
        anchors: float64 (N, 4): x0 y0 x1 y1 in pixels of the image, not clipped to it.
        threshold: above 0.
        height, width: of the image, in pixels.

    Returns:
        N masks, in the order of the anchors.

    Raises:
        LargeMasksError: they span more than MOST_PIXELS.
    """
    bordered = [np.empty(0, np.float32)] * len(probabilities)
    # of each mask the first row above the threshold, and the row after the last one; then the same of its columns
    extents = np.zeros((2, 2, len(probabilities)), np.int64)
    sizes = np.array([len(mask) for mask in probabilities], np.int64)
    for size in np.unique(sizes):
        members = np.flatnonzero(sizes == size).tolist()
        # with a border of zeros, which samples near the anchor's edge are interpolated with
        masks = np.zeros((len(members), size + 2, size + 2), np.float32)
        masks[:, 1:-1, 1:-1] = [probabilities[member] for member in members]
        # a sample is on only if one of its entries is; 1e-5 is the tolerance for rounding
        on = masks[:, 1:-1, 1:-1] >= np.float32(threshold * (1 - 1e-5))
        extents[0][:, members] = extents_of(np.logical_or.reduce(on, axis=2))
        extents[1][:, members] = extents_of(np.logical_or.reduce(on, axis=1))
        for member, mask in zip(members, masks, strict=True):
            bordered[member] = mask
    x0, y0, x1, y1 = anchors.T
    vertical = _samples(y0, y1, sizes, height, *extents[0])
    horizontal = _samples(x0, x1, sizes, width, *extents[1])
    check_pixels(sum(len(rows.lower) * len(columns.lower) for rows, columns in zip(vertical, horizontal, strict=True)))
    crops = [
        _paste(mask, np.float32(threshold), rows, columns)
        for mask, rows, columns in zip(bordered, vertical, horizontal, strict=True)
    ]
    return ImageMasks(height, width, crops)


def _paste(mask: np.ndarray, threshold: np.float32, vertical: "_Samples", horizontal: "_Samples") -> MaskCrop:
    """Interpolates one mask along its rows, then along its columns.

    Args:
        mask: float32 (M+2, M+2), with its border.
    """
    rows = vertical.interpolate(mask)  # (h, M+2)
    columns = horizontal.at_least(threshold, rows.T)  # (w, h)
    return MaskCrop.of_columns(vertical.first, horizontal.first, columns)


@dataclass(frozen=True, slots=True)
class _Samples:
    """Where the centres of n consecutive pixels of one axis lie on a mask that has a border of one entry."""

    first: int  # pixel
    lower: np.ndarray  # int64 (n,): the entry before the centre
    upper: np.ndarray  # int64 (n,): the entry after it
    weight: np.ndarray  # float32 (n, 1): of the upper entry

    def interpolate(self, entries: np.ndarray, pixels: slice = slice(None)) -> np.ndarray:
        """Interpolates float32 (M+2, K) along its first axis, to (n, K) for the n pixels of the slice."""
        values: np.ndarray = entries.take(self.lower[pixels], axis=0)
        upper = entries.take(self.upper[pixels], axis=0)
        upper -= values
        upper *= self.weight[pixels]
        values += upper
        return values

    def at_least(self, threshold: np.float32, entries: np.ndarray) -> np.ndarray:
        """bool (n, K): whether `interpolate` gives the threshold or more. It is computed block by block."""
        entries = np.ascontiguousarray(entries)
        on = np.empty((len(self.lower), entries.shape[1]), bool)
        step = max(BLOCK // max(entries.shape[1], 1), 1)
        for first in range(0, len(on), step):
            pixels = slice(first, first + step)
            np.greater_equal(self.interpolate(entries, pixels), threshold, out=on[pixels])
        return on


def _samples(
    low: np.ndarray, high: np.ndarray, size: np.ndarray, length: int, start: np.ndarray, stop: np.ndarray
) -> list[_Samples]:
    """The samples of one axis for each of N masks, with the arguments of `axis_samples`."""
    axis = axis_samples(low, high, size, length, start, stop)
    ends = axis.counts.cumsum()
    parts = [slice(end - count, end) for end, count in zip(ends.tolist(), axis.counts.tolist(), strict=True)]
    weight, upper = axis.weight[:, None], axis.lower + 1
    return [
        _Samples(pixel, axis.lower[part], upper[part], weight[part])
        for pixel, part in zip(axis.first.tolist(), parts, strict=True)
    ]


@dataclass(frozen=True)
class AxisSamples:
    """As `_Samples`, for N masks one after the other, n samples together. The upper entry follows the lower one."""

    first: np.ndarray  # int64 (N,): pixel
    counts: np.ndarray  # int64 (N,): pixels
    lower: np.ndarray  # int64 (n,)
    weight: np.ndarray  # float32 (n,)


def axis_samples(
    low: np.ndarray,
    high: np.ndarray,
    size: np.ndarray,
    length: int | np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
) -> AxisSamples:
    """The samples of one axis for each of N masks. They cover the pixels that the entries from start to stop reach.

    All masks are computed together, because NumPy's cost per call exceeds that of a small mask's numbers.

    Args:
        low, high: float64 (N,): where each mask begins and ends on the image, in pixels.
        size: int64 (N,): entries of each mask, M.
        length: pixels of the image; int64 (N,) if the masks are on several images.
        start, stop: int64 (N,): a range of entries. No pixel is sampled if it is empty.
    """
    first, counts = axis_pixels(low, high, size, length, start, stop)
    pixel = np.arange(counts.sum()) + np.repeat(first - counts.cumsum() + counts, counts)
    entry = (high - low) / size  # pixels per entry
    position = (pixel + np.repeat(0.5 - low, counts)) / np.repeat(entry, counts) + 0.5
    size_of = np.repeat(size, counts)
    position = np.minimum(np.maximum(position, 0), size_of + 1)  # everything beyond the border is 0, as the border is
    lower = np.minimum(position.astype(np.int64), size_of)
    return AxisSamples(first, counts, lower, (position - lower).astype(np.float32))


def axis_pixels(
    low: np.ndarray,
    high: np.ndarray,
    size: np.ndarray,
    length: int | np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The first pixel that `axis_samples` samples for each of N masks, with its arguments, and how many: int64 (N,)."""
    entry = (high - low) / size  # pixels per entry
    first = np.clip(np.trunc(low + (start - 0.5) * entry) - 1, 0, length).astype(np.int64)
    last = np.clip(np.trunc(low + (stop + 0.5) * entry) + 2, first, length).astype(np.int64)
    return first, np.where(stop > start, last - first, 0)
