"""A request's options: they are the same from each place, and errors name the wrong ones."""

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image
from tensormask_server.bad_request import BadRequest
from tensormask_server.formats import FORMATS, OTHER_NAMES
from tensormask_server.options import Limits
from tensormask_server.pixel_sizes import PixelSize
from tensormask_server.requests.parsing import RequestedImage, parse_request

CLASSES = ("cat", "dog", "hot dog")


def encoded() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 6), "orange").save(content, "PNG")
    return content.getvalue()


PNG = encoded()
IMAGE = base64.b64encode(PNG).decode()


def one(body: bytes, headers: dict[str, str] | None = None, **fields: bytes) -> RequestedImage:
    (item,) = parse_request({"body": body, **fields}, headers or {}, Limits(), CLASSES).items
    return item


def test_the_nearest_word_counts() -> None:
    body = json.dumps({"image": IMAGE, "threshold": 0.1}).encode()
    headers = {"X-Threshold": "0.3", "MAX_DETECTIONS": "5", "nms-threshold": "0.7"}
    wanted = one(body, headers, score_threshold=b"0.2", max_detections=b"4").options
    assert (wanted.score_threshold, wanted.max_detections, wanted.nms_threshold) == (0.1, 4, 0.7)


def test_headers_know_both_names_of_an_option() -> None:
    assert one(PNG, {"Threshold": "0.3"}).options.score_threshold == 0.3
    with pytest.raises(BadRequest, match="threshold and score_threshold are the same option"):
        one(PNG, {"Threshold": "0.3", "Score-Threshold": "0.2"})


@pytest.mark.parametrize("name", ["treshold", "thresold"])
def test_a_typo_of_threshold_is_not_taken_for_another_options(name: str) -> None:
    with pytest.raises(BadRequest, match=r"did you mean threshold\?"):
        one(PNG, **{name: b"0.3"})
    with pytest.raises(BadRequest, match=r"did you mean threshold\?"):
        one(json.dumps({"image": IMAGE, name: 0.3}).encode())


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"accept": "*/*"}, "coco"),
        ({"Accept": "image/png;q=0.9, */*"}, "png"),
        ({"Accept": "application/json;q=0.1, application/zip; q=0.5, image/png;q=0"}, "npz"),
        ({"Accept": "text/html, image/*;q=0.9"}, "coco"),
        ({"Accept": "image/png;q=high"}, "png"),
        ({"Accept": "image/png", "Format": "labelmap"}, "labelmap"),
        ({"Format": "labelmap", "Accept": "image/png"}, "labelmap"),
    ],
)
def test_the_format_by_header(headers: dict[str, str], expected: str) -> None:
    assert one(PNG, headers).response.format == expected
    assert one(PNG, headers, format=b"npz").response.format == "npz"


GOOD_OPTIONS: dict[str, list[tuple[object, object]]] = {
    "score_threshold": [(0, 0.0), (1, 1.0), ("0.5", 0.5)],
    "nms_threshold": [(0.5, 0.5)],
    "mask_threshold": [(0.01, 0.01), (1, 1.0)],
    "max_detections": [(0, 0), (1000, 1000), ("12", 12), (3.0, 3)],
    "tile_size": [("auto", "auto"), ("AUTO", "auto"), (384, 384), ("384", 384), (384.0, 384), ("none", None)],
    "tile_overlap": [(0, 0.0), ("0.5", 0.5), (0.9, 0.9)],
    "tile_whole": [(True, True), ("false", False), ("0", False), ("Yes", True)],
    "classes": [("dog", (1,)), ("Hot Dog, 0", (0, 2)), (["cat", 1, "cat"], (0, 1)), (2, (2,))],
}
GOOD_RESPONSE_OPTIONS: dict[str, list[tuple[object, object]]] = {
    "format": [("CSV", "csv")],
    "image_id": [(7, 7), ("7", 7), ("0", 0), ("007", "007"), ("a-1", "a-1"), ("9" * 16, "9" * 16), ("1.5", "1.5")],
    "file_name": [("a/b ü.jpg", "a/b ü.jpg"), ("at 3.05\u202fPM.png", "at 3.05\u202fPM.png"), ("7", "7")],
    "pixel_size": [("0.25 µm", PixelSize(0.25, "um")), ("3mm", PixelSize(3, "mm"))],
    "tolerance": [(0, 0.0), ("1.5", 1.5), (20, 20.0)],
    "holes": [("keep", "keep"), ("Fill", "fill")],
    "image_data": [("none", "none"), ("embed", "embed")],
}
BAD_OPTIONS: dict[str, list[object]] = {
    "score_threshold": [-0.1, 1.1, "high", True, [], "nan", "inf"],
    "nms_threshold": [2],
    "mask_threshold": [0, 1.1],
    "max_detections": [-1, 1001, 0.5, "many"],
    "classes": ["", " , ", [], "dgo", 3, -1, [None], True, 0.5],
    "tile_size": [0, 31, 64.5, "large", True, [], -384, "inf"],
    "tile_overlap": [-0.1, 0.95, 20, "much", True, "nan"],
    "tile_whole": ["maybe", 2, [], ""],
    "stretch": ["maximum", 1, [], ""],
    "format": ["gif", 1, []],
    "image_id": [-1, 1.5, 1 << 53, True, [], "", "x" * 1001, "a\nb", "\ud800"],
    "file_name": ["", 7, [], "x" * 1001, "a\0b", "a\u2028b", "\ud800.jpg"],
    "pixel_size": ["", "0.25", 0.25, "0um", "1 parsec", []],
    "tolerance": [-1, 20.1, "nan", "much", True],
    "holes": ["kep", True],
    "image_data": ["no", 0],
}


@pytest.mark.parametrize(
    ("name", "value", "expected"), [(n, *pair) for n, pairs in GOOD_OPTIONS.items() for pair in pairs]
)
def test_good_options(name: str, value: Any, expected: Any) -> None:
    body = json.dumps({"image": IMAGE, name: value}).encode()
    assert getattr(one(body).options, name) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"), [(n, *pair) for n, pairs in GOOD_RESPONSE_OPTIONS.items() for pair in pairs]
)
def test_good_options_of_the_response(name: str, value: Any, expected: Any) -> None:
    body = json.dumps({"image": IMAGE, name: value}).encode()
    assert getattr(one(body).response, name) == expected


@pytest.mark.parametrize(("name", "value"), [(n, value) for n, values in BAD_OPTIONS.items() for value in values])
def test_a_bad_option_is_named_with_what_it_takes(name: str, value: Any) -> None:
    with pytest.raises(BadRequest, match=name) as caught:
        one(json.dumps({"image": IMAGE, name: value}).encode())
    assert caught.value.expected.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("names", "requested", "expected"),
    [
        (("1", "2", "0"), "2", (1,)),  # a name before a number
        (("1", "2", "0"), ["2"], (1,)),
        (("1", "2", "0"), 2, (2,)),
        (("cat", "dog"), ["1"], (1,)),
        (("nan", "roti"), "nan", (0,)),
        (("Polish", "polish"), "Polish", (0,)),
        (("Polish", "polish"), "polish", (1,)),
        (("tv", "monitor, lcd"), "monitor, lcd", (1,)),
        (("tv", "monitor, lcd"), ["Monitor, LCD", "tv"], (0, 1)),
    ],
)
def test_classes_of_unusual_names(names: tuple[str, ...], requested: Any, expected: tuple[int, ...]) -> None:
    body = json.dumps({"image": IMAGE, "classes": requested}).encode()
    [item] = parse_request({"body": body}, {}, Limits(), names).items
    assert item.options.classes == expected


def test_the_nearest_known_name_is_suggested() -> None:
    with pytest.raises(BadRequest, match="did you mean max_detections"):
        one(PNG, max_detection=b"3")
    with pytest.raises(BadRequest, match="did you mean dog"):
        one(PNG, classes=b"dgo")


@pytest.mark.parametrize(
    ("requested", "suggested"), [(b"LabelMe", "polygons"), (b"json", "coco"), (b"poligons", "polygons")]
)
def test_a_format_by_another_name_is_suggested(requested: bytes, suggested: str) -> None:
    with pytest.raises(BadRequest, match=rf"did you mean {suggested}\?"):
        one(PNG, format=requested)


def test_the_other_names_are_names_of_formats() -> None:
    assert set(OTHER_NAMES.values()) <= set(FORMATS)
    assert not set(OTHER_NAMES) & set(FORMATS)


def test_one_option_by_two_names_is_refused() -> None:
    with pytest.raises(BadRequest, match="same option"):
        one(PNG, threshold=b"0.1", score_threshold=b"0.1")
