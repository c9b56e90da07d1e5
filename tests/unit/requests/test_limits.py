"""The limits of a request: they are checked by its images' headers, before any image is decoded."""

import base64
import io
import json
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile
from tensormask_server.bad_request import BadRequest
from tensormask_server.images.large import LargeImage
from tensormask_server.options import Limits
from tensormask_server.requests.parsing import Request, parse_request

DEFAULTS = Limits()


def png(height: int, width: int) -> str:
    content = io.BytesIO()
    Image.new("L", (width, height)).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def parsed(body: dict[str, Any], limits: Limits = DEFAULTS, max_masks: int = 100) -> Request:
    return parse_request({"body": json.dumps(body).encode()}, {}, limits, ("cat",), max_masks)


def instances(*sizes: tuple[int, int], **options: object) -> dict[str, Any]:
    return {"instances": [png(*size) for size in sizes], **options}


def tensor(*sizes: tuple[int, int]) -> dict[str, Any]:
    return {"inputs": [{"datatype": "BYTES", "shape": [len(sizes)], "data": [png(*size) for size in sizes]}]}


# by the option: its value, what is just within, what isn't, and what the error says
LIMITED = {
    "max_pixels": (
        300,
        {"image": png(10, 30)},
        {"image": png(7, 43)},
        "the image has 301 pixels (width 43, height 7)",
    ),
    "max_side": (30, {"image": png(30, 9)}, {"image": png(31, 9)}, "the image has a side of more than"),
    "max_images": (2, instances((1, 1), (1, 1)), tensor((1, 1), (1, 1), (1, 1)), "the request has 3 images"),
    "max_request_pixels": (
        (17 << 20),
        instances((1024, 1024), (4096, 2048), (4096, 2048), max_detections=1),
        instances((1024, 1025), (4096, 2048), (4096, 2048), max_detections=1),
        "the request's 3 images have 17826816 pixels together",
    ),
    "max_tiles": (
        7,
        {"image": png(64, 96), "tile_size": 32, "tile_overlap": 0},
        instances((32, 64), (64, 96), tile_size=32, tile_overlap=0, tile_whole=False) | {"max_detections": 1},
        "the request has 8 tiles",
    ),
    "max_mask_pixels": (
        2000,
        instances((1, 10), (1, 10)),
        instances((1, 10), (1, 11)),
        "200 masks of 2 images have up to 2100 pixels",
    ),
}


@pytest.mark.parametrize("option", LIMITED)
def test_a_limit_holds_and_the_error_says_what_was_found_what_is_allowed_and_what_changes_it(option: str) -> None:
    value, within, beyond, found = LIMITED[option]
    limits = Limits(**{option: value})
    assert parsed(within, limits).items
    with pytest.raises(BadRequest, match=re.escape(found)) as caught:
        parsed(beyond, limits)
    assert f"more than the {value} allowed" in caught.value.error
    assert f"--{option.replace('_', '-')} " in caught.value.expected
    assert parsed(beyond).items


@pytest.mark.parametrize("option", LIMITED)
def test_nothing_is_decoded_before_all_images_are_known_to_be_within_the_limits(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, within, beyond, _ = LIMITED[option]
    loads = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: (loads.append(image), load(image))[1])
    with pytest.raises(BadRequest):
        parsed(beyond, Limits(**{option: value}))
    assert loads == []
    parsed(within, Limits(**{option: value}))
    assert loads


def test_the_image_that_is_too_large_is_named() -> None:
    with pytest.raises(BadRequest, match=r"instances\[1\]: the image has 301 pixels"):
        parsed(instances((1, 1), (7, 43)), Limits(max_pixels=300))
    with pytest.raises(BadRequest, match=r"inputs\[0\]\.data\[1\]: the image has 301 pixels"):
        parsed(tensor((1, 1), (7, 43)), Limits(max_pixels=300))


def test_pixels_in_json_count_as_those_of_files_do() -> None:
    pixels = {"img_data": np.zeros((3, 7, 43), int).tolist()}
    with pytest.raises(BadRequest, match="2 images have 602 pixels together"):
        parsed({"instances": [pixels, pixels]}, Limits(max_pixels=301, max_request_pixels=600))
    with pytest.raises(BadRequest, match=r"a side of more than the 42 allowed \(width 43, height 7\)"):
        parsed(pixels, Limits(max_side=42))
    flat = {"datatype": "UINT8", "shape": [2, 7, 43, 3], "data": [0] * (2 * 7 * 43 * 3)}
    with pytest.raises(BadRequest, match="2 images, more than the 1 allowed"):
        parsed({"inputs": [flat]}, Limits(max_images=1))


def test_masks_are_counted_by_the_options_of_each_image() -> None:
    limits = Limits(max_mask_pixels=1000)
    assert parsed({"image": png(1, 50), "max_detections": 20}, limits).items
    assert parsed({"image": png(1, 50)}, limits, max_masks=20).items
    with pytest.raises(
        BadRequest, match=r"21 masks of 50 pixels \(width 50, height 1\) have up to 1050 pixels"
    ) as caught:
        parsed({"image": png(1, 50), "max_detections": 21}, limits)
    assert "max_detections of at most 20," in caught.value.expected


def test_a_network_without_masks_has_no_limit_of_masks() -> None:
    body = {"image": png(1, 50), "max_detections": 1000}
    assert parsed(body, Limits(max_mask_pixels=1), max_masks=0).items


def test_the_defaults_take_the_largest_image_with_all_its_masks() -> None:
    assert parsed({"image": png(2048, 2048)}).items


def in_tiles(**options: object) -> dict[str, Any]:
    return {"image": png(80, 120), "tile_size": 32, "max_detections": 1, **options}


def test_a_large_image_is_read_in_parts() -> None:
    limits = Limits(max_pixels=1200, largest_image=9600, max_side=30)
    [item] = parsed(in_tiles(), limits).items
    assert isinstance(item.image, LargeImage)
    assert item.image.shape == (80, 120, 3)
    [item] = parsed(in_tiles(tile_size="none", max_detections=1000), limits).items  # masks are kept in rectangles
    assert isinstance(item.image, LargeImage)
    [item] = parsed(in_tiles(image=png(10, 30))).items
    assert isinstance(item.image, np.ndarray)


@pytest.mark.parametrize(
    ("body", "limits", "found", "expected"),
    [
        (in_tiles(image=png(82, 122)), {}, "the image has 10004 pixels", "at most 10000 pixels.*--largest-image"),
        (in_tiles(tile_size=40), {}, "a tile has 1600 pixels", "tile_size of at most 34 .*--max-pixels"),
        (in_tiles(), {"max_tiles": 1}, "the image has 16 tiles, more than the 8 allowed", "--max-tiles"),
        (in_tiles(max_detections=4), {"max_mask_pixels": 4000}, "4 masks of a tile have up to 4096", "at most 3, "),
        (in_tiles(format="png"), {}, "format png has the size", "format: coco, polygons, csv or cutouts"),
        (in_tiles(format="npz"), {}, "format npz has the size", "coco"),
        (in_tiles(format="torch"), {}, "format torch has the size", "coco"),
        (in_tiles(format="labelmap"), {}, "format labelmap has the size", "coco"),
        (in_tiles(format="polygons"), {}, "would embed the large image", "image_data: none"),
        (
            instances((80, 120), (1, 1), tile_size=32, max_detections=1),
            {},
            "the request has 2 images, and one has more than 1200 pixels",
            "a request of its own",
        ),
    ],
)
def test_what_a_large_image_can_not_have(
    body: dict[str, Any], limits: dict[str, int], found: str, expected: str
) -> None:
    with pytest.raises(BadRequest, match=re.escape(found)) as caught:
        parsed(body, Limits(max_pixels=1200, largest_image=10000, **limits))
    assert re.search(expected, caught.value.expected)


def test_polygons_without_the_image_can_be_of_a_large_one() -> None:
    limits = Limits(max_pixels=1200, largest_image=10000)
    assert parsed(in_tiles(format="polygons", image_data="none"), limits).items
