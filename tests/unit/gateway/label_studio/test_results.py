"""The regions of Label Studio's results, from what the server answers."""

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco
from tensormask_server.gateway.errors import GatewayError
from tensormask_server.gateway.label_studio.config import Control
from tensormask_server.gateway.label_studio.labels import Labelling
from tensormask_server.gateway.label_studio.results import LARGEST_BRUSHED, regions, request_options

from tests.unit.gateway.label_studio.test_rle import decoded


def labelling(tool: str, threshold: float | None = None, classes: tuple[int, ...] = (3, 5)) -> Labelling:
    return Labelling(Control(tool, "from", "to", "key", (), threshold), {"cat": "Cat", "dog": "Dog"}, classes)


def response(masks: np.ndarray, names: list[str]) -> dict[str, Any]:
    instances = [
        {
            "category_name": name,
            "bbox": [1.5, 2, 3, 4],
            "score": 0.9 - index / 10,
            "area": int(mask.sum()),
            "segmentation": {"counts": coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()},
        }
        for index, (mask, name) in enumerate(zip(masks, names, strict=True))
    ]
    return {"instances": instances, "height": masks.shape[1], "width": masks.shape[2]}


def test_the_request_asks_for_what_is_needed() -> None:
    assert request_options(labelling("brushlabels")) == {"format": "coco", "classes": "3,5"}
    assert request_options(labelling("polygonlabels", 0.25, ())) == {
        "format": "polygons",
        "image_data": "none",
        "score_threshold": "0.25",
    }
    assert "classes" not in request_options(labelling("brushlabels", classes=tuple(range(2000))))


def test_brushes_are_the_masks_of_the_labelled_instances() -> None:
    masks = np.random.default_rng(0).random((4, 20, 30)) < 0.4
    masks[2] = False
    found = regions(labelling("brushlabels"), response(masks, ["cat", "bird", "cat", "dog"]))
    assert [each["value"]["brushlabels"] for each in found] == [["Cat"], ["Dog"]]
    assert [each["score"] for each in found] == [0.9, pytest.approx(0.6)]
    for region, mask in zip(found, masks[[0, 3]], strict=True):
        np.testing.assert_array_equal(decoded(region["value"]["rle"], 20, 30)[..., 3], 255 * mask)
        assert region["value"]["format"] == "rle"
        assert (region["original_width"], region["original_height"], region["image_rotation"]) == (30, 20, 0)
        assert (region["from_name"], region["to_name"], region["type"]) == ("from", "to", "brushlabels")
    assert len({each["id"] for each in found}) == 2


def test_rectangles_are_in_percent() -> None:
    [box] = regions(labelling("rectanglelabels"), response(np.ones((1, 10, 20), bool), ["cat"]))
    assert box["value"] == {"x": 7.5, "y": 20, "width": 15, "height": 40, "rotation": 0, "rectanglelabels": ["Cat"]}


def test_polygons_are_in_percent_with_a_region_for_each_piece() -> None:
    shape = {"label": "cat", "points": [[0, 0], [10, 0], [10, 20]], "description": "score 0.931"}
    file = {"shapes": [shape, {**shape, "label": "bird"}, shape], "imageHeight": 20, "imageWidth": 40}
    found = regions(labelling("polygonlabels"), file)
    assert [each["value"] for each in found] == [
        {"points": [[0, 0], [25, 0], [25, 100]], "closed": True, "polygonlabels": ["Cat"]}
    ] * 2
    assert {each["score"] for each in found} == {0.931}


def test_what_a_brush_cannot_hold_is_a_400() -> None:
    without = response(np.ones((1, 4, 4), bool), ["cat"])
    del without["instances"][0]["segmentation"]
    with pytest.raises(GatewayError, match="no masks"):
        regions(labelling("brushlabels"), without)
    with pytest.raises(GatewayError, match="pixels"):
        regions(labelling("brushlabels"), {"height": LARGEST_BRUSHED, "width": 2, "instances": []})
