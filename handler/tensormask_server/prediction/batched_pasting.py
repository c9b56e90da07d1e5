"""Masks on the image for all detections of a batch, on the network's device (docs/NETWORK.md, section 8).

It gives what `pasting.paste_masks` gives, bit for bit, in a few operations over all masks together. Masks and
rectangles have different sizes, so their numbers lie one after the other in one tensor. It is divided into segments,
such as the rows of each mask. Tables have one number per segment, and the host computes them in float64.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tensormask_server.network.batched_masks import GroupedMasks
from tensormask_server.network.transfers import HIGHEST_BIT_FIRST, packed_bits, to_device, to_host
from tensormask_server.prediction.image_masks import MaskCrop, check_pixels, extents_of
from tensormask_server.prediction.pasting import AxisSamples, axis_samples

MOST_PIXELS = 1 << 24  # that are computed at a time; each takes about 40 bytes


@dataclass(frozen=True)
class Stretching:
    """Where the masks of D detections go."""

    anchors: np.ndarray  # float64 (D, 4): x0 y0 x1 y1 in pixels of the image, not clipped to it
    thresholds: np.ndarray  # float64 (D,): above 0
    heights: np.ndarray  # int64 (D,): of the image, in pixels
    widths: np.ndarray  # int64 (D,)

    def __getitem__(self, indices: np.ndarray) -> "Stretching":
        return Stretching(*(getattr(self, name)[indices] for name in self.__dataclass_fields__))


def paste_batch(masks: GroupedMasks, stretching: Stretching) -> list[MaskCrop]:
    """Stretches each mask over its anchor on its image.

    Args:
        masks: of D detections.
        stretching: in the order of the detections.

    Returns:
        D masks, in the order of the detections.
    """
    if not masks.groups:
        return []
    order = np.concatenate([group.members for group in masks.groups])
    sizes = np.concatenate([np.full(len(group.members), group.logits.shape[1]) for group in masks.groups])
    stretching = stretching[order]
    probabilities = _Probabilities.of(masks, sizes)
    vertical, horizontal = _samples(probabilities, stretching)
    check_pixels(int((vertical.counts * horizontal.counts).sum()))
    parts = list(_parts(sizes, vertical.counts, horizontal.counts))
    bits = to_host([_bits(probabilities, vertical, horizontal, stretching.thresholds, part) for part in parts])
    crops = [crop for each in zip(parts, bits, strict=True) for crop in _crops(vertical, horizontal, *each)]
    return [crops[i] for i in np.argsort(order)]


@dataclass(frozen=True)
class _Probabilities:
    """The masks of D detections one after the other, row by row, and then zeros."""

    values: Tensor  # float32, on the device
    sizes: np.ndarray  # int64 (D,): of each mask, M
    starts: np.ndarray  # int64 (D,): of each mask in `values`
    end: int  # where the zeros begin: as many as the longest row has

    @classmethod
    def of(cls, masks: GroupedMasks, sizes: np.ndarray) -> "_Probabilities":
        ends = np.cumsum(sizes**2)
        device = masks.groups[0].logits.device
        [zeros] = to_device([np.full(sizes.max(), -np.inf, np.float32)], device)
        logits = torch.cat([*(group.logits.flatten() for group in masks.groups), zeros])
        return cls(logits.add_(masks.offset).sigmoid_(), sizes, ends - sizes**2, int(ends[-1]))


def _samples(probabilities: _Probabilities, stretching: Stretching) -> tuple[AxisSamples, AxisSamples]:
    """The pixels near entries above the threshold, along the image's rows and columns."""
    sizes = probabilities.sizes
    rows, columns = _extents(probabilities, stretching.thresholds)
    x0, y0, x1, y1 = stretching.anchors.T
    return (
        axis_samples(y0, y1, sizes, stretching.heights, *rows),
        axis_samples(x0, x1, sizes, stretching.widths, *columns),
    )


def _extents(probabilities: _Probabilities, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per mask its first row with an entry above the threshold and the one after the last, (2, D); its columns."""
    sizes = probabilities.sizes
    num_rows = int(sizes.sum())
    first_row = np.cumsum(sizes) - sizes  # (D,), of all rows of all masks
    row_size = np.repeat(sizes, sizes)  # (rows,)
    row_start = np.cumsum(row_size) - row_size
    # a sample is on only if one of its entries is; 1e-5 is the tolerance for rounding
    lowest = (thresholds * (1 - 1e-5)).astype(np.float32)
    column = (
        num_rows + np.repeat(first_row, sizes) - row_start
    )  # + an entry's place: its column, counted after all rows
    tables = [row_size, column, np.repeat(lowest, sizes)]
    lengths, columns, lowest_of_row = to_device(tables, probabilities.values.device)
    row = torch.repeat_interleave(lengths, output_size=probabilities.end)  # (entries,)
    place = torch.arange(probabilities.end, device=row.device)
    on = probabilities.values[: probabilities.end] >= _of_segments(lowest_of_row, lowest, row)
    slots = torch.where(on, torch.stack((row, columns[row] + place)), 2 * num_rows)  # (2, entries)
    hit = torch.zeros(2 * num_rows + 1, dtype=torch.bool, device=row.device).index_fill_(0, slots.flatten(), True)
    [hit_on_host] = to_host([hit[:-1]])
    extents = np.zeros((2, 2, len(sizes)), np.int64)  # rows or columns, start or stop, mask
    for size in np.unique(sizes):
        members = np.flatnonzero(sizes == size)
        for axis, hits in enumerate(hit_on_host.reshape(2, -1)):
            extents[axis][:, members] = extents_of(hits[first_row[members, None] + np.arange(size)])
    return extents[0], extents[1]


def _parts(sizes: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> Iterator[slice]:
    """Divides D masks so that each part has at most MOST_PIXELS, or is one mask."""
    pixels = heights * np.maximum(sizes, widths)
    start = 0
    while start < len(sizes):
        count = max(1, int(np.searchsorted(pixels[start:].cumsum(), MOST_PIXELS, side="right")))
        yield slice(start, start + count)
        start += count


def _bits(
    probabilities: _Probabilities,
    vertical: AxisSamples,
    horizontal: AxisSamples,
    thresholds: np.ndarray,
    part: slice,
) -> Tensor:
    """Interpolates the masks of a part along their rows, then along their columns, as `pasting` does one mask.

    Returns:
        uint8, on the device: the masks' bits, column by column. Each mask begins with a byte of its own.
    """
    rows = _rows(probabilities, vertical, part)
    columns = _columns(probabilities.sizes[part], vertical.counts[part], horizontal, part)
    per_segment = np.repeat(thresholds[part].astype(np.float32), horizontal.counts[part] + 1)
    there = to_device([*rows.tables(), *columns.tables(), per_segment, HIGHEST_BIT_FIRST], probabilities.values.device)
    place = torch.arange(max(rows.num_values, columns.num_values), device=probabilities.values.device)
    by_row, _ = rows.interpolated(probabilities.values, place, *there[:3])
    values, segment = columns.interpolated(by_row, place, *there[3:7])
    return packed_bits(values >= _of_segments(there[7], per_segment, segment), there[8])


def _crops(vertical: AxisSamples, horizontal: AxisSamples, part: slice, bits: np.ndarray) -> Iterator[MaskCrop]:
    """The masks of a part from their bits."""
    heights, widths = vertical.counts[part], horizontal.counts[part]
    num_bytes = -(-heights * widths // 8)
    ends = num_bytes.cumsum()
    firsts = vertical.first[part], horizontal.first[part]
    for top, left, height, width, start, end in np.stack(
        (*firsts, heights, widths, ends - num_bytes, ends), axis=1
    ).tolist():
        yield MaskCrop(top, left, height, width, bits[start:end].copy())


@dataclass(frozen=True)
class _Segments:
    """S segments of numbers, each of which is interpolated between two others that lie alike in another tensor."""

    lengths: np.ndarray  # int64 (S,)
    weight: np.ndarray  # float32 (S,): of the upper number
    # int64 (2, S): the lower and the upper number of a segment's first number, less the number's own place
    first: np.ndarray
    stride: np.ndarray | None  # int64 (2, S): from a segment's number to its next one; None: 1. `first` counts these

    @property
    def num_values(self) -> int:
        return int(self.lengths.sum())

    def tables(self) -> list[np.ndarray]:
        return [self.lengths, self.first, self.weight, *([] if self.stride is None else [self.stride])]

    def interpolated(
        self,
        values: Tensor,
        place: Tensor,
        lengths: Tensor,
        first: Tensor,
        weight: Tensor,
        stride: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            values: float32, between which to interpolate.
            place: int64: 0, 1, …
            lengths, first, weight, stride: the `tables`, on the device.

        Returns:
            The numbers, float32 (num_values,), and the segment of each, int64.
        """
        segment = torch.repeat_interleave(lengths, output_size=self.num_values)
        place = place[: self.num_values]
        index = first[:, segment] + (place if stride is None else stride[:, segment].mul_(place))
        lower, difference = values[index].unbind()
        # operation by operation as NumPy does it: a fused one would round differently
        difference -= lower
        difference *= weight[segment]
        return lower.add_(difference), segment


def _rows(probabilities: _Probabilities, vertical: AxisSamples, part: slice) -> _Segments:
    """Each row of pixels of each mask, with one number per column of entries. After them comes a zero."""
    counts = vertical.counts[part]
    samples = _samples_of(vertical, part)
    size, start = (np.repeat(each[part], counts) for each in (probabilities.sizes, probabilities.starts))
    entry = np.stack((vertical.lower[samples], vertical.lower[samples] + 1))  # of a mask with a border of one
    first = np.where((entry >= 1) & (entry <= size), start + (entry - 1) * size, probabilities.end)
    lengths = np.append(size, 1)
    first = np.concatenate((first, np.full((2, 1), probabilities.end)), axis=1)
    return _Segments(lengths, np.append(vertical.weight[samples], np.float32(0)), first - _starts(lengths), None)


def _columns(sizes: np.ndarray, heights: np.ndarray, horizontal: AxisSamples, part: slice) -> _Segments:
    """Each column of pixels of each mask. After those of a mask come zeros, so that its bits fill their last byte."""
    widths = horizontal.counts[part]
    samples = _samples_of(horizontal, part)
    size, height = np.repeat(sizes, widths), np.repeat(heights, widths)
    start, zero = np.repeat(_starts(heights * sizes), widths), int((heights * sizes).sum())
    entry = np.stack((horizontal.lower[samples], horizontal.lower[samples] + 1))
    inside = (entry >= 1) & (entry <= size)
    first, stride = np.where(inside, start + entry - 1, zero), np.where(inside, size, 0)
    ends = widths.cumsum()
    lengths = np.insert(height, ends, -heights * widths % 8)
    weight = np.insert(horizontal.weight[samples], ends, 0)
    first, stride = np.insert(first, ends, zero, axis=1), np.insert(stride, ends, 0, axis=1)
    return _Segments(lengths, weight, first - stride * _starts(lengths), stride)


def _samples_of(axis: AxisSamples, part: slice) -> slice:
    """The samples of some masks among those of all."""
    before = int(axis.counts[: part.start].sum())
    return slice(before, before + int(axis.counts[part].sum()))


def _starts(lengths: np.ndarray) -> np.ndarray:
    """Where each segment starts."""
    return np.asarray(lengths.cumsum() - lengths)


def _of_segments(table: Tensor, on_host: np.ndarray, segment: Tensor) -> Tensor | float:
    """A table's number for each segment; if all its numbers are equal, that number, without an operation."""
    return float(on_host[0]) if (on_host == on_host[0]).all() else table[segment]
