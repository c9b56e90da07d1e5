"""Parses JSON that holds an image's pixels.

A fast parser reads well-formed bodies. If it gives up, a slow parser finds out what is wrong.
"""

import json
import math
from collections import Counter
from typing import Any

import numpy as np

try:
    import simdjson
except ImportError:  # it has no wheel for Python 3.14 yet
    simdjson = None  # type: ignore[assignment]

from tensormask_server.bad_request import BadRequest, json_type, preview

# Parts are lists, objects and quotation marks. The slow parser takes up to 100 bytes for each of them. An image of
# 1333×1333 as (H, W, 3) has 1.8 million.
MOST_PARTS = 2_000_000
MOST_KEYS = 100  # beside img_data; simdjson searches for each key from the first one on
EXPECTED_PIXELS = "(3, H, W), whole numbers from 0 to 255, in RGB or in the order that channel_order names"


def parse_json(body: bytes, expected: str) -> dict[str, Any]:
    """Parses a request's body.

    Args:
        body: the whole body.
        expected: what would be accepted in its place, for error messages.

    Returns:
        The object's keys and values. The value of `img_data` is a uint8 array, (3, H, W) or (H, W, 3) as it was sent.

    Raises:
        BadRequest: the body isn't a JSON object, or its `img_data` isn't an image.
    """
    if simdjson is None:
        return _diagnosed(body, expected)
    try:
        request = _fast(body)
    except (ValueError, TypeError, RuntimeError, OverflowError):
        request = None  # the slow parser finds out what is wrong
    return _diagnosed(body, expected) if request is None else request


def pixels_of_lists(planes: Any, name: str = "img_data", expected: str = EXPECTED_PIXELS) -> np.ndarray:
    """Converts lists that are nested three deep to uint8, of the same shape.

    Args:
        planes: the lists.
        name: their place in the request, for error messages.
        expected: what would be accepted in their place, for error messages.

    Raises:
        BadRequest: the lists aren't an image. The message names the first fault and its place.
    """
    shape = _shape_of_first(planes)
    if not isinstance(planes, list):
        raise BadRequest(f"{name} is {preview(planes)}, not a list", expected)
    if 0 in shape:
        raise BadRequest(f"{name} is empty", expected)
    if len(shape) != 3:
        raise BadRequest(f"{name} is nested {len(shape)} deep, not 3", expected)
    for i, plane in enumerate(planes):
        _check_list(plane, shape[1], f"{name}[{i}]", expected)
        for j, row in enumerate(plane):
            _check_list(row, shape[2], f"{name}[{i}][{j}]", expected)
            for k, value in enumerate(row):
                if type(value) is not int or not 0 <= value <= 255:
                    raise BadRequest(f"{name}[{i}][{j}][{k}] is {preview(value)}", expected)
    return np.array(planes, np.uint8)


def channels_last(array: np.ndarray) -> np.ndarray:
    """Converts (3, H, W) to (H, W, 3). If only the last axis has length 3, the array is (H, W, 3) and stays as it is.

    Raises:
        BadRequest: neither axis has length 3.
    """
    if array.shape[0] == 3:
        return array.transpose(1, 2, 0)
    if array.shape[2] == 3:
        return array
    raise BadRequest(f"img_data has shape {array.shape}, with {array.shape[0]} channels", EXPECTED_PIXELS)


def _fast(body: bytes) -> dict[str, Any] | None:
    """Parses a well-formed body straight into a buffer. It returns None if the body may not be well-formed."""
    document = simdjson.Parser().parse(body)
    if not isinstance(document, simdjson.Object):
        return None
    keys = list(document.keys())
    if "img_data" not in keys or len(set(keys)) < len(keys) or len(keys) > MOST_KEYS:
        return None
    others = {key: document[key] for key in keys if key != "img_data"}
    if any(isinstance(each, simdjson.Object | simdjson.Array) for each in others.values()):
        return None
    if any("[" in each for each in (*keys, *others.values()) if isinstance(each, str)):
        return None
    if not isinstance(document["img_data"], simdjson.Array):
        return None
    planes: Any = document["img_data"]
    num_rows = {len(plane) for plane in planes}
    lengths = {len(row) for plane in planes for row in plane}
    # as_buffer flattens lists however they are nested; only one shape has this many lists of these lengths
    if len(num_rows) != 1 or len(lengths) != 1 or body.count(b"[") != 1 + len(planes) * (1 + min(num_rows)):
        return None
    values = np.frombuffer(planes.as_buffer(of_type="u"), dtype=np.uint64)
    shape = (len(planes), *num_rows, *lengths)
    if len(values) != math.prod(shape) or len(values) == 0 or values.max() > 255:
        return None
    return {"img_data": values.astype(np.uint8).reshape(shape), **others}


def _diagnosed(body: bytes, expected: str) -> dict[str, Any]:
    """Parses the body with the standard library. That is slower, and its errors name what is wrong."""
    parts = sum(body.count(each) for each in (b"[", b"{", b'"'))
    if parts > MOST_PARTS:
        found = f"the body has {parts} lists, objects and quotation marks in all, more than the {MOST_PARTS} allowed"
        raise BadRequest(found, expected)
    try:
        request = json.loads(body, object_pairs_hook=_without_duplicates)
    except _DuplicateKeyError as error:
        raise BadRequest(f"the body has the key {preview(error.args[0])} twice", expected) from error
    except RecursionError as error:
        raise BadRequest("the body is nested too deep", expected) from error
    except UnicodeDecodeError as error:
        raise BadRequest("the body is neither JSON nor an image in a supported file format", expected) from error
    except json.JSONDecodeError as error:
        found = "not JSON" if body.lstrip().startswith(b"{") else "neither an image in a supported file format nor JSON"
        raise BadRequest(f"the body is {found}: {error}", expected) from error
    except ValueError as error:  # Python's own limit, thousands of digits
        raise BadRequest("the body has a number of too many digits", expected) from error
    if not isinstance(request, dict):
        raise BadRequest(f"the body is a JSON {json_type(request)}, not an object", expected)
    if "img_data" in request:
        return {**request, "img_data": pixels_of_lists(request["img_data"])}
    return request


class _DuplicateKeyError(Exception):
    """A JSON object has a key twice."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise _DuplicateKeyError(next(key for key, number in Counter(key for key, _ in pairs).items() if number > 1))
    return unique


def _shape_of_first(value: Any) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _check_list(value: Any, length: int, name: str, expected: str) -> None:
    if not isinstance(value, list):
        raise BadRequest(f"{name} is {preview(value)}, not a list", expected)
    if len(value) != length:
        raise BadRequest(f"{name} has length {len(value)}, where the first such list has {length}", expected)
