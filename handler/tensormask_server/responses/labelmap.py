"""The format labelmap: which pixel belongs to which mask, for programs."""

import numpy as np

from tensormask_server.responses.png_files import png_of
from tensormask_server.responses.result import Result


def labelmap(result: Result) -> bytes:
    """Encodes a PNG of 16 bits per pixel: 0 is the background, and i is the mask with the i-th best score.

    Where masks overlap, the mask with the best score wins.

    Args:
        result: with masks.
    """
    masks = result.detections.image_masks
    assert masks is not None
    labels = np.zeros((masks.height, masks.width), np.uint16)
    for i in reversed(range(len(masks))):
        crop = masks.crops[i]
        labels[crop.place][crop.pixels] = i + 1
    return png_of(labels)
