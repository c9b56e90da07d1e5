"""Boxes of the data as the network sees them."""

from dataclasses import dataclass

import numpy as np
from tensormask_server.network.config import InputConfig
from tensormask_server.prediction.inputs import resized_shape


@dataclass(frozen=True)
class InstanceBoxes:
    """The boxes of M instances, and the sizes of their images."""

    boxes: np.ndarray  # float64 (M, 4), x0 y0 x1 y1 in pixels of each one's image
    shapes: np.ndarray  # int64 (M, 2), height and width of that image
    annotated: np.ndarray  # bool (M,), whether the box is the annotation's bbox and not the mask's box

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, chosen: np.ndarray) -> "InstanceBoxes":
        return InstanceBoxes(self.boxes[chosen], self.shapes[chosen], self.annotated[chosen])


def resized_boxes(instances: InstanceBoxes, resizing: InputConfig) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as they are in the network's input.

    Args:
        instances: their boxes in their images.
        resizing: to which sizes images are resized.

    Returns:
        float64 (M, 4), x0 y0 x1 y1 in pixels of the network's input, those of masks in whole pixels, at least one each
        way; int64 (M, 2), height and width of the resized images.
    """
    distinct, places = np.unique(instances.shapes, axis=0, return_inverse=True)
    distinct_resized = [resized_shape(int(height), int(width), resizing) for height, width in distinct]
    resized = np.array(distinct_resized, np.int64).reshape(-1, 2)[places.reshape(-1)]  # (M, 2)
    scaled = scaled_boxes(instances.boxes, instances.shapes, resized)
    rounded = np.floor(scaled + 0.5)
    low = np.minimum(rounded[:, :2], resized[:, ::-1] - 1)
    of_masks = np.concatenate((low, np.maximum(rounded[:, 2:], low + 1)), axis=1)
    return np.where(instances.annotated[:, None], scaled, of_masks), resized


def scaled_boxes(boxes: np.ndarray, shapes: np.ndarray, resized: np.ndarray) -> np.ndarray:
    """Boxes scaled with their images.

    Args:
        boxes: float64 (M, 4), x0 y0 x1 y1 in pixels.
        shapes, resized: (M, 2) or (2,), height and width of the images before and after.
    """
    scaled: np.ndarray = boxes * np.tile((resized / shapes)[..., ::-1], 2)
    return scaled


def flipped_boxes(boxes: np.ndarray, widths: np.ndarray | int) -> np.ndarray:
    """Boxes on images that are flipped left to right.

    Args:
        boxes: float64 (M, 4), x0 y0 x1 y1 in pixels.
        widths: (M,) or one, of the images in pixels.
    """
    x0, y0, x1, y1 = boxes.T
    return np.stack((widths - x1, y0, widths - x0, y1), axis=1)
