"""Image files in base64, as requests in JSON and text fields of forms hold them.

Encoders differ: Android's, GNU's and Python's `encodebytes` break lines, others use the URL-safe alphabet, and some
leave the padding out. All of these are read.
"""

import base64
import re
from typing import Any

from tensormask_server.bad_request import BadRequest, preview
from tensormask_server.images.other_files import other_file
from tensormask_server.images.signatures import is_image

EXPECTED_BASE64 = "image: the bytes of an image file in base64"
STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")  # from the URL-safe one
ESCAPED = {"%2B": "+", "%2F": "/", "%3D": "=", "%2D": "-", "%5F": "_", "%0D": "\r", "%0A": "\n", "%20": " "}
SPACES = b" \t\r\n\f\v"
START = 4096  # characters of a text by which it is recognised
BASE64 = re.compile(rb"[A-Za-z0-9+/]{8,}")


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
    if not isinstance(value, str):
        raise BadRequest(f"{name} is {preview(value)}", expected)
    if value.startswith(("http://", "https://")):
        raise BadRequest(f"{name} is a URL, and the server fetches nothing", expected)
    if value.startswith(("b'", 'b"')):
        raise BadRequest(
            f"{name} begins with {value[:2]}, as Python shows a bytes object",
            f"{expected}, in Python base64.b64encode(content).decode()",
        )
    text = _text_of_data_url(value, name, expected) if value[:5].lower() == "data:" else value
    try:
        content = _decoded(text)
    except ValueError as error:
        raise BadRequest(f"{name} is not base64: {error}", expected) from error
    if not content:
        raise BadRequest(f"{name} is empty", expected)
    return content


def unwrapped(content: bytes) -> bytes:
    """Decodes a text that holds a file in base64 or as a data: URL. Any other content is returned as it is.

    Args:
        content: a body, a form's field or a tensor's element. Its base64 has to begin as a known type of file does.

    Raises:
        BadRequest: the text begins as base64 of such a file, or as a data: URL, and isn't base64.
    """
    if is_text_of_file(content):
        return file_of_base64(content.decode("ascii", errors="replace").strip())
    return content


def is_text_of_file(content: bytes) -> bool:
    """Whether the content begins as a data: URL, or as base64 of a known type of file."""
    text = content[:START].lstrip()
    file = _start_of_file(text)
    return text[:5].lower() == b"data:" or is_image(file) or other_file(file) is not None


def _start_of_file(text: bytes) -> bytes:
    """The first bytes of the file that a text holds in base64. b"": the text isn't base64."""
    characters = text.translate(STANDARD_ALPHABET, SPACES).rstrip(b"=")
    if not BASE64.fullmatch(characters):
        return b""
    return base64.b64decode(characters[: len(characters) // 4 * 4])


def _text_of_data_url(url: str, name: str, expected: str) -> str:
    """The base64 in a data: URL, in which some encoders escape the characters that aren't letters or digits."""
    header, _, text = url.partition(",")
    if not header.lower().endswith(";base64"):
        raise BadRequest(f"{name} is a data: URL without base64", f"{expected}, or data:image/png;base64,…")
    for escaped, character in ESCAPED.items():  # urllib's unquote makes a list of all that is between them
        text = text.replace(escaped, character).replace(escaped.lower(), character)
    return text


def _decoded(text: str) -> bytes:
    """Decodes either alphabet, with spaces and line breaks anywhere, with or without padding.

    Raises:
        ValueError: the text has other characters, or its length can't be that of base64.
    """
    try:
        return base64.b64decode(text, validate=True)  # most texts are read so; what follows takes twice the time
    except ValueError:
        characters = text.encode("ascii", "replace").translate(STANDARD_ALPHABET, SPACES).rstrip(b"=")
    if len(characters) % 4 == 1:
        raise ValueError(f"{len(characters)} characters, so at least one is missing or too many")
    return base64.b64decode(characters + b"=" * (-len(characters) % 4), validate=True)
