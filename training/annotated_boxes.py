"""Boxes that annotations give as bbox: checked, and compared with those of their segmentations."""

from typing import Any

from tensormask_server.printable import quoted

Box = tuple[float, float, float, float]  # x0 y0 x1 y1 in pixels of the image

LEAST_SIDE = 0.01  # of a box, in pixels; of a smaller one float32 may leave nothing, whose logarithm is infinite
LEAST_OVERLAP = 0.5  # IoU of the bbox and the segmentation's box


class BoxError(ValueError):
    """A bbox that is damaged. The message is a clause without the annotation's name."""


def checked_box(bbox: Any, height: int, width: int) -> Box | None:
    """The part of an annotation's bbox that lies within the image, as detectron2's loader takes it.

    Args:
        bbox: the value of "bbox" in COCO's format, [x, y, width, height] in pixels, or None.
        height, width: of the image, in pixels.

    Returns:
        None if there is no bbox, or if none of it is within the image, or its sides there are 0 or negative.

    Raises:
        BoxError: it isn't four numbers, or has an edge that is no number or lies more than the image's size outside.
    """
    if bbox is None or bbox == []:
        return None
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(type(each) in (int, float) for each in bbox):
        raise BoxError(f"its bbox is {quoted(bbox, 80)}; expected [x, y, width, height] in pixels")
    edges = []
    for low, length, side in ((bbox[0], bbox[2], width), (bbox[1], bbox[3], height)):
        # NaN compares as False; a sum of such numbers could overflow
        if not (-side <= low <= 2 * side and -side - low <= length <= 2 * side - low):
            raise BoxError(
                f"its bbox is {quoted(bbox, 80)}, on an image of {width}×{height} (width × height); expected "
                "[x, y, width, height] in pixels, within the image or at most its size outside of it"
            )
        edges.append((max(float(low), 0.0), min(float(low + length), float(side))))
    (x0, x1), (y0, y1) = edges
    return (x0, y0, x1, y1) if min(x1 - x0, y1 - y0) >= LEAST_SIDE else None


def is_far_from(box: Box, other: Box) -> bool:
    """Whether two boxes hardly show the same instance: their intersection over union is below 0.5."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    intersection = max(width, 0) * max(height, 0)
    return bool(intersection < LEAST_OVERLAP * (_area(box) + _area(other) - intersection))


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
