"""Where the cells and the anchors of all levels lie, for images of one padded shape. It is made once per shape."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tensormask_server.network.anchors import anchors_at
from tensormask_server.network.transfers import LOWEST_BIT_FIRST


@dataclass(frozen=True)
class Places:
    """The P cells of all levels, with A anchors each, in the order (level, y, x, a).

    The numbers of `anchors.apply_deltas` that don't depend on the deltas are computed once.
    """

    shapes: tuple[tuple[int, int], ...]  # per level (H, W)
    starts: np.ndarray  # int64 (levels,): each level's first cell
    num_anchors: int  # A
    anchor_boxes: np.ndarray  # float32 (P·A, 4), x0 y0 x1 y1 in pixels of the network's input; on the host
    sizes: Tensor  # float32 (P·A, 2), width and height; on the device
    centres: Tensor  # float32 (P·A, 2), x and y; on the device
    delta_weights: Tensor  # float32 (4,), BBOX_REG_WEIGHTS; on the device
    bit_values: Tensor  # uint8 (8,): of `transfers.packed_bits`, the lowest bit first; on the device

    @property
    def num_cells(self) -> int:
        """P."""
        return len(self.anchor_boxes) // self.num_anchors

    def located(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The levels, rows and columns of cells: int64 (N,) each, from int64 (N,)."""
        levels = np.searchsorted(self.starts, cells, side="right") - 1
        within = cells - self.starts[levels]
        widths = np.array([width for _, width in self.shapes], np.int64)[levels]
        return levels, within // widths, within % widths


def places(
    cell_anchors: Sequence[Tensor],
    strides: Sequence[int],
    shapes: Sequence[tuple[int, int]],
    bbox_reg_weights: tuple[float, float, float, float],
) -> Places:
    """Makes the table for one padded shape.

    Args:
        cell_anchors: per level float32 (A, 4), on the network's device.
        strides: per level, pixels of the network's input per cell.
        shapes: per level (H, W).
        bbox_reg_weights: of `apply_deltas`.
    """
    device = cell_anchors[0].device
    boxes = torch.cat(
        [
            _anchors_of_level(each.cpu(), stride, shape)
            for each, stride, shape in zip(cell_anchors, strides, shapes, strict=True)
        ]
    )  # (P·A, 4)
    sizes = boxes[:, 2:] - boxes[:, :2]
    num_cells = [height * width for height, width in shapes]
    return Places(
        shapes=tuple(shapes),
        starts=np.cumsum([0, *num_cells[:-1]]),
        num_anchors=len(cell_anchors[0]),
        anchor_boxes=boxes.numpy(),
        sizes=sizes.to(device),
        centres=(boxes[:, :2] + 0.5 * sizes).to(device),
        delta_weights=torch.tensor(bbox_reg_weights, dtype=torch.float32).to(device),
        bit_values=torch.from_numpy(LOWEST_BIT_FIRST).to(device),
    )


def _anchors_of_level(cell_anchors: Tensor, stride: int, shape: tuple[int, int]) -> Tensor:
    """All anchors of a level, float32 (H·W·A, 4)."""
    height, width = shape
    y, x, anchors = (
        each.flatten()
        for each in torch.meshgrid(
            torch.arange(height), torch.arange(width), torch.arange(len(cell_anchors)), indexing="ij"
        )
    )
    return anchors_at(cell_anchors[anchors], y, x, stride)
