"""How well two networks' detections on an image agree: their pairs, and the overlap of their masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tensormask_server import Detections
from tensormask_server.prediction.agreement import pair_detections

COUNTED_SCORE = 0.3  # rounding can add or remove detections with lower scores


@dataclass(frozen=True)
class Agreement:
    """The agreement on the expected detections with scores above COUNTED_SCORE."""

    expected: int  # their number
    paired: int  # how many of them are detected
    mask_iou: float  # the mean over the pairs; NaN if there are none


def agreement(detections: Detections, expected: Detections) -> Agreement:
    """Pairs the detections on one image with the expected ones."""
    pairs = [pair for pair in pair_detections(detections, expected) if expected.scores[pair.reference] > COUNTED_SCORE]
    ious = [pair.mask_iou for pair in pairs if pair.mask_iou is not None]
    counted = int(np.count_nonzero(expected.scores > COUNTED_SCORE))
    return Agreement(counted, len(pairs), float(np.mean(ious)) if ious else float("nan"))


def together(of_images: Sequence[Agreement]) -> Agreement:
    """The agreement on several images together."""
    paired = sum(each.paired for each in of_images)
    overlaps = sum(each.paired * each.mask_iou for each in of_images if each.paired)
    mean = overlaps / paired if paired else float("nan")
    return Agreement(sum(each.expected for each in of_images), paired, mean)
