"""Boxes and anchors from the resized image to the original one (docs/NETWORK.md, sections 7 and 8)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class OnImage:
    """The D detections of an image that have an area within it."""

    kept: np.ndarray  # int64 (D,): which of the given ones
    boxes: np.ndarray  # float32 (D, 4), x0 y0 x1 y1 in pixels of the original image, clipped to it
    anchors: np.ndarray  # float64 (D, 4), likewise, not clipped


def on_image(
    boxes: np.ndarray, anchor_boxes: np.ndarray, resized_shape: tuple[int, ...], image_shape: tuple[int, ...]
) -> OnImage:
    """Scales boxes and anchors to the original image, and drops those whose box has no area within it.

    Args:
        boxes, anchor_boxes: float32 (N, 4), x0 y0 x1 y1 in pixels of the resized image.
        resized_shape, image_shape: height and width of the resized image and of the original one.
    """
    height, width = image_shape[:2]
    scale = np.array([width / resized_shape[1], height / resized_shape[0]] * 2, np.float32)
    clipped = np.minimum(np.maximum(boxes * scale, 0), np.array([width, height] * 2, np.float32))
    kept = np.flatnonzero((clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1]))
    return OnImage(kept, clipped[kept], anchor_boxes[kept].astype(np.float64) * scale)
