"""Encodes detections as COCO's results."""

from collections.abc import Sequence
from typing import Any

from tensormask_server.classes import category_ids
from tensormask_server.prediction.detections import Detections
from tensormask_server.responses.result import Result
from tensormask_server.responses.run_lengths import encode_mask


def coco_document(result: Result) -> dict[str, Any]:
    """Encodes a response in the format coco.

    Returns:
        {"instances": as `coco_instances`, with boxes rounded to 0.01 pixels and scores to 6 digits, "width", "height",
        "model", "weights_sha256"}. Each instance has also "area" and "iscrowd", which is 0. The area is the number of
        the mask's pixels, or the box's area if the network makes no masks. If the request has an image_id and a
        file_name, they are in each instance and beside "instances".
    """
    model, masks = result.model, result.detections.image_masks
    of_request = {"image_id": result.response.image_id, "file_name": result.response.file_name}
    named = {name: value for name, value in of_request.items() if value is not None}
    instances = []
    for i, each in enumerate(coco_instances(result.detections, model.class_names)):
        rounded = {"bbox": [round(value, 2) for value in each["bbox"]], "score": round(each["score"], 6)}
        area = round(each["bbox"][2] * each["bbox"][3], 2) if masks is None else masks.crops[i].area
        instances.append({**named, **each, **rounded, "area": area, "iscrowd": 0})
    height, width = result.image.shape[:2]
    about = {"width": width, "height": height, "model": model.name, "weights_sha256": model.weights_sha256}
    return {**named, "instances": instances, **about}


def coco_instances(detections: Detections, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Encodes detections as COCO's results, without rounding.

    Args:
        detections: on one image.
        class_names: by class number.

    Returns:
        For each detection, best score first: {"category_id", "category_name", "bbox": [x, y, w, h] in pixels of the
        image, "score"}. If the network makes masks, also "segmentation": the mask as compressed RLE.
    """
    ids = category_ids(class_names)
    instances: list[dict[str, Any]] = [
        {
            "category_id": ids[number],
            "category_name": class_names[number],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": score,
        }
        for number, score, (x0, y0, x1, y1) in zip(
            detections.classes.tolist(), detections.scores.tolist(), detections.boxes.tolist(), strict=True
        )
    ]
    masks = detections.image_masks
    if masks is not None:
        for instance, crop in zip(instances, masks, strict=True):
            instance["segmentation"] = encode_mask(crop, masks.height, masks.width)
    return instances
