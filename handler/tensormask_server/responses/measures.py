"""Measures of a mask, by the definitions of scikit-image's `regionprops`. Only the pixels of its crop are read."""

import math
from dataclasses import dataclass

import numpy as np

from tensormask_server.prediction.image_masks import MaskCrop

# The part of the perimeter that a border pixel stands for, by 1, plus 2 for each of its neighbours that are border
# pixels, plus 10 for each diagonal one. From K. Benkrid, D. Crookes: Design and FPGA Implementation of a Perimeter
# Estimator.
PERIMETER_OF = np.zeros(50)
PERIMETER_OF[[5, 7, 15, 17, 25, 27]] = 1
PERIMETER_OF[[21, 33]] = math.sqrt(2)
PERIMETER_OF[[13, 23]] = (1 + math.sqrt(2)) / 2


@dataclass(frozen=True)
class Measures:
    """The measures of one mask, in pixels."""

    area: int
    perimeter: float
    centroid_x: float  # column and row of the mean pixel; those of the image's first pixel are 0, 0. NaN: no pixel
    centroid_y: float
    equivalent_diameter: float  # of the disc with the same area
    orientation: float  # radians, -π/2…π/2, from the image's vertical to the mask's longer axis. NaN: no pixel


def measures_of(crop: MaskCrop) -> Measures:
    """Measures a mask."""
    framed = np.zeros((crop.width + 2, crop.height + 2), bool)  # (w+2, h+2): the crop's columns, in pixels that are off
    framed[1:-1, 1:-1] = crop.columns
    changes = np.flatnonzero(framed.ravel()[1:] != framed.ravel()[:-1])
    starts, lengths = changes[::2] + 1, changes[1::2] - changes[::2]  # of the runs of pixels in columns
    x, y = np.divmod(starts, crop.height + 2)
    # sums over all pixels, from those over each run; in int64 they are exact, and in Python's integers after that
    y_of_run = (2 * y + lengths - 1) * lengths // 2
    area, sum_x, sum_y = int(lengths.sum()), int((x * lengths).sum()), int(y_of_run.sum())
    sum_xx, sum_xy = int((x * x * lengths).sum()), int((x * y_of_run).sum())
    sum_yy = int((_sum_of_squares(y + lengths) - _sum_of_squares(y)).sum())
    if area == 0:
        return Measures(0, 0.0, math.nan, math.nan, 0.0, math.nan)
    # the variances and the covariance of x and y, times the square of the area
    xx, xy, yy = area * sum_xx - sum_x**2, area * sum_xy - sum_x * sum_y, area * sum_yy - sum_y**2
    # scikit-image's choice where no axis is longer
    orientation = math.atan2(2 * xy, yy - xx) / 2 if xx != yy else math.pi / 4 if xy > 0 else -math.pi / 4
    return Measures(
        area=area,
        perimeter=_perimeter(framed),
        centroid_x=sum_x / area - 1 + crop.left,
        centroid_y=sum_y / area - 1 + crop.top,
        equivalent_diameter=math.sqrt(4 * area / math.pi),
        orientation=orientation,
    )


def _sum_of_squares(stop: np.ndarray) -> np.ndarray:
    """int64 (n,): 0² + 1² + … + (stop - 1)²."""
    sums: np.ndarray = (stop - 1) * stop * (2 * stop - 1) // 6
    return sums


def _perimeter(framed: np.ndarray) -> float:
    """Estimates the length of a mask's outlines, those of its holes included.

    Args:
        framed: bool (w+2, h+2): the mask, with a frame of pixels that are off.
    """
    inside = framed[1:-1, 1:-1] & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    borders = framed.copy()  # the pixels with a neighbour above, below, left or right that is off
    borders[1:-1, 1:-1] ^= inside
    flat, stride = borders.ravel().view(np.uint8), framed.shape[1]
    places = np.flatnonzero(flat)
    kinds = np.ones(len(places), np.uint8)
    for offset, weight in ((1, 2), (stride, 2), (stride - 1, 10), (stride + 1, 10)):
        kinds += weight * (flat[places - offset] + flat[places + offset])
    return float(np.bincount(kinds, minlength=50) @ PERIMETER_OF)
