"""Detections as COCO's results write them."""

from collections.abc import Sequence
from typing import Any

from tensormask_server.classes import category_ids
from tensormask_server.detections import Detections
from tensormask_server.run_lengths import encode_mask


def coco_instances(detections: Detections, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """
    Returns:
        Of each thing, best score first: {"category_id", "category_name", "bbox": [x, y, w, h] in the image's pixels,
        "score"}, and "segmentation", its mask as compressed RLE, where the network makes masks. Nothing is rounded.
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
