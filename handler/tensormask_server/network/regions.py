"""Rectangles of a feature map, to run convolutions only around the cells whose outputs are needed."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

# the fixed cost of a region, in cells: starting its layers, and changing memory formats
REGION_COST = 128
# corners lie on multiples of it, so that few shapes occur: oneDNN prepares a convolution for each shape
GRID = 8


class Region(NamedTuple):
    """Rows and columns of a map. `bottom` and `right` aren't included."""

    top: int
    left: int
    bottom: int
    right: int

    def grown(self, reach: int, height: int, width: int) -> "Region":
        """The region with `reach` cells more on each side, clipped to the map."""
        return Region(
            max(self.top - reach, 0),
            max(self.left - reach, 0),
            min(self.bottom + reach, height),
            min(self.right + reach, width),
        )

    def of(self, feature: Tensor) -> Tensor:
        """The part of a feature map, (N, C, H, W), inside the region: a view."""
        return feature[..., self.top : self.bottom, self.left : self.right]

    def inside(self, outer: "Region") -> "Region":
        """The same region, relative to the corner of `outer`."""
        return Region(self.top - outer.top, self.left - outer.left, self.bottom - outer.top, self.right - outer.left)


def run_on_regions(layers: nn.Module, feature: Tensor, regions: list[Region], reach: int) -> Tensor:
    """Runs convolutions, which keep the size of their input, only inside the regions.

    Each region is run with the cells around it that its outputs depend on. Inside the map, padding makes the outermost
    of these outputs wrong, and they are left out. At the map's border the padding is the same as on the whole map.

    Args:
        feature: (N, C, H, W).
        reach: how many cells away an output's inputs are, at most.

    Returns:
        (N, C', H, W), with zeros outside the regions. Without regions it has no channels.
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
    """Groups boxes so that the groups' regions together cost little. A group is divided while its halves cost less.

    Args:
        boxes: int64 (N, 4), top left bottom right, cells of the map.
        reach: how many cells around a region have to be computed for it.
        height, width: of the map.

    Returns:
        Per group a region on the grid that contains its boxes, and the boxes' indices. Regions may overlap.
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
    """Only the regions of `grouped`, with the same arguments."""
    on_grid = np.unique(_on_grid(boxes, height, width), axis=0)  # thousands of cells become some dozens of squares
    return [region for region, _ in grouped(on_grid, reach, height, width)]


def _region_around(boxes: np.ndarray, height: int, width: int) -> Region:
    return Region(*_on_grid(_running(boxes)[-1], height, width).tolist())


def _cheapest_halves(boxes: np.ndarray, reach: int, height: int, width: int) -> list[np.ndarray] | None:
    """The indices of both halves, or None if no cut along an axis costs less than the whole."""
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
    """The boxes around the first 1, 2, … N boxes, (N, 4)."""
    low = np.minimum.accumulate(boxes[:, :2])
    high = np.maximum.accumulate(boxes[:, 2:])
    return np.concatenate((low, high), axis=1)


def _costs(boxes: np.ndarray, reach: int, height: int, width: int) -> np.ndarray:
    """The cost of the region around each of the boxes, (…, 4), in cells: (…)."""
    top, left, bottom, right = np.moveaxis(_on_grid(boxes, height, width), -1, 0)
    rows = np.minimum(bottom + reach, height) - np.maximum(top - reach, 0)
    columns = np.minimum(right + reach, width) - np.maximum(left - reach, 0)
    return np.asarray(rows * columns + REGION_COST)


def _on_grid(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """The boxes, (…, 4), grown to the next lines of the grid or to the map's border."""
    low = boxes[..., :2] // GRID * GRID
    high = np.minimum(-(-boxes[..., 2:] // GRID) * GRID, (height, width))
    return np.concatenate((low, high), axis=-1)
