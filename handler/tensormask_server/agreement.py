"""Two answers on one image side by side: which detections are the same thing, and how far they differ."""

from dataclasses import dataclass

import numpy as np

from tensormask_server.predictor import Detections

LEAST_BOX_IOU = 0.5
# how far two answers of the same network may differ: sums in another order make less of a difference than this
BOX_TOLERANCE = 0.05  # pixels
SCORE_TOLERANCE = 1e-4
LEAST_MASK_IOU = 0.998


@dataclass(frozen=True)
class Pair:
    """The same thing in two answers."""

    found: int  # its place in each answer
    expected: int
    box_difference: float  # pixels, of the side that differs most
    score_difference: float
    mask_iou: float | None  # None where an answer has no masks

    @property
    def is_same(self) -> bool:
        """Whether it differs by no more than the tolerances."""
        same_mask = self.mask_iou is None or self.mask_iou >= LEAST_MASK_IOU
        return self.box_difference <= BOX_TOLERANCE and self.score_difference <= SCORE_TOLERANCE and same_mask


def paired(found: Detections, expected: Detections) -> list[Pair]:
    """Pairs the detections of one class that overlap by an IoU of LEAST_BOX_IOU at least, those most alike first.

    Returns:
        The pairs in the order of `expected`; no detection is in two of them.
    """
    overlaps = _box_ious(expected.boxes, found.boxes)
    candidates = (overlaps >= LEAST_BOX_IOU) & (expected.classes[:, None] == found.classes)
    # the scores tell those apart whose boxes, clipped to the image, are one
    likeness = overlaps - np.abs(expected.scores[:, None] - found.scores)
    places = np.argwhere(candidates)
    found_of: dict[int, int] = {}
    taken: set[int] = set()
    for j, i in places[np.argsort(-likeness[candidates], kind="stable")].tolist():
        if j not in found_of and i not in taken:
            found_of[j] = i
            taken.add(i)
    return [_pair(found, i, expected, j) for j, i in sorted(found_of.items())]


def _pair(found: Detections, i: int, expected: Detections, j: int) -> Pair:
    return Pair(
        found=i,
        expected=j,
        box_difference=float(np.abs(found.boxes[i] - expected.boxes[j]).max()),
        score_difference=float(np.abs(found.scores[i] - expected.scores[j])),
        mask_iou=_mask_iou(found, i, expected, j),
    )


def _box_ious(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    low = np.maximum(one[:, None, :2], other[:, :2])
    high = np.minimum(one[:, None, 2:], other[:, 2:])
    common = np.prod((high - low).clip(min=0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    return np.asarray(common / (areas[0][:, None] + areas[1] - common))


def _mask_iou(found: Detections, i: int, expected: Detections, j: int) -> float | None:
    if found.image_masks is None or expected.image_masks is None:
        return None
    one, other = found.image_masks.dense_mask(i), expected.image_masks.dense_mask(j)
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0
