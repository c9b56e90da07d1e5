"""Detections or an error to the bytes of a response."""

import io
import json

import torch
from isal import igzip

from tensormask_server.predictor import Detections
from tensormask_server.requests import BadRequest

# masks are long runs of zeros and ones: higher levels take longer and gain little
GZIP_LEVEL = 1


def gzipped_torch(detections: Detections) -> bytes:
    """What the first server answered, in tensors alone: `torch.load(gzip.open(…), weights_only=True)` opens it.

    Returns:
        A gzip of torch.save's {"pred_masks": bool (N, H, W), "scores": float32 (N,), "pred_classes": int64 (N,),
        "pred_boxes": float32 (N, 4)}; without "pred_masks" where the network makes none.
    """
    tensors = {
        "scores": torch.from_numpy(detections.scores),
        "pred_classes": torch.from_numpy(detections.classes),
        "pred_boxes": torch.from_numpy(detections.boxes),
    }
    if detections.masks is not None:
        tensors["pred_masks"] = torch.from_numpy(detections.masks)
    packed = io.BytesIO()
    with igzip.IGzipFile(fileobj=packed, mode="wb", compresslevel=GZIP_LEVEL, mtime=0) as file:
        torch.save(tensors, file)
    return packed.getvalue()


def error_json(error: BadRequest) -> bytes:
    """{"error": what was wrong, "expected": what would be accepted}, UTF-8."""
    return json.dumps({"error": error.error, "expected": error.expected}, ensure_ascii=False).encode()
