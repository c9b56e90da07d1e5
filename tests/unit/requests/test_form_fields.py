"""The parts of forms: several images, repeated options, and forms that came without their boundary."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensormask_server.bad_request import BadRequest
from tensormask_server.options import Limits
from tensormask_server.requests.parsing import Request, parse_request
from tensormask_server.responses.protocols import KServeV1, OneImage

CLASSES = ("cat", "dog", "hot dog, large", "BMW")


def png(side: int) -> bytearray:
    """An image of side×side."""
    content = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), side, np.uint8)).save(content, "PNG")
    return bytearray(content.getvalue())


def parsed(fields: dict[str, Any], **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return parse_request(fields, named, Limits(max_images=4), CLASSES)


def sides(request: Request) -> list[int]:
    return [item.image.shape[0] for item in request.items]


# --- several images -------------------------------------------------------------------------------------------------

FORMS = {
    "one name": {"data": [png(3), png(4)]},
    "two names": {"image": png(3), "file": png(4)},
    "as PHP writes lists": {"image[]": [png(3), png(4)]},
    "numbers": {"data1": png(3), "data2": png(4)},
    "underscores": {"image_0": png(3), "image_1": png(4)},
    "indices": {"files[0]": png(3), "files[1]": png(4)},
    "the plural": {"images": [png(3), png(4)]},
    "one in base64": {"image": [png(3), bytearray(base64.encodebytes(bytes(png(4))))]},
}


@pytest.mark.parametrize("name", FORMS)
def test_several_images_are_answered_as_predictions(name: str) -> None:
    request = parsed({**FORMS[name], "score_threshold": bytearray(b"0.25")})
    assert request.protocol == KServeV1()
    assert sides(request) == [3, 4]
    assert [item.options.score_threshold for item in request.items] == [0.25, 0.25]


@pytest.mark.parametrize("field", ["data", "image", "file", "image[]", "files", "data1"])
def test_one_image_is_answered_as_one(field: str) -> None:
    request = parsed({field: png(3)})
    assert request.protocol == OneImage()
    assert sides(request) == [3]


BAD_FORMS = {
    "too many images": ({"data": [png(3)] * 5}, "the request has 5 images, more than the 4 allowed"),
    "an empty one": ({"data": [png(3), bytearray()]}, r"^data\[1\]: the form's file is empty"),
    "one that is no image": ({"image[]": [png(3), bytearray(b"hello")]}, r"^image\[1\]: it is neither an image nor"),
    "JSON beside an image": ({"data": [png(3), bytearray(b"{}")]}, r"^data\[1\]: it is neither an image nor"),
    "a damaged one": ({"image1": png(3), "image2": png(4)[:40]}, "^image2: the image has no supported file format"),
    "a file's name": ({"data": [png(3), bytearray(b"cat.jpg")]}, r"^data\[1\]: the form's field data\[1\] has a file"),
    "an option twice": ({"data": png(3), "format": [b"coco", b"coco"]}, '^"format" stands 2 times in the request'),
    "an option, once as a list": ({"data": png(3), "format": b"png", "format[]": b"png"}, '^"format" stands 2 times'),
    "an unknown field twice": ({"data": png(3), "formt": [b"png", b"png"]}, '^"formt" stands 2 times'),
    "an image elsewhere": ({"data": png(3), "upload": png(4)}, 'an image in its field "upload"'),
    "only images elsewhere": ({"upload": [b"", png(4)]}, 'an image in its field "upload"; expected it in one of'),
    "options only": ({"classes[]": [b"cat", b"dog"]}, "the form has options and no file"),
}


@pytest.mark.parametrize("name", BAD_FORMS)
def test_a_bad_form_is_named(name: str) -> None:
    fields, said = BAD_FORMS[name]
    with pytest.raises(BadRequest, match=said) as caught:
        parsed(fields)
    assert caught.value.expected


# --- repeated options -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "classes"),
    [
        ({"classes": [bytearray(b"cat"), bytearray(b"dog")]}, (0, 1)),
        ({"classes[]": [bytearray(b"cat"), bytearray(b"2")]}, (0, 2)),
        ({"classes[]": bytearray(b"dog")}, (1,)),
        ({"classes": [bytearray(b"cat,dog"), bytearray(b"Hot Dog, Large")]}, (0, 1, 2)),
        ({"classes": bytearray(b"cat"), "classes[]": bytearray(b"dog")}, (0, 1)),
        ({"classes": ["cat", ""]}, (0,)),
        ({"classes": bytearray(b"BMW")}, (3,)),  # a bitmap begins so
    ],
)
def test_repeated_classes_are_a_list(fields: dict[str, Any], classes: tuple[int, ...]) -> None:
    for image in ({"data": png(3)}, {"body": png(3)}):
        [item] = parsed({**image, **fields}).items
        assert item.options.classes == classes


# --- texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["", "data:image/png;base64,"])
def test_a_forms_image_may_be_base64(start: str) -> None:
    text = start + base64.b64encode(png(60)).decode()
    assert "+" in text
    form = "application/x-www-form-urlencoded; charset=utf-8"
    for content_type, sent in (("multipart/form-data; boundary=x", text), (form, text.replace("+", " "))):
        assert sides(parsed({"image": bytearray(sent.encode())}, Content_Type=content_type)) == [60]
    assert sides(parsed({"body": bytearray(text.encode())})) == [60]


def test_json_in_such_a_form_keeps_its_spaces() -> None:
    body = bytearray(json.dumps({"img_data": [[[1]], [[2]], [[3]]], "classes": ["hot dog, large"]}).encode())
    [item] = parsed({"data": body}, Content_Type="application/x-www-form-urlencoded").items
    assert (item.image.shape, item.options.classes) == ((1, 1, 3), (2,))
    with pytest.raises(BadRequest, match=r'a file\'s name, "my cat\.jpg"'):
        parsed({"data": bytearray(b"my cat.jpg")}, Content_Type="application/x-www-form-urlencoded")


def test_very_many_fields_are_counted() -> None:
    fields = {
        f"{name}{between}{number}": b"x" for name in ("data", "file") for between in "-_" for number in range(9999)
    }
    with pytest.raises(BadRequest, match="39996 images, more than the 4"):
        parsed(fields)


def test_fields_of_spaces_are_looked_at_once() -> None:
    """A pattern that tries each length of them would take minutes."""
    fields = {f"data{number}": b"A" * 8 + b"\t" * 8000 + b"!" for number in range(3000)}
    with pytest.raises(BadRequest, match="3000 images"):
        parsed(fields, Content_Type="application/x-www-form-urlencoded")


def test_a_form_that_torchserve_has_cut_at_a_line_break_is_named() -> None:
    """As `curl -d "image=$(base64 image.png)"` sends it. TorchServe passes on the first line only."""
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)).save(content, "PNG")
    lines = base64.encodebytes(content.getvalue())
    headers = {"Content_Type": "application/x-www-form-urlencoded", "Content_Length": str(len(b"image=" + lines))}
    with pytest.raises(BadRequest, match="only the part before a line break came through") as caught:
        parsed({"image": bytearray(lines.splitlines()[0])}, **headers)
    assert "base64 -w0" in caught.value.expected
    escaped = {**headers, "Content_Length": str(3 * len(lines))}
    assert sides(parsed({"image": bytearray(lines)}, **escaped)) == [60]


def test_an_unsupported_file_in_base64_is_named() -> None:
    pdf = base64.b64encode(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj")
    with pytest.raises(BadRequest, match="PDF, which isn't supported"):
        parsed({"image": bytearray(pdf)})


# --- boundaries -----------------------------------------------------------------------------------------------------

HEAD = b'--abc\r\nContent-Disposition: form-data; name="data"; filename="a.png"\r\n\r\n'
BODY = HEAD + bytes(png(3)) + b"\r\n--abc--\r\n"


@pytest.mark.parametrize(
    ("content_type", "fields", "said"),
    [
        ("multipart/form-data", {"body": BODY}, "the body is a form, and its Content-Type has no boundary"),
        ("application/json", {"body": BODY}, 'its Content-Type says something else: "application/json"'),
        ("", {"body": BODY.replace(b"Disposition", b"disposition")}, 'its Content-Type says something else: ""'),
        (
            "application/x-www-form-urlencoded",
            {"--abc\r\nContent-Disposition: form-data; name": b'"data"; filename="a.png"\r\n'},
            "the body is a form, and its Content-Type says something else",
        ),
        ("multipart/form-data; boundary=other", {}, "the form has no part with the boundary that its Content-Type"),
    ],
)
def test_a_form_without_its_boundary_is_told_what_it_is(content_type: str, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequest, match=said) as caught:
        parsed(fields, Content_Type=content_type)
    assert "axios" in caught.value.expected
    assert "boundary" in caught.value.expected
