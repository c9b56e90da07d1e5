"""How much two networks' answers on a picture are alike: pairs of detections, and the overlap of their masks."""

from dataclasses import dataclass

import numpy as np
from tensormask_server import Detections

LEAST_BOX_IOU = 0.5
COUNTED_SCORE = 0.3  # worse detections come and go with the rounding


@dataclass(frozen=True)
class Agreement:
    """Of the expected detections above COUNTED_SCORE."""

    expected: int
    paired: int
    mask_iou: float  # the mean over the pairs; not a number where there are none


def agreement(found: Detections, expected: Detections) -> Agreement:
    """Pairs each expected detection, best score first, with the found one of its class that overlaps it most."""
    counted = np.flatnonzero(expected.scores > COUNTED_SCORE)
    overlaps = _box_ious(expected.boxes[counted], found.boxes) * (expected.classes[counted, None] == found.classes)
    ious = []
    for i, row in zip(counted, overlaps, strict=True):
        if len(row) == 0 or row.max() < LEAST_BOX_IOU:
            continue
        j = int(row.argmax())
        overlaps[:, j] = 0
        ious.append(_mask_iou(found, j, expected, int(i)))
    return Agreement(len(counted), len(ious), float(np.mean(ious)) if ious else float("nan"))


def _box_ious(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    low = np.maximum(one[:, None, :2], other[:, :2])
    high = np.minimum(one[:, None, 2:], other[:, 2:])
    common = np.prod((high - low).clip(min=0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    return np.asarray(common / (areas[0][:, None] + areas[1] - common))


def _mask_iou(found: Detections, i: int, expected: Detections, j: int) -> float:
    assert found.picture_masks is not None
    assert expected.picture_masks is not None
    one, other = found.picture_masks.dense_mask(i), expected.picture_masks.dense_mask(j)
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0
