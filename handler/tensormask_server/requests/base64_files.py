"""Image files in base64, as requests in JSON hold them."""

import base64
import binascii
from typing import Any

from tensormask_server.bad_request import BadRequest, preview

EXPECTED_BASE64 = "image: the bytes of an image file in base64"


def file_of_base64(value: Any, name: str = "image", expected: str = EXPECTED_BASE64) -> bytes:
    """Decodes an image file in base64: a string, a data: URL, or TensorFlow Serving's {"b64": …}.

    Args:
        value: as JSON holds it.
        name: its place in the request, for error messages.
        expected: what would be accepted in its place, for error messages.

    Raises:
        BadRequest: the value isn't one of these, or it is empty.
    """
    if isinstance(value, dict) and set(value) == {"b64"}:
        value = value["b64"]
    if value == "":
        raise BadRequest(f"{name} is empty", expected)
    if not isinstance(value, str):
        raise BadRequest(f"{name} is {preview(value)}", expected)
    if value.startswith(("http://", "https://")):
        raise BadRequest(f"{name} is a URL, and the server fetches nothing", expected)
    try:
        return base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"{name} is not base64: {error}", expected) from error
