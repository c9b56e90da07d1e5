"""Segmentations of COCO's annotations: checked before pycocotools reads them, and the reasons to leave some out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as rle
from tensormask_server.printable import printable, quoted

from training.run_lengths import RunLengthError, checked_runs
from training.spelled_numbers import read_whole_number

EXPECTED = "expected a list of polygons [x, y, x, y, …], or RLE with 'size' and 'counts'"
FEWEST_NUMBERS = 6  # of a polygon of three points
# All sides together, in pixels. pycocotools takes 100 bytes for each, and an instance's outline has a few thousand.
LONGEST_OUTLINE = 2_000_000
TOLERANCE = 0.1  # of coordinates from 0 to 1: rounding can lead over the edge
SMALL_AREA = 16  # square pixels; below it a polygon can lie between all pixel centres

# why an annotation is left out
CROWD = "crowd (iscrowd 1)"
NO_SEGMENTATION = "no segmentation"
BOX_ONLY = "a box only, without a segmentation"
EMPTY = "an empty segmentation"
TOO_FEW_POINTS = "polygons of fewer than three points"
ODD = "polygons of an odd number of coordinates"
NORMALISED = "polygons with coordinates from 0 to 1, as fractions of the image; expected pixels"
OUTSIDE = "outside the image"
NO_PIXEL = "a segmentation that covers no pixel"


class SegmentationError(ValueError):
    """A segmentation that is damaged. The message is a clause without the annotation's name."""


def checked_segmentation(segmentation: Any, height: int, width: int) -> Any:
    """Checks a segmentation, so that pycocotools can read it without a crash or endless memory.

    Args:
        segmentation: the value of "segmentation" in COCO's format, or None.
        height, width: of the image, in pixels.

    Returns:
        RLE as {"size": [height, width], "counts": …}. Or the polygons of three points and more, as detectron2 takes
        them, each a list of x, y, x, y, … in pixels. Or an empty list where there is none.

    Raises:
        SegmentationError: it is neither, its RLE doesn't fit the image, or it has coordinates that are no numbers or
            lie more than the image's size outside of it.
    """
    if isinstance(segmentation, Mapping) and isinstance(segmentation.get("counts"), list | str | bytes):
        try:
            counts, _ = checked_runs(segmentation["counts"], *_checked_size(segmentation.get("size"), height, width))
        except RunLengthError as error:
            raise SegmentationError(str(error)) from error
        return {"size": [height, width], "counts": counts}
    if not isinstance(segmentation, list | None):
        raise SegmentationError(f"its segmentation is {printable(str(segmentation)[:60])}; {EXPECTED}")
    for polygon in segmentation or ():
        _check_polygon(polygon, height, width)
    outline = sum(_outline_length(polygon) for polygon in segmentation or () if _is_outline(polygon))
    if outline > LONGEST_OUTLINE:
        raise SegmentationError(
            f"its outline is {outline:.0f} pixels long; supported: {LONGEST_OUTLINE}, on any image; simplify it"
        )
    return [polygon for polygon in segmentation or () if _is_outline(polygon)]


def reason_to_leave_out(annotation: Mapping[str, Any], checked: Any, height: int, width: int) -> str | None:
    """Why nothing can be learnt from an annotation.

    Args:
        annotation: of `read_annotations`.
        checked: its segmentation, of `checked_segmentation`.
        height, width: of the image, in pixels.

    Returns:
        One of this module's reasons; None if the annotation outlines an instance.
    """
    segmentation = annotation.get("segmentation")
    if annotation.get("iscrowd"):
        return CROWD
    if isinstance(checked, Mapping):
        _, on = checked_runs(checked["counts"], height, width)
        return None if on else NO_PIXEL
    if segmentation is None:
        return BOX_ONLY if annotation.get("bbox") else NO_SEGMENTATION
    if not any(segmentation):
        return EMPTY
    if not checked:
        return ODD if any(len(polygon) >= FEWEST_NUMBERS for polygon in segmentation) else TOO_FEW_POINTS
    return _reason_of_polygons(checked, height, width)


def encoded_segmentation(checked: Any, height: int, width: int) -> Any:
    """One compressed RLE, as pycocotools takes it, of polygons or of RLE that `checked_segmentation` returned."""
    if isinstance(checked, list):
        return rle.merge(rle.frPyObjects(checked, height, width))
    return rle.frPyObjects(checked, height, width) if isinstance(checked["counts"], list) else checked


def segmentation_box(checked: Any, height: int, width: int) -> tuple[float, float, float, float]:
    """x0 y0 x1 y1 in pixels of the part of a checked segmentation that lies within the image, without decoding it."""
    if isinstance(checked, list):
        (x0, y0), (x1, y1) = _extent(checked)
    else:
        x0, y0, x1, y1 = rle.toBbox(encoded_segmentation(checked, height, width))
        x1, y1 = x0 + x1, y0 + y1
    return max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)


def _checked_size(size: Any, height: int, width: int) -> tuple[int, int]:
    sides = [read_whole_number(side) for side in size] if isinstance(size, list | tuple) else None
    if sides != [height, width]:
        raise SegmentationError(
            f"its RLE is of the size {quoted(size)}, on an image of [{height}, {width}] (height, width)"
        )
    return height, width


def _check_polygon(polygon: Any, height: int, width: int) -> None:
    try:
        numbers = np.array(polygon if isinstance(polygon, list) else None)
    except ValueError:  # lists of several lengths
        numbers = np.array(None)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iuf":
        raise SegmentationError(f"its segmentation has {printable(str(polygon)[:60])} in it; {EXPECTED}")
    points = numbers[: len(numbers) // 2 * 2].astype(np.float64).reshape(-1, 2)
    sides = np.array((width, height))
    wrong = np.argwhere(~((points >= -sides) & (points <= 2 * sides)))  # NaN compares as False
    if len(wrong):
        point, axis = wrong[0].tolist()
        raise SegmentationError(
            f"{'xy'[axis]} is {points[point, axis]:.10g} at point {point} of its polygon, on an image of "
            f"{width}×{height} (width × height); expected a number within the image, or at most its size outside of it"
        )


def _is_outline(polygon: list[float]) -> bool:
    return len(polygon) >= FEWEST_NUMBERS and len(polygon) % 2 == 0


def _outline_length(polygon: list[float]) -> float:
    points = np.array(polygon, np.float64).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _reason_of_polygons(polygons: list[list[float]], height: int, width: int) -> str | None:
    low, high = _extent(polygons)
    if (high[0] <= 0) or (high[1] <= 0) or low[0] >= width or low[1] >= height:
        return OUTSIDE
    if low.min() >= -TOLERANCE and high.max() <= 1 + TOLERANCE:
        return NORMALISED
    within = low.min() >= 0 and high[0] <= width and high[1] <= height
    if within and max(_area(polygon) for polygon in polygons) > SMALL_AREA:
        return None  # it needs no exact look, which takes longer
    return None if rle.area(encoded_segmentation(polygons, height, width)) else NO_PIXEL


def _extent(polygons: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest x and y of all points, float64 (2,) each, in pixels."""
    points = np.concatenate([np.array(polygon, np.float64).reshape(-1, 2) for polygon in polygons])
    return points.min(axis=0), points.max(axis=0)


def _area(polygon: list[float]) -> float:
    """The shoelace formula, in square pixels; small also where a polygon crosses itself."""
    x, y = np.array(polygon, np.float64).reshape(-1, 2).T
    return float(abs((x * np.roll(y, 1) - y * np.roll(x, 1)).sum()) / 2)
