"""Compares two results for one image: pairs their detections, and measures how far each pair differs."""

from dataclasses import dataclass

import numpy as np

from tensormask_server.detections import Detections

MIN_BOX_IOU = 0.5  # of a pair
# Two results of the same network may differ by this. Sums in another order make a smaller difference.
BOX_TOLERANCE = 0.05  # pixels
SCORE_TOLERANCE = 1e-4
MIN_MASK_IOU = 0.998


@dataclass(frozen=True)
class Pair:
    """One instance in two results."""

    detection: int  # its index in the detections
    reference: int  # its index in the reference
    box_difference: float  # pixels: the largest difference of the four coordinates
    score_difference: float  # absolute
    mask_iou: float | None  # None if one of the results has no masks

    @property
    def is_same(self) -> bool:
        """Whether all differences are within the tolerances."""
        same_mask = self.mask_iou is None or self.mask_iou >= MIN_MASK_IOU
        return self.box_difference <= BOX_TOLERANCE and self.score_difference <= SCORE_TOLERANCE and same_mask


def pair_detections(detections: Detections, reference: Detections) -> list[Pair]:
    """Pairs the detections of two results that have the same class and a box IoU of MIN_BOX_IOU or more.

    The most similar ones are paired first. No detection is in two pairs.

    Returns:
        The pairs, in the order of the reference.
    """
    ious = _box_ious(reference.boxes, detections.boxes)  # (R, N)
    candidates = (ious >= MIN_BOX_IOU) & (reference.classes[:, None] == detections.classes)
    # boxes that are clipped to the image can be equal; then the scores tell the detections apart
    similarity = ious - np.abs(reference.scores[:, None] - detections.scores)
    indices = np.argwhere(candidates)
    detection_of: dict[int, int] = {}  # by the index in the reference
    taken: set[int] = set()
    for j, i in indices[np.argsort(-similarity[candidates], kind="stable")].tolist():
        if j not in detection_of and i not in taken:
            detection_of[j] = i
            taken.add(i)
    return [_pair(detections, i, reference, j) for j, i in sorted(detection_of.items())]


def _pair(detections: Detections, i: int, reference: Detections, j: int) -> Pair:
    return Pair(
        detection=i,
        reference=j,
        box_difference=float(np.abs(detections.boxes[i] - reference.boxes[j]).max()),
        score_difference=float(np.abs(detections.scores[i] - reference.scores[j])),
        mask_iou=_mask_iou(detections, i, reference, j),
    )


def _box_ious(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, 4) and (M, 4), x0 y0 x1 y1, to the IoU of each with each, (N, M)."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    intersections = np.prod((high - low).clip(min=0), axis=2)
    areas, other_areas = (np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (boxes, others))
    return np.asarray(intersections / (areas[:, None] + other_areas - intersections))


def _mask_iou(detections: Detections, i: int, reference: Detections, j: int) -> float | None:
    if detections.image_masks is None or reference.image_masks is None:
        return None
    mask, other = detections.image_masks.dense_mask(i), reference.image_masks.dense_mask(j)
    union = np.count_nonzero(mask | other)
    return float(np.count_nonzero(mask & other) / union) if union else 1.0
