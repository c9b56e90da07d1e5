"""Requests: every good one to its image and options, every bad one to a BadRequest."""

import base64
import gzip
import io
import json
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from tensormask_server.bad_request import BadRequest
from tensormask_server.options import Limits
from tensormask_server.requests.parsing import Request, RequestedImage, parse_request
from tensormask_server.responses.protocols import KServeV1, OpenInference

LIMITS = Limits(max_pixels=1 << 20)
CLASSES = ("cat", "dog", "hot dog")
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (6, 8, 3), np.uint8)


def parsed(body: Any, limits: Limits = LIMITS, headers: dict[str, str] | None = None, **fields: bytes) -> Request:
    return parse_request({"body": body, **fields}, headers or {}, limits, CLASSES)


def one(*arguments: Any, **fields: Any) -> RequestedImage:
    (item,) = parsed(*arguments, **fields).items
    return item


def encoded(file_format: str, image: np.ndarray = IMAGE, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, file_format, **options)
    return content.getvalue()


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


images = st.tuples(st.integers(1, 7), st.integers(1, 9)).flatmap(lambda size: arrays(np.uint8, (3, *size)))
layouts = st.sampled_from([None, 1, "\t"])


@given(image=images, indent=layouts, threshold=st.none() | st.floats(0, 1))
def test_any_layout_of_json_gives_the_image(image: np.ndarray, indent: Any, threshold: float | None) -> None:
    body = json.dumps({"threshold": threshold, "img_data": image.tolist()}, indent=indent).encode()
    request = one(body)
    np.testing.assert_array_equal(request.image, image.transpose(1, 2, 0))
    assert request.image.dtype == np.uint8
    assert request.image.flags.c_contiguous
    assert request.options.score_threshold == threshold
    assert request.response.format == "torch"


@pytest.mark.parametrize("body", [bytes, bytearray, bytes.decode])
def test_a_body_may_come_decoded(body: Any) -> None:
    request = one(body(b'{"img_data": [[[1]], [[2]], [[3]]]}'))
    np.testing.assert_array_equal(request.image, [[[1, 2, 3]]])


def test_bgr_is_turned_into_rgb() -> None:
    request = one(b'{"img_data": [[[1]], [[2]], [[3]]], "channel_order": "bgr"}')
    np.testing.assert_array_equal(request.image, [[[3, 2, 1]]])


def test_a_wrong_img_data_says_which_orders_of_channels_there_are() -> None:
    with pytest.raises(BadRequest) as caught:
        one(b'{"img_data": [[1]], "channel_order": "BGR"}')
    assert "in RGB or in the order that channel_order names" in caught.value.expected


def test_a_byte_order_mark_does_not_matter() -> None:
    assert one(b'\xef\xbb\xbf{"img_data": [[[1]], [[2]], [[3]]]}').image.shape == (1, 1, 3)


def test_an_image_larger_than_allowed_is_refused_with_both_sizes() -> None:
    body = json.dumps({"img_data": np.zeros((3, 5, 6), int).tolist()}).encode()
    assert one(body, Limits(max_pixels=30)).image.shape == (5, 6, 3)
    with pytest.raises(BadRequest, match=r"30 pixels \(width 6, height 5\), more than the 29 allowed"):
        parsed(body, Limits(max_pixels=29))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(value=json_values)
def test_any_img_data_is_a_image_or_a_bad_request(value: Any) -> None:
    try:
        request = one(json.dumps({"img_data": value}).encode())
    except BadRequest as error:
        assert error.error
        assert error.expected
    else:
        array = np.array(value)
        assert array.ndim == 3
        assert 3 in (array.shape[0], array.shape[2])
        assert request.image.size == array.size


@given(body=st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | json_values.map(json.dumps))
def test_any_bytes_are_a_request_or_a_bad_request(body: Any) -> None:
    with pytest.raises(BadRequest):  # none of these has img_data with an image in it
        parsed(body)


@given(image=images, data=st.data())
def test_one_cut_or_changed_row_is_found(image: np.ndarray, data: st.DataObject) -> None:
    planes = image.tolist()
    plane = data.draw(st.integers(0, 2))
    row = data.draw(st.integers(0, len(planes[0]) - 1))
    planes[plane][row] = data.draw(st.sampled_from([planes[plane][row] + [0], [planes[plane][row]], 0, None, "", {}]))
    with pytest.raises(BadRequest):
        parsed(json.dumps({"img_data": planes}).encode())


# --- encoded images -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("GIF", {}), ("JPEG", {})],
)
def test_an_images_format_is_recognised_by_its_content(file_format: str, options: dict[str, Any]) -> None:
    request = one(encoded(file_format, **options))
    if file_format in ("GIF", "JPEG"):  # lossy
        assert request.image.shape == IMAGE.shape
    else:
        np.testing.assert_array_equal(request.image, IMAGE)
    assert request.response.format == "coco"


def test_an_image_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    np.testing.assert_array_equal(one(encoded("PNG", exif=exif)).image, np.rot90(IMAGE, -1))


@pytest.mark.parametrize(("side", "said"), [(12_000, "144000000"), (100_000, "10000000000")])
def test_a_large_image_is_refused_before_it_is_decoded(side: int, said: str) -> None:
    content = bytearray(encoded("PNG"))
    content[16:24] = side.to_bytes(4, "big") * 2  # its size, in a header whose checksum is wrong now
    header = bytes(content[12:29])
    content[29:33] = zlib.crc32(header).to_bytes(4, "big")
    with pytest.raises(BadRequest, match=f"{said} pixels.*, more than the 1048576 allowed"):
        parsed(bytes(content))


def test_an_image_is_refused_whose_size_pillow_does_not_tell() -> None:
    gif = bytearray(encoded("GIF"))
    gif[6:10] = (60_000).to_bytes(2, "little") * 2  # its width and height
    with pytest.raises(BadRequest, match="hundreds of millions of pixels, more than the 1048576 allowed"):
        parsed(bytes(gif))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"])
def test_a_truncated_image_is_refused(file_format: str) -> None:
    content = encoded(file_format, RNG.integers(0, 256, (64, 64, 3), np.uint8))
    for length in (12, len(content) // 2):
        with pytest.raises(
            BadRequest, match=r"can't read the image|has no supported file format|is damaged|is cut short"
        ):
            parsed(content[:length])


@pytest.mark.parametrize("field", ["data", "image", "file"])
def test_a_form_holds_the_image_and_options_beside_it(field: str) -> None:
    fields = {field: bytearray(encoded("PNG")), "score_threshold": bytearray(b"0.25"), "format": bytearray(b"png")}
    (item,) = parse_request(fields, {}, LIMITS, CLASSES).items
    np.testing.assert_array_equal(item.image, IMAGE)
    assert item.options.score_threshold == 0.25
    assert item.response.format == "png"


def test_the_error_for_an_image_in_another_field_names_the_right_call() -> None:
    with pytest.raises(BadRequest, match='image in its field "upload"') as caught:
        parse_request({"upload": encoded("PNG")}, {}, LIMITS, CLASSES)
    assert "/predict?format=png" in caught.value.expected


def test_a_gzipped_body_is_named() -> None:
    with pytest.raises(BadRequest, match="compressed by gzip"):
        parsed(gzip.compress(b"{}"))


# --- JSON of other shapes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_base64(prefix: str) -> None:
    request = one(json.dumps({"image": prefix + b64(encoded("PNG")), "classes": ["dog", 0]}).encode())
    np.testing.assert_array_equal(request.image, IMAGE)
    assert request.options.classes == (0, 1)
    assert request.response.format == "coco"


def test_several_instances_each_with_its_options_and_common_ones() -> None:
    text = b64(encoded("PNG"))
    instances = [text, {"b64": text}, {"image": text, "max_detections": 7}, {"img_data": IMAGE.tolist()}]
    request = parsed(json.dumps({"instances": instances, "max_detections": 3}).encode())
    assert request.protocol == KServeV1()
    assert [item.options.max_detections for item in request.items] == [3, 3, 7, 3]
    for item in request.items:
        np.testing.assert_array_equal(item.image, IMAGE)
        assert item.response.format == "coco"


V2_INPUTS = {
    "flat": {
        "datatype": "UINT8",
        "shape": [2, 6, 8, 3],
        "data": [*IMAGE.ravel().tolist(), *IMAGE.ravel().tolist()],
    },
    "nested": {"datatype": "UINT8", "shape": [2, 6, 8, 3], "data": [IMAGE.tolist(), IMAGE.tolist()]},
    "bytes": {"datatype": "BYTES", "shape": [2], "data": [b64(encoded("PNG"))] * 2},
}


@pytest.mark.parametrize("name", V2_INPUTS)
def test_the_open_inference_protocol(name: str) -> None:
    content = {"inputs": [{"name": "image", **V2_INPUTS[name]}], "parameters": {"score_threshold": 0.1}}
    request = parsed(json.dumps(content).encode())
    assert request.protocol == OpenInference()
    assert len(request.items) == 2
    for item in request.items:
        np.testing.assert_array_equal(item.image, IMAGE)
        assert item.options.score_threshold == 0.1


def test_the_open_inference_protocols_id_and_outputs() -> None:
    content = {"inputs": [V2_INPUTS["bytes"]], "id": "42", "outputs": [{"name": "predictions"}]}
    assert parsed(json.dumps(content).encode()).protocol == OpenInference("42")
    assert parsed(json.dumps({"inputs": [V2_INPUTS["bytes"]]}).encode()).protocol == OpenInference(None)


def test_a_tensors_own_parameters_may_be_options() -> None:
    own = {"max_detections": 7, "threshold": 0.2, "content_type": "image/png"}  # the last is a client's own
    tensor = {**V2_INPUTS["bytes"], "parameters": own}
    content = {"inputs": [tensor], "parameters": {"score_threshold": 0.1, "nms_threshold": 0.3}}
    for item in parsed(json.dumps(content).encode()).items:
        options = item.options
        assert (options.max_detections, options.score_threshold, options.nms_threshold) == (7, 0.2, 0.3)


# by what is named: how such files begin, and what the advice names
UNSUPPORTED_TYPES = {
    "a video": (b"\0\0\0\x20ftypisom\0\0\0\0", "ffmpeg -i"),
    "DICOM": (bytes(128) + b"DICM", "dcmj2pnm"),
    "SVG": (b'<?xml version="1.0"?>\n<!-- drawn -->\n<!DOCTYPE svg>\n<svg width="9">', "rsvg-convert"),
    "a zip archive": (b"PK\x03\x04\x14", "one image of it"),
}


@pytest.mark.parametrize("file_type", UNSUPPORTED_TYPES)
def test_an_unsupported_file_type_is_named_with_what_to_do(file_type: str) -> None:
    content, advice = UNSUPPORTED_TYPES[file_type]
    with pytest.raises(BadRequest, match=f"the body is {file_type}, which isn't supported$") as caught:
        parsed(content)
    assert advice in caught.value.expected
    with pytest.raises(BadRequest, match=f"the image is {file_type}, which isn't supported$") as caught:
        parsed(json.dumps({"image": b64(content)}).encode())
    assert advice in caught.value.expected


def test_a_forms_image_in_another_field_is_named() -> None:
    with pytest.raises(BadRequest, match='an image in its field "other"') as caught:
        parse_request({"data": encoded("PNG"), "other": bytearray(encoded("GIF"))}, {}, LIMITS, CLASSES)
    assert caught.value.expected.startswith("images in the fields data, image or file")


def test_a_forgotten_at_sign_is_named() -> None:
    with pytest.raises(BadRequest, match=r'field data has a file\'s name, "my cat.jpg", and not the file') as caught:
        parse_request({"data": bytearray(b"my cat.jpg")}, {}, LIMITS, CLASSES)
    assert "-F data=@image.jpg" in caught.value.expected


WRONG_JSON = {
    "not base64": ({"image": "*"}, "image is not base64"),
    "a URL": ({"image": "https://localhost/cat.jpg"}, "image is a URL, and the server fetches nothing"),
    "not a string": ({"image": 7}, "image is 7"),
    "an empty image": ({"image": ""}, "image is empty"),
    "an empty image in b64": ({"image": {"b64": ""}}, "image is empty"),
    "not an image": ({"image": b64(b"hello")}, "the image has no supported file format, or is damaged"),
    "both": ({"image": "", "img_data": [[[1]], [[2]], [[3]]]}, "both img_data and image"),
    "order of an image": ({"image": b64(encoded("PNG")), "channel_order": "BGR"}, "channel_order is for img_data"),
    "no instances": ({"instances": []}, "instances is empty"),
    "a wrong instance": ({"instances": [b64(encoded("PNG")), 3]}, r"instances\[1\]: it is 3"),
    "an unknown option": ({"instances": ["x"], "formt": "png"}, "did you mean format"),
    "no inputs": ({"inputs": []}, "inputs is a list of 0, not a list of one object"),
    "two inputs": ({"inputs": [{}, {}]}, "inputs is a list of 2, not a list of one object"),
    "a tensor's parameters": ({"inputs": [{"parameters": 3}]}, r"inputs\[0\].parameters is 3"),
    "texts of another shape": (
        {"inputs": [{"datatype": "BYTES", "shape": [5], "data": ["AA", "AA"]}]},
        r"inputs\[0\] has 2 texts, and shape \[5\]",
    ),
    "id": ({"inputs": [{}], "id": 7}, "id is 7"),
    "other outputs": ({"inputs": [{}], "outputs": [{"name": "masks"}]}, "outputs is a JSON array, with other outputs"),
    "no outputs": ({"inputs": [{}], "outputs": 3}, "outputs is 3, with other outputs"),
    "no datatype": ({"inputs": [{}]}, "datatype null"),
    "floats": (
        {"inputs": [{"datatype": "UINT8", "shape": [1, 1, 3], "data": [0.5, 1, 2]}]},
        "values that aren't whole numbers",
    ),
    "too few": (
        {"inputs": [{"datatype": "UINT8", "shape": [1, 2, 3], "data": [1, 2, 3]}]},
        "has 3 values, and shape 6",
    ),
    "wrong shape": ({"inputs": [{"datatype": "UINT8", "shape": [2, 1, 3], "data": [[[1, 2, 3]]]}]}, "have the shape"),
    "a nested image that is none": (
        {"inputs": [{"datatype": "UINT8", "shape": [1, 1, 3], "data": [[[1, 2, "3"]]]}]},
        r'^inputs\[0\]\.data\[0\]\[0\]\[2\] is "3"$',
    ),
    "the second of nested images": (
        {"inputs": [{"datatype": "UINT8", "shape": [2, 1, 1, 3], "data": [[[[1, 2, 3]]], [[1, 2, 3]]]}]},
        r"^inputs\[0\]\.data\[1\] is nested 2 deep, not 3$",
    ),
    "the second of images in base64": (
        {"inputs": [{"datatype": "BYTES", "shape": [2], "data": [b64(encoded("PNG")), "*"]}]},
        r"^inputs\[0\]\.data\[1\] is not base64",
    ),
    "negative shape": ({"inputs": [{"datatype": "UINT8", "shape": [-1, 1, 3], "data": [1]}]}, r"shape \[-1, 1, 3\]"),
    "parameters": ({"inputs": [], "parameters": 3}, "parameters is 3"),
}


@pytest.mark.parametrize("name", WRONG_JSON)
def test_what_is_wrong_is_named(name: str) -> None:
    content, said = WRONG_JSON[name]
    with pytest.raises(BadRequest, match=said):
        parsed(json.dumps(content).encode())


@pytest.mark.parametrize(
    "tensor",
    [
        {"datatype": "UINT8", "shape": [1, 1, 3], "data": [[1]]},
        {"datatype": "UINT8", "shape": [1, 1, 3], "data": [[[1, 2, 3]], []]},
        {"datatype": "BYTES", "shape": [1], "data": [""]},
    ],
)
def test_an_error_in_a_tensors_data_expects_a_tensor(tensor: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as error:
        parsed(json.dumps({"inputs": [tensor]}).encode())
    assert error.value.expected.startswith('inputs: [{"name": "image", "datatype": "UINT8", "shape": [H, W, 3]')


def test_a_list_of_images_is_told_of_instances() -> None:
    with pytest.raises(BadRequest, match='the unknown key "images"') as error:
        parsed(json.dumps({"images": [b64(encoded("PNG"))]}).encode())
    assert '{"instances": [{"image": …}, …]}' in error.value.expected


def test_a_form_of_options_alone_has_no_file() -> None:
    with pytest.raises(BadRequest, match="the form has options and no file"):
        parse_request({"format": bytearray(b"png")}, {}, Limits(), CLASSES)
