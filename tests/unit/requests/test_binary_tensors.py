"""The binary extension of the Open Inference Protocol, and what its clients send beside the images."""

import base64
import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tensormask_server.bad_request import BadRequest
from tensormask_server.options import Limits
from tensormask_server.requests.parsing import Request, parse_request
from tensormask_server.responses.protocols import OpenInference

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
HEADER = "Inference-Header-Content-Length"


def png() -> bytes:
    content = io.BytesIO()
    Image.fromarray(IMAGE).save(content, "PNG")
    return content.getvalue()


PNG = png()


def packed(*elements: bytes) -> bytes:
    """A BYTES tensor."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def parsed(tensor: dict[str, Any], binary: bytes = b"", header: str | None = None, **content: Any) -> Request:
    head = json.dumps({"inputs": [{"name": "image", **tensor}], **content}).encode()
    headers = {HEADER.lower(): header or str(len(head))} if binary or header else {}
    return parse_request({"body": head + binary}, headers, Limits(max_images=4), ("cat", "dog"))


def sized(binary: bytes) -> dict[str, Any]:
    return {"parameters": {"binary_data_size": len(binary)}}


BINARY = {
    "one file": ({"datatype": "BYTES", "shape": [1]}, packed(PNG), 1),
    "two files": ({"datatype": "BYTES", "shape": [2, 1]}, packed(PNG, PNG), 2),
    "a file in base64": ({"datatype": "BYTES", "shape": [-1]}, packed(base64.encodebytes(PNG)), 1),
    "pixels": ({"datatype": "UINT8", "shape": [6, 8, 3]}, IMAGE.tobytes(), 1),
    "pixels of two": ({"datatype": "UINT8", "shape": [2, 6, 8, 3]}, IMAGE.tobytes() * 2, 2),
    "pixels of some": ({"datatype": "UINT8", "shape": [-1, 6, 8, 3]}, IMAGE.tobytes() * 3, 3),
}


@pytest.mark.parametrize("name", BINARY)
def test_the_binary_extension(name: str) -> None:
    tensor, binary, count = BINARY[name]
    request = parsed({**tensor, **sized(binary)}, binary)
    assert request.protocol == OpenInference()
    assert len(request.items) == count
    for item in request.items:
        np.testing.assert_array_equal(item.image, IMAGE)


TEXT = base64.b64encode(PNG).decode()
ONE = {"datatype": "BYTES", "shape": [1]}
PIXELS = {"datatype": "UINT8", "shape": [6, 8, 3]}
BAD = {
    "no size": ((ONE, packed(PNG)), "binary_data_size of inputs.0. is null, and .* bytes follow"),
    "another size": (({**ONE, "parameters": {"binary_data_size": 7}}, packed(PNG)), "binary_data_size .* is 7, and"),
    "a size that is a text": (({**ONE, "parameters": {"binary_data_size": "7"}}, b"1234567"), 'is "7", and 7 bytes'),
    "data as well": (({**ONE, "data": [TEXT], **sized(packed(PNG))}, packed(PNG)), "has data as well"),
    "a long element": (({**ONE, **sized(b"\xff" * 4)}, b"\xff" * 4), "an element of 4294967295 bytes, where 0 bytes"),
    "half a length": (({**ONE, **sized(b"\0\0")}, b"\0\0"), "a part of an element's length, where 0 bytes"),
    "too many": (({"datatype": "BYTES", "shape": [-1], **sized(b"\0" * 99)}, b"\0" * 99), "5 images, more than the 4"),
    "another shape": (({**ONE, "shape": [2], **sized(packed(PNG))}, packed(PNG)), r"1 texts, and shape \[2\]"),
    "an empty element": (({**ONE, **sized(packed(b""))}, packed(b"")), "the image"),
    "too few pixels": (({**PIXELS, **sized(b"123")}, b"123"), "inputs.0. has 3 bytes, and shape 144"),
    "no bytes": (({**PIXELS, **sized(b"")}, b"", "999"), "Inference-Header-Content-Length is .999., and the body has"),
    "a negative length": ((PIXELS, b"", "-1"), 'Inference-Header-Content-Length is "-1"'),
    "a length in letters": ((PIXELS, b"", "١"), "Inference-Header-Content-Length is"),
    "floats": (({"datatype": "FP32", "shape": [1], **sized(b"1234")}, b"1234"), 'datatype "FP32"'),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named(name: str) -> None:
    arguments, said = BAD[name]
    with pytest.raises(BadRequest, match=said) as caught:
        parsed(*arguments)
    assert caught.value.expected


def test_the_header_belongs_to_the_protocol() -> None:
    body = json.dumps({"image": TEXT}).encode()
    with pytest.raises(BadRequest, match="and no inputs"):
        parse_request({"body": body + b"123"}, {HEADER: str(len(body))}, Limits(), ())


def test_a_header_of_0_stands_for_a_body_that_is_the_image() -> None:
    [item] = parse_request({"body": PNG}, {HEADER: "0"}, Limits(), ()).items
    np.testing.assert_array_equal(item.image, IMAGE)


def test_a_compressed_body_is_named_whatever_the_header_says() -> None:
    with pytest.raises(BadRequest, match="compressed by gzip"):
        parse_request({"body": b"\x1f\x8b\x08"}, {HEADER: "100"}, Limits(), ())


@given(content=st.binary(max_size=60), header=st.text("0123456789-", max_size=4), shape=st.lists(st.integers(-1, 4)))
def test_any_bytes_are_a_request_or_a_bad_request(content: bytes, header: str, shape: list[int]) -> None:
    for datatype in ("BYTES", "UINT8"):
        try:
            request = parsed({"datatype": datatype, "shape": shape, **sized(content)}, content, header or None)
        except BadRequest as error:
            assert error.expected
        else:
            assert sum(item.image.size for item in request.items) == len(content)


# --- what clients send beside the images ------------------------------------------------------------------------------

CLIENTS: dict[str, dict[str, Any]] = {
    "kserve": {"model_name": "demo", "id": "1"},
    "a version": {"model_name": "demo", "model_version": "1"},
    "tritonclient": {"parameters": {"binary_data_output": False, "priority": 2, "timeout": 10, "sequence_id": 3}},
    "MLServer": {"parameters": {"content_type": "np", "headers": {"a": "b"}}},
    "tritonclient's output": {"outputs": [{"name": "predictions", "parameters": {"binary_data": False}}]},
    "no outputs": {"outputs": []},
    "null for what isn't used": {"id": None, "parameters": None, "outputs": None, "model_version": None},
}


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("shape", [[1], [1, 1], [-1], [-1, 1], None])
def test_what_clients_add_is_accepted(name: str, shape: list[int] | None) -> None:
    tensor = {"datatype": "BYTES", "data": [TEXT], **({"shape": shape} if shape else {})}
    request = parsed(tensor, **CLIENTS[name])
    np.testing.assert_array_equal(request.items[0].image, IMAGE)
    assert request.protocol == OpenInference(CLIENTS[name].get("id"))


@pytest.mark.parametrize("shape", [[-1, 6, 8, 3], [-1, 8, 3], [1, -1, 8, 3]])
@pytest.mark.parametrize("data", [IMAGE.tolist(), IMAGE.ravel().tolist()])
def test_an_open_side_of_pixels_is_that_of_the_data(shape: list[int], data: list[Any]) -> None:
    nested = [data] if len(shape) == 4 and isinstance(data[0], list) else data
    [item] = parsed({"datatype": "UINT8", "shape": shape, "data": nested}).items
    np.testing.assert_array_equal(item.image, IMAGE)


@pytest.mark.parametrize("holder", ["request", "tensor"])
def test_a_misspelt_option_among_the_parameters_is_named(holder: str) -> None:
    parameters = {"parameters": {"score_treshold": 0.5}}
    with pytest.raises(BadRequest, match="did you mean score_threshold"):
        if holder == "request":
            parsed({**ONE, "data": [TEXT]}, **parameters)
        else:
            parsed({**ONE, "data": [TEXT], **parameters})


@pytest.mark.parametrize(
    ("content", "is_binary"),
    [
        ({"parameters": {"binary_data_output": True}}, True),
        ({"outputs": [{"name": "predictions", "parameters": {"binary_data": True}}]}, True),
        ({"parameters": {"binary_data_output": True}, "outputs": [{"name": "predictions"}]}, True),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "predictions", "parameters": {"binary_data": False}}],
            },
            False,
        ),
        ({"parameters": {"binary_data_output": "true"}}, False),
    ],
)
def test_the_response_is_binary_where_the_request_says_so(content: dict[str, Any], is_binary: bool) -> None:
    assert parsed({**ONE, "data": [TEXT]}, **content).protocol == OpenInference(is_binary=is_binary)


def test_null_for_data_is_none_where_the_bytes_follow_the_json() -> None:
    binary = packed(PNG)
    [item] = parsed({**ONE, **sized(binary), "data": None}, binary).items
    np.testing.assert_array_equal(item.image, IMAGE)


def test_very_many_parameters_are_refused_before_they_are_compared_with_the_options() -> None:
    many = {f"score_threshol{number}": 0 for number in range(100_000)}
    for tensor, content in (({}, {"parameters": many}), ({"parameters": many}, {})):
        with pytest.raises(BadRequest, match="has 100000 keys"):
            parsed({**ONE, "data": [TEXT], **tensor}, **content)


def test_wrong_parameters_of_an_output_are_named() -> None:
    with pytest.raises(BadRequest, match=r"outputs\[0\].parameters is 3"):
        parsed({**ONE, "data": [TEXT]}, outputs=[{"name": "predictions", "parameters": 3}])
