"""Converts detections to COCO's results, and computes COCO's scores of them as detectron2 does."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tensormask_server import Detections

from training.annotations import outline_of

MAX_DETECTIONS = 100  # of an image, in COCO's scores
# image_id, category_id, score, bbox (x y w h), and segmentation (compressed RLE) if the network makes masks
Result = dict[str, Any]


class EvaluationError(Exception):
    """Annotations, images or results can't be evaluated. The message has one line."""


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's scores, 0…1. They are NaN if there are no annotations for them."""

    ap: float  # the mean over IoU 0.5, 0.55 … 0.95
    ap50: float
    ap75: float
    small: float  # under 32² pixels, of the annotated mask
    medium: float
    large: float  # over 96²


@dataclass(frozen=True)
class Scores:
    """The scores of boxes and masks."""

    boxes: AveragePrecision
    masks: AveragePrecision | None  # None for results without masks, and for annotations without


def evaluate(annotations: Mapping[str, Any], results: Sequence[Result], max_detections: int = MAX_DETECTIONS) -> Scores:
    """Computes the scores on all images of the annotations. An image without results counts as one without detections.

    Args:
        annotations: the content of a COCO annotation file.
        results: of `coco_results`.
        max_detections: of an image; only its best ones count.

    Raises:
        DataError, EvaluationError: as `has_outlines`.
    """
    has_masks = has_outlines(annotations) and (not results or any("segmentation" in result for result in results))
    truth = COCO()
    images = {image["id"]: image for image in annotations["images"]}
    # copied, because COCOeval writes into them, and with new numbers, because it ignores a match with number 0
    numbered = [
        {"iscrowd": 0, **each, "segmentation": outline_of(each, images[each["image_id"]]), "id": i}
        for i, each in enumerate(annotations["annotations"], start=1)
    ]
    truth.dataset = {**annotations, "annotations": numbered}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        boxes = _average_precision(
            truth, [_without(result, "segmentation") for result in results], "bbox", max_detections
        )
        if not has_masks:
            return Scores(boxes, None)
        # without the box, so that an instance is small or large by its mask's area, and not by its box's
        without_boxes = [_without(result, "bbox") for result in results]
        return Scores(boxes, _average_precision(truth, without_boxes, "segm", max_detections))


def coco_results(image_id: int, detections: Detections, category_ids: Sequence[int]) -> list[Result]:
    """Converts one image's detections to COCO's results.

    Args:
        image_id: in the annotations.
        detections: on the image.
        category_ids: by class number.

    Raises:
        EvaluationError: a detection's class has no category.
    """
    if len(detections) and detections.classes.max() >= len(category_ids):
        raise EvaluationError(
            f"the network detects class {detections.classes.max()}, and the annotation file has only "
            f"{len(category_ids)} categories; expected those that the network was trained on"
        )
    results: list[Result] = [
        {
            "image_id": image_id,
            "category_id": category_ids[class_index],
            "score": score,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
        }
        for class_index, score, (x0, y0, x1, y1) in zip(
            detections.classes.tolist(), detections.scores.tolist(), detections.boxes.tolist(), strict=True
        )
    ]
    if detections.image_masks is not None:
        masks = detections.image_masks.dense()  # not `masks`, which the detections would keep
        encoded = rle.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
        for result, mask in zip(results, encoded, strict=True):
            result["segmentation"] = {"size": mask["size"], "counts": mask["counts"].decode()}
    return results


def has_outlines(annotations: Mapping[str, Any]) -> bool:
    """Whether the annotations of `read_annotations` have masks. Otherwise only boxes can be scored.

    Raises:
        DataError: as `outline_of`.
        EvaluationError: an annotation has no box or no area. Or it has no outline although others have. Or its outline
            has another size than its image.
    """
    images = {image["id"]: image for image in annotations["images"]}
    without = []
    for annotation in annotations["annotations"]:
        name = f"annotation {annotation.get('id')}"
        if not (_are_numbers(annotation.get("bbox"), 4) and _are_numbers([annotation.get("area")], 1)):
            raise EvaluationError(f"{name} has no 'bbox' [x, y, w, h] or no 'area'; COCO's scores need both")
        if not outline_of(annotation, images[annotation["image_id"]]):
            without.append(name)
    if 0 < len(without) < len(annotations["annotations"]):
        raise EvaluationError(
            f"{without[0]} outlines nothing, although others do; expected a polygon of three points or RLE in "
            "each annotation, or in none if only boxes count"
        )
    return not without


def _are_numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(isinstance(each, int | float) for each in values)


def _average_precision(truth: COCO, results: list[Result], iou_type: str, max_detections: int) -> AveragePrecision:
    evaluation = COCOeval(truth, truth.loadRes(results) if results else COCO(), iou_type)
    evaluation.params.maxDets = [1, 10, max_detections]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    # of all sizes, and the most detections; pycocotools' own summary of it is for 100 detections only
    precisions = evaluation.eval["precision"][:, :, :, 0, 2] if evaluation.eval else np.empty(0)
    known = precisions[precisions > -1]
    ap = float(known.mean()) if known.size else float("nan")
    return AveragePrecision(ap, *(float("nan") if score < 0 else float(score) for score in evaluation.stats[1:6]))


def _without(result: Result, key: str) -> Result:
    return {name: value for name, value in result.items() if name != key}
