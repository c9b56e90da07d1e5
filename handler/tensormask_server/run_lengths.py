"""Masks as COCO's compressed run lengths, looking only where there is something of them."""

from typing import Any

import numpy as np
from pycocotools import mask as rle

from tensormask_server.picture_masks import MaskCrop


def encode_mask(crop: MaskCrop, height: int, width: int) -> dict[str, Any]:
    """
    Args:
        crop: of a mask on a picture of this height and width.

    Returns:
        {"size": [H, W], "counts": text}, as pycocotools reads and would write it.
    """
    encoded = rle.frPyObjects({"size": [height, width], "counts": _counts(crop, height, width)}, height, width)
    return {"size": [height, width], "counts": encoded["counts"].decode()}


def _counts(crop: MaskCrop, height: int, width: int) -> list[int]:
    """The lengths of the runs of off and on pixels in turn, column by column; the first may be 0."""
    # an off entry before the first column and after each, so that runs end where columns do
    padded = np.zeros((crop.width + 1, crop.height + 1), bool)
    padded[1:, :-1] = crop.columns
    pixels = padded.ravel()
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    column, row = np.divmod(changes, crop.height + 1)
    positions = (crop.left + column - 1) * height + crop.top + row
    if crop.height == height:  # there a run may go on in the next column
        values, times = np.unique(positions, return_counts=True)
        positions = values[times == 1]
    counts: list[int] = np.diff(positions, prepend=0, append=height * width).tolist()
    return counts if counts[-1] else counts[:-1]
