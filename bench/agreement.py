"""How much two networks' responses on an image are alike: pairs of detections, and the overlap of their masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tensormask_server import Detections
from tensormask_server.prediction.agreement import pair_detections

COUNTED_SCORE = 0.3  # worse detections come and go with the rounding


@dataclass(frozen=True)
class Agreement:
    """Of the expected detections above COUNTED_SCORE."""

    expected: int
    paired: int
    mask_iou: float  # the mean over the pairs; not a number where there are none


def agreement(found: Detections, expected: Detections) -> Agreement:
    pairs = [pair for pair in pair_detections(found, expected) if expected.scores[pair.reference] > COUNTED_SCORE]
    ious = [pair.mask_iou for pair in pairs if pair.mask_iou is not None]
    counted = int(np.count_nonzero(expected.scores > COUNTED_SCORE))
    return Agreement(counted, len(pairs), float(np.mean(ious)) if ious else float("nan"))


def together(of_images: Sequence[Agreement]) -> Agreement:
    """Of several images as of one."""
    paired = sum(each.paired for each in of_images)
    overlaps = sum(each.paired * each.mask_iou for each in of_images if each.paired)
    mean = overlaps / paired if paired else float("nan")
    return Agreement(sum(each.expected for each in of_images), paired, mean)
