"""Masks as COCO's compressed run lengths, looking only where there is something of them."""

from typing import Any

import numpy as np
from pycocotools import mask as rle

from tensormask_server.image_masks import MaskCrop


def encode_mask(crop: MaskCrop, height: int, width: int) -> dict[str, Any]:
    """
    Args:
        crop: of a mask on an image of this height and width.

    Returns:
        {"size": [H, W], "counts": text}, as pycocotools reads and would write it.
    """
    # an array of counts, because pycocotools takes four times as long over a list
    encoded = rle.frPyObjects({"size": [height, width], "counts": _counts(crop, height, width)}, height, width)
    return {"size": [height, width], "counts": encoded["counts"].decode()}


def _counts(crop: MaskCrop, height: int, width: int) -> np.ndarray:
    """The lengths of the runs of off and on pixels in turn, column by column, int64; the first may be 0."""
    # the columns' entries one after the other: an off one ends each, unless the image's next pixel does
    stride = min(crop.height + 1, height)
    entries = np.zeros(crop.width * stride + 2, bool)  # and one is off before the first and after the last
    entries[1:-1].reshape(crop.width, stride)[:, : crop.height] = crop.columns
    changes = np.flatnonzero(entries[1:] != entries[:-1])
    starts = changes + changes // stride * (height - stride) + (crop.left * height + crop.top)
    counts = np.append(starts, height * width)
    counts[1:] -= starts
    return counts if counts[-1] else counts[:-1]
