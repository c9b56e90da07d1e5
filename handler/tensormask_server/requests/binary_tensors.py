"""The binary extension of the Open Inference Protocol: a tensor's bytes follow the JSON, as tritonclient sends them."""

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from tensormask_server.bad_request import BadRequest, preview
from tensormask_server.requests.headers import header

HEADER = "Inference-Header-Content-Length"  # how many bytes of the body are JSON
SIZE = "binary_data_size"  # the parameter of a tensor: how many of the bytes behind the JSON are the tensor's
EXPECTED_HEADER = f"{HEADER}: how many bytes of the body are JSON; the tensor's bytes follow them"
EXPECTED_SIZE = f"an input with the parameter {SIZE} and without data, and as many bytes behind the JSON"
EXPECTED_ELEMENTS = "for each image of a BYTES tensor its length in 4 bytes, little-endian, and then the file's bytes"


def json_length(headers: Mapping[str, Any], size: int) -> int:
    """How many bytes of a body are JSON, if the request uses the binary extension; otherwise 0.

    Args:
        headers: the request's.
        size: the body's, in bytes.

    Raises:
        BadRequest: the header isn't a number of bytes that the body has.
    """
    text = header(headers, HEADER)
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= size):
        raise BadRequest(f"{HEADER} is {preview(text)}, and the body has {size} bytes", EXPECTED_HEADER)
    return int(text)


def tensor_bytes(tensor: Mapping[str, Any], parameters: Mapping[str, Any], binary: bytes) -> bytes | None:
    """The bytes of the only input, if they stand behind the JSON. None: the input has its data in the JSON.

    Args:
        tensor: the input.
        parameters: the input's own.
        binary: all bytes behind the JSON.

    Raises:
        BadRequest: the input doesn't name as many bytes as there are, or it has data as well.
    """
    size, has_data = parameters.get(SIZE), tensor.get("data") is not None
    if size is None and not binary:
        return None
    if type(size) is not int or size != len(binary) or has_data:
        also = ", and inputs[0] has data as well" if has_data else ""
        raise BadRequest(
            f"{SIZE} of inputs[0] is {preview(size)}, and {len(binary)} bytes follow the JSON{also}", EXPECTED_SIZE
        )
    return binary


def elements(content: bytes) -> Iterator[bytes]:
    """The elements of a BYTES tensor.

    Args:
        content: the tensor's bytes.

    Raises:
        BadRequest: an element is longer than what is left.
    """
    start = 0
    while start < len(content):
        length = struct.unpack_from("<I", content, start)[0] if start + 4 <= len(content) else None
        start += 4
        if length is None or length > len(content) - start:
            found = f"an element of {length} bytes" if length is not None else "a part of an element's length"
            left = max(0, len(content) - start)
            raise BadRequest(f"inputs[0] has {found}, where {left} bytes are left", EXPECTED_ELEMENTS)
        yield content[start : start + length]
        start += length
