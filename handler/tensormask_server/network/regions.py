"""Rectangles of a feature map, to run convolutions only around the cells that something is wanted of."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

# a region costs as much as this many cells more: its layers' start, and memory formats
REGION_COST = 128
# corners lie on multiples of it, so that few shapes occur: oneDNN prepares a convolution anew for each
GRID = 8


class Region(NamedTuple):
    """Rows and columns of a map, the last ones not included."""

    top: int
    left: int
    bottom: int
    right: int

    def grown(self, reach: int, height: int, width: int) -> "Region":
        """With `reach` cells more on each side, but inside the map."""
        return Region(
            max(self.top - reach, 0),
            max(self.left - reach, 0),
            min(self.bottom + reach, height),
            min(self.right + reach, width),
        )

    def of(self, feature: Tensor) -> Tensor:
        """(N, C, H, W) to its part inside, a view."""
        return feature[..., self.top : self.bottom, self.left : self.right]

    def inside(self, outer: "Region") -> "Region":
        """The same cells, counted from the corner of `outer`."""
        return Region(self.top - outer.top, self.left - outer.left, self.bottom - outer.top, self.right - outer.left)


def run_on_regions(layers: nn.Module, feature: Tensor, regions: list[Region], reach: int) -> Tensor:
    """What convolutions that keep the size of their input give inside the regions, and zeros elsewhere.

    A region is run with the cells that its own depend on. At the map's border the layers' padding is what it is on the
    whole map; where the map goes on, what the padding spoils is left out.

    Args:
        feature: (N, C, H, W).
        reach: how many cells away the layers look.

    Returns:
        (N, C', H, W); no channels where there are no regions.
    """
    height, width = feature.shape[-2:]
    whole = Region(0, 0, height, width)
    if regions == [whole]:
        result: Tensor = layers(feature)
        return result
    output = feature.new_empty(len(feature), 0, height, width)
    for region in regions:
        needed = region.grown(reach, height, width)
        part = region.inside(needed).of(layers(needed.of(feature)))
        if output.shape[1] == 0:
            shape = len(feature), part.shape[1], height, width
            output = part.new_zeros(shape).contiguous(memory_format=torch.channels_last)
        region.of(output).copy_(part)
    return output


def grouped(boxes: np.ndarray, reach: int, height: int, width: int) -> list[tuple[Region, np.ndarray]]:
    """Puts boxes into groups whose regions together cost least: one is divided as long as its halves cost less.

    Args:
        boxes: int64 (N, 4), top left bottom right, on the map.
        reach: how many cells around a region have to be computed for it.
        height, width: of the map.

    Returns:
        Each group's region, on the grid, which holds all its boxes, and their indices. Regions may overlap.
    """
    groups = []
    open_groups = [np.arange(len(boxes))] if len(boxes) else []
    while open_groups:
        indices = open_groups.pop()
        halves = _cheapest_halves(boxes[indices], reach, height, width)
        if halves is None:
            groups.append((_region_around(boxes[indices], height, width), indices))
        else:
            open_groups += [indices[half] for half in halves]
    return groups


def merged(boxes: np.ndarray, reach: int, height: int, width: int) -> list[Region]:
    """The regions alone that `grouped` gives."""
    on_grid = np.unique(_on_grid(boxes, height, width), axis=0)  # of thousands of cells some dozens of squares
    return [region for region, _ in grouped(on_grid, reach, height, width)]


def _region_around(boxes: np.ndarray, height: int, width: int) -> Region:
    return Region(*_on_grid(_running(boxes)[-1], height, width).tolist())


def _cheapest_halves(boxes: np.ndarray, reach: int, height: int, width: int) -> list[np.ndarray] | None:
    """The indices of both halves, or None where no cut along an axis costs less than the whole."""
    least = _costs(_running(boxes)[-1], reach, height, width)
    best: list[np.ndarray] | None = None
    for axis in (0, 1):
        order = np.argsort(boxes[:, axis] + boxes[:, axis + 2], kind="stable")
        first, last = _running(boxes[order]), _running(boxes[order[::-1]])[::-1]
        costs = _costs(first[:-1], reach, height, width) + _costs(last[1:], reach, height, width)
        if len(costs) and costs.min() < least:
            cut = int(costs.argmin())
            least = costs[cut]
            best = [order[: cut + 1], order[cut + 1 :]]
    return best


def _running(boxes: np.ndarray) -> np.ndarray:
    """The box around the first 1, 2, … N boxes, (N, 4)."""
    low = np.minimum.accumulate(boxes[:, :2])
    high = np.maximum.accumulate(boxes[:, 2:])
    return np.concatenate((low, high), axis=1)


def _costs(boxes: np.ndarray, reach: int, height: int, width: int) -> np.ndarray:
    """Of boxes (…, 4), the cells to be computed for the region around each."""
    top, left, bottom, right = np.moveaxis(_on_grid(boxes, height, width), -1, 0)
    rows = np.minimum(bottom + reach, height) - np.maximum(top - reach, 0)
    columns = np.minimum(right + reach, width) - np.maximum(left - reach, 0)
    return np.asarray(rows * columns + REGION_COST)


def _on_grid(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes (…, 4) grown to the next lines of the grid, or to the map's border."""
    low = boxes[..., :2] // GRID * GRID
    high = np.minimum(-(-boxes[..., 2:] // GRID) * GRID, (height, width))
    return np.concatenate((low, high), axis=-1)
