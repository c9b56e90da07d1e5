"""Anchors and box deltas (docs/NETWORK.md, section 6)."""

import math

import torch
from torch import Tensor

# a size delta is clamped before exp(), so that a wild prediction gives a large box and not an infinite one
MAX_SIZE_DELTA = math.log(1000 / 16)


def cell_anchors(sizes: tuple[float, ...], aspect_ratios: tuple[float, ...]) -> Tensor:
    """The anchors of one cell, centred on the origin: all ratios of the first size, then all of the next.

    Args:
        sizes: square roots of the areas, in pixels.
        aspect_ratios: height / width.

    Returns:
        float32 (A, 4), x0 y0 x1 y1 in pixels of the network's input.
    """
    anchors = []
    for size in sizes:
        for ratio in aspect_ratios:
            width = size / math.sqrt(ratio)
            height = size * math.sqrt(ratio)
            anchors.append((-width / 2, -height / 2, width / 2, height / 2))
    return torch.tensor(anchors, dtype=torch.float32)


def anchors_at(cell_anchors: Tensor, y: Tensor, x: Tensor, stride: int) -> Tensor:
    """Anchors centred on (x·stride, y·stride).

    Args:
        cell_anchors: float32 (N, 4), for each location its anchor, from `cell_anchors`.
        y, x: (N,) int64, cells of the level.
        stride: of the level, pixels of the network's input per cell.

    Returns:
        float32 (N, 4), x0 y0 x1 y1 in pixels of the network's input.
    """
    centre = torch.stack((x, y, x, y), dim=1) * stride  # (N, 4)
    return cell_anchors + centre


def apply_deltas(anchors: Tensor, deltas: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Boxes from anchors and predicted deltas.

    Args:
        anchors: float32 (N, 4), x0 y0 x1 y1.
        deltas: float32 (N, 4), dx dy dw dh, relative to the anchor's size and multiplied by the weights.
        weights: BBOX_REG_WEIGHTS.

    Returns:
        float32 (N, 4), x0 y0 x1 y1 in the anchors' frame.
    """
    size = anchors[:, 2:] - anchors[:, :2]  # (N, 2), width and height
    centre = anchors[:, :2] + 0.5 * size
    deltas = deltas / deltas.new_tensor(weights)
    centre = centre + deltas[:, :2] * size
    size = size * deltas[:, 2:].clamp(max=MAX_SIZE_DELTA).exp()
    return torch.cat((centre - 0.5 * size, centre + 0.5 * size), dim=1)
