"""Encodes masks as COCO's compressed run lengths. Only the pixels of a mask's crop are read."""

from typing import Any

import numpy as np
from pycocotools import mask as rle

from tensormask_server.image_masks import MaskCrop


def encode_mask(crop: MaskCrop, height: int, width: int) -> dict[str, Any]:
    """Encodes one mask.

    Args:
        crop: of the mask.
        height, width: of the image, in pixels.

    Returns:
        {"size": [H, W], "counts": text}: the same as `pycocotools.mask.encode` gives.
    """
    # an array, because pycocotools needs four times as long for a list
    encoded = rle.frPyObjects({"size": [height, width], "counts": _counts(crop, height, width)}, height, width)
    return {"size": [height, width], "counts": encoded["counts"].decode()}


def _counts(crop: MaskCrop, height: int, width: int) -> np.ndarray:
    """int64: the lengths of the runs of off and on pixels in turn, column by column. The first may be 0."""
    # the crop's columns one after the other, each with an off pixel after it, unless the crop is as high as the image
    stride = min(crop.height + 1, height)
    pixels = np.zeros(crop.width * stride + 2, bool)  # with an off pixel before the first and after the last
    pixels[1:-1].reshape(crop.width, stride)[:, : crop.height] = crop.columns
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    starts = changes + changes // stride * (height - stride) + (crop.left * height + crop.top)
    counts = np.append(starts, height * width)
    counts[1:] -= starts
    return counts if counts[-1] else counts[:-1]
