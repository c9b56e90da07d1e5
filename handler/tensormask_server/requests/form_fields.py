"""The fields of a request as TorchServe passes them on: the body or a form's parts, and the query's parameters."""

import re
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Any

from tensormask_server.bad_request import BadRequest, preview
from tensormask_server.images.signatures import is_image
from tensormask_server.requests.base64_files import is_text_of_file
from tensormask_server.requests.headers import header, media_type
from tensormask_server.requests.options import is_option

BODY = "body"  # TorchServe's own name for a body that is no form
# a form's names for image files: data, image or file; of several also image[], images, image2, image_2, image[2]
IMAGE_FIELD = re.compile(r"(data|images?|files?)([_-]?\d{1,4}|\[\d{0,4}\])?")
SEVERAL_VALUES = ("classes",)  # the options that may stand in a request several times
LONGEST_OPTION = 10_000  # bytes of a form's field
FORM_PART = re.compile(rb"\s*--[^\r\n]{1,200}\r?\n(?i:Content-Disposition:)")
EXPECTED_CALL = (
    "curl -T image.jpg 'http://HOST:PORT/MODEL/predict?format=png', curl -F data=@image.jpg -F format=png …, or "
    "for JSON curl -H 'Content-Type: application/json' --data-binary @image.json …"
)
EXPECTED_FIELD = f"images in the fields data, image or file, several of them as data[]: {EXPECTED_CALL}"
EXPECTED_FORM = (
    "a form without a Content-Type of your own: axios, fetch, requests and curl -F write the header themselves, with "
    "the boundary"
)


@dataclass(frozen=True)
class Part:
    """The body, or a form's part with an image."""

    name: str  # its place in the request, for error messages: "data", or "data[1]"
    content: bytes


@dataclass(frozen=True)
class Fields:
    """A request's fields, sorted."""

    parts: list[Part]  # at least one
    options: dict[str, Any]  # texts by the names of options, and lists of texts for SEVERAL_VALUES


def read_fields(fields: Mapping[str, Any], headers: Mapping[str, str]) -> Fields:
    """Sorts the fields into images and options.

    Args:
        fields: the body under "body", or a form's fields, with the query's parameters beside them. A name that stands
            there several times has the list of its values.
        headers: the request's headers.

    Raises:
        BadRequest: there is no image, a form came without its boundary, an option stands there several times, or a
            field is neither an image nor an option.
    """
    _check_boundary(fields, headers)
    is_form = BODY not in fields
    images: dict[str, list[Any]] = {}
    others: dict[str, list[Any]] = {}
    for name, value in fields.items():
        holds_image = IMAGE_FIELD.fullmatch(name) if is_form else name == BODY
        (images if holds_image else others)[name] = _values(value)
    if not images:
        raise BadRequest(_without_a_body(fields), EXPECTED_CALL)
    is_url_encoded = media_type(headers) == "application/x-www-form-urlencoded"
    if is_url_encoded:
        _check_not_cut(fields, headers)
    parts = []
    for name, values in images.items():
        for number, value in enumerate(values):
            content = value.encode(errors="replace") if isinstance(value, str) else bytes(value)
            place = f"{name.removesuffix('[]')}[{number}]" if len(values) > 1 else name
            parts.append(Part(place, _with_pluses(content) if is_url_encoded else content))
    return Fields(parts, _options(others))


def size_of(fields: Mapping[str, Any]) -> int:
    """The bytes of all values of a request's fields, together."""
    return sum(len(value) for values in fields.values() for value in _values(values) if isinstance(value, Sized))


def _check_boundary(fields: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """
    Raises:
        BadRequest: the body is a form, and Content-Type doesn't have its boundary. That happens where a client's code
            sets Content-Type itself.
    """
    content_type = header(headers, "Content-Type")
    body = next(iter(_values(fields.get(BODY, b""))))
    is_unread_form = isinstance(body, bytes | bytearray) and FORM_PART.match(body[:400]) is not None
    is_split_form = any(name.startswith("--") and "content-disposition:" in name.lower() for name in fields)
    if is_unread_form or is_split_form:
        found = "has no boundary" if media_type(headers) == "multipart/form-data" else "says something else"
        raise BadRequest(f"the body is a form, and its Content-Type {found}: {preview(content_type)}", EXPECTED_FORM)
    if not fields and media_type(headers) == "multipart/form-data":
        raise BadRequest(
            f"the form has no part with the boundary that its Content-Type names: {preview(content_type)}",
            EXPECTED_FORM,
        )


def _check_not_cut(fields: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """
    Raises:
        BadRequest: TorchServe has passed on only the beginning of the form. It stops at a line break.
    """
    length = header(headers, "Content-Length")
    # an escaped byte has three characters: %2B
    most = 3 * (size_of(fields) + sum(len(name.encode()) + 2 for name in fields))
    if length.isdecimal() and len(length) < 20 and int(length) > most:
        raise BadRequest(
            f"of the form's {length} bytes only the part before a line break came through",
            f"base64 without line breaks (base64 -w0), or a form with the file: {EXPECTED_CALL}",
        )


def _with_pluses(content: bytes) -> bytes:
    """Puts back the + of base64 that a client didn't escape. In such a form a + stands for a space."""
    restored = content.replace(b" ", b"+")
    return restored if is_text_of_file(restored) else content


def _values(value: Any) -> list[Any]:
    """All values of a name."""
    return value if isinstance(value, list) else [value]


def _options(fields: Mapping[str, list[Any]]) -> dict[str, Any]:
    """The fields beside the images, by their names with all values. Clients write lists as classes[], too."""
    options: dict[str, list[Any]] = {}
    for field, values in fields.items():
        name = field.removesuffix("[]")
        name = name if is_option(name) else field
        options.setdefault(name, []).extend(_text(field, each) for each in values)
    for name, values in options.items():
        if len(values) > 1 and name not in SEVERAL_VALUES:
            raise BadRequest(
                f"{preview(name)} stands {len(values)} times in the request",
                f"each option once, in the query or in the form; only {', '.join(SEVERAL_VALUES)} may be repeated",
                "option",
            )
    return {name: values if len(values) > 1 else values[0] for name, values in options.items()}


def _text(name: str, value: Any) -> Any:
    """A form's field as a string. Other fields, such as the query's parameters, are strings already."""
    if not isinstance(value, bytes | bytearray):
        return value
    if is_image(value) and not is_option(name.removesuffix("[]")):  # "BMW" begins as a bitmap does
        raise BadRequest(f"the form has an image in its field {preview(name)}", EXPECTED_FIELD)
    if len(value) > LONGEST_OPTION:
        raise BadRequest(
            f"the form's field {preview(name)} has {len(value)} bytes, more than the {LONGEST_OPTION} of an option",
            EXPECTED_CALL,
        )
    return value.decode(errors="replace")


def _without_a_body(fields: Mapping[str, Any]) -> str:
    """What is wrong with a request that has no field for an image, for an error message."""
    for name, values in fields.items():
        for value in _values(values):
            if isinstance(value, bytes | bytearray) and is_image(value):
                return f"the form has an image in its field {preview(name)}; expected it in one of data, image, file"
    if fields and all(is_option(name.removesuffix("[]")) for name in fields):
        return "the form has options and no file"
    return "the body was lost, because its Content-Type says that it is a form; curl -d says so by default"
