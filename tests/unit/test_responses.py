"""Answers open with the tools that the first server's users have."""

import gzip
import io
import json
import zlib

import numpy as np
import pytest
import torch
from tensormask_server import Detections
from tensormask_server.requests import BadRequest
from tensormask_server.responses import error_json, gzipped_torch


def some_detections(count: int, with_masks: bool = True) -> Detections:
    random = np.random.default_rng(0)
    return Detections(
        boxes=random.random((count, 4), np.float32),
        scores=np.sort(random.random(count, np.float32))[::-1].copy(),
        classes=random.integers(0, 80, count),
        masks=random.random((count, 30, 40)) > 0.5 if with_masks else None,
    )


def opened(answer: bytes) -> dict[str, torch.Tensor]:
    with gzip.open(io.BytesIO(answer)) as file:
        content: dict[str, torch.Tensor] = torch.load(io.BytesIO(file.read()), weights_only=True)
    return content


@pytest.mark.parametrize("count", [0, 1, 7])
def test_what_goes_in_comes_out(count: int) -> None:
    detections = some_detections(count)
    tensors = opened(gzipped_torch(detections))
    np.testing.assert_array_equal(tensors["pred_masks"], detections.masks)
    np.testing.assert_array_equal(tensors["scores"], detections.scores)
    np.testing.assert_array_equal(tensors["pred_classes"], detections.classes)
    np.testing.assert_array_equal(tensors["pred_boxes"], detections.boxes)
    assert [tensors[name].dtype for name in ("pred_masks", "scores", "pred_classes", "pred_boxes")] == [
        torch.bool,
        torch.float32,
        torch.int64,
        torch.float32,
    ]


def test_without_masks_there_is_no_pred_masks() -> None:
    assert set(opened(gzipped_torch(some_detections(2, with_masks=False)))) == {"scores", "pred_classes", "pred_boxes"}


def test_the_same_detections_give_the_same_bytes() -> None:
    assert gzipped_torch(some_detections(3)) == gzipped_torch(some_detections(3))


def test_it_compresses_about_as_well_as_zlib() -> None:
    masks = np.zeros((20, 200, 300), bool)
    masks[:, 50:150, 60:200] = True
    answer = gzipped_torch(
        Detections(np.zeros((20, 4), np.float32), np.zeros(20, np.float32), np.zeros(20, int), masks)
    )
    assert len(answer) < 2 * len(zlib.compress(masks.tobytes(), 6)) + 2000


def test_an_error_is_json_with_what_was_wrong_and_what_is_expected() -> None:
    assert json.loads(error_json(BadRequest("a × b", "c…"))) == {"error": "a × b", "expected": "c…"}
