"""Boxes of the data as the network sees them."""

import numpy as np
from tensormask_server.network.config import InputConfig
from tensormask_server.prediction.inputs import resized_shape


def resized_boxes(boxes: np.ndarray, shapes: np.ndarray, resizing: InputConfig) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as they are in the network's input.

    Args:
        boxes: float64 (M, 4), x0 y0 x1 y1 in pixels of their images.
        shapes: int64 (M, 2), height and width of each one's image.
        resizing: to which sizes images are resized.

    Returns:
        float64 (M, 4), in whole pixels of the network's input, at least one each way; int64 (M, 2), height and width
        of the resized images.
    """
    distinct, places = np.unique(shapes, axis=0, return_inverse=True)
    distinct_resized = [resized_shape(int(height), int(width), resizing) for height, width in distinct]
    resized = np.array(distinct_resized, np.int64).reshape(-1, 2)[places.reshape(-1)]  # (M, 2)
    rounded = np.floor(boxes * np.tile((resized / shapes)[:, ::-1], 2) + 0.5)
    low = np.minimum(rounded[:, :2], resized[:, ::-1] - 1)
    return np.concatenate((low, np.maximum(rounded[:, 2:], low + 1)), axis=1), resized
