"""The bytes of a request to a picture and options, or a BadRequest that teaches."""

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import simdjson

KEYS = ("img_data", "threshold", "channel_order")
EXPECTED_BODY = (
    'JSON: {"img_data": [[[…]]]} of shape (3, H, W), RGB, whole numbers 0…255; '
    'optional "threshold" (0…1) and "channel_order" ("RGB" or "BGR")'
)
EXPECTED_PICTURE = "(3, H, W), RGB, whole numbers from 0 to 255"


class BadRequest(ValueError):
    """A request that can't be answered, with what was wrong and what would be accepted."""

    def __init__(self, error: str, expected: str = EXPECTED_BODY):
        super().__init__(error)
        self.error = error
        self.expected = expected


@dataclass(frozen=True)
class SegmentationRequest:
    """One picture and what is asked of it."""

    picture: np.ndarray  # uint8 (H, W, 3), RGB
    score_threshold: float | None  # None: the server's own


def parse_request(body: bytes | bytearray | str | Mapping[str, Any], max_pixels: int) -> SegmentationRequest:
    """Reads a JSON request.

    Args:
        body: as it came over the wire, or already decoded JSON.
        max_pixels: the largest H·W.

    Raises:
        BadRequest: whatever is wrong with it.
    """
    if isinstance(body, str | Mapping):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
    request = _decoded(bytes(body))
    order = request.get("channel_order", "RGB")
    if not isinstance(order, str) or order.upper() not in ("RGB", "BGR"):
        raise BadRequest(f"channel_order is {_shown(order)}", 'channel_order: "RGB" or "BGR"')
    picture = _channels_last(request["img_data"])
    height, width = picture.shape[:2]
    if height * width > max_pixels:
        raise BadRequest(
            f"the picture has {height}×{width} = {height * width} pixels, more than the {max_pixels} allowed",
            f"a picture of at most {max_pixels} pixels: resize it first",
        )
    if order.upper() == "BGR":
        picture = picture[..., ::-1]
    return SegmentationRequest(np.ascontiguousarray(picture), _threshold(request.get("threshold")))


def _decoded(body: bytes) -> dict[str, Any]:
    """The request's keys, `img_data` as a uint8 array of three axes."""
    if not body:
        raise BadRequest("the request has no body")
    try:
        document = simdjson.Parser().parse(body)
        if isinstance(document, simdjson.Object):
            request = _fast(document, body.count(b"["))
            if request is not None:
                return request
    except (ValueError, TypeError, RuntimeError, OverflowError):
        pass  # what is wrong is told by the slow way
    return _diagnosed(body)


def _fast(document: simdjson.Object, num_brackets: int) -> dict[str, Any] | None:
    """A well-formed request straight into a buffer; None where that isn't certain."""
    keys = list(document.keys())
    if "img_data" not in keys or len(set(keys)) < len(keys) or not set(keys) <= set(KEYS):
        return None
    planes: Any = document["img_data"]
    num_rows = {len(plane) for plane in planes}
    lengths = {len(row) for plane in planes for row in plane}
    # as_buffer flattens any nesting; with this many lists and one length each, there is only one shape
    if len(num_rows) != 1 or len(lengths) != 1 or num_brackets != 1 + len(planes) * (1 + min(num_rows)):
        return None
    values = np.frombuffer(planes.as_buffer(of_type="u"), dtype=np.uint64)
    shape = (len(planes), *num_rows, *lengths)
    if len(values) != math.prod(shape) or len(values) == 0 or values.max() > 255:
        return None
    others = {key: document[key] for key in keys if key != "img_data"}
    if any(isinstance(value, simdjson.Object | simdjson.Array) for value in others.values()):
        return None
    return {"img_data": values.astype(np.uint8).reshape(shape), **others}


def _diagnosed(body: bytes) -> dict[str, Any]:
    """The same by the standard library: slower, and able to say what is wrong."""
    try:
        request = json.loads(body, object_pairs_hook=_without_duplicates)
    except BadRequest:
        raise
    except RecursionError as error:
        raise BadRequest("the body is nested too deep") from error
    except UnicodeDecodeError as error:
        raise BadRequest("the body is not JSON but bytes; prepare_input.py makes JSON of a picture file") from error
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    except ValueError as error:  # Python's own limit, thousands of digits
        raise BadRequest("the body has a number that is too long") from error
    if not isinstance(request, dict):
        raise BadRequest(f"the body is a JSON {_json_type(request)}, not an object")
    for key in request:
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            raise BadRequest(f"the body has the unknown key {_shown(key)}{meant}")
    if "img_data" not in request:
        raise BadRequest("the body has no img_data")
    return {**request, "img_data": _checked_array(request["img_data"])}


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise BadRequest("the body has a key twice")
    return unique


def _checked_array(planes: Any) -> np.ndarray:
    """Nested lists to uint8, or the first fault in them and where it is."""
    shape = _shape_of_first(planes)
    if not isinstance(planes, list):
        raise BadRequest(f"img_data is {_shown(planes)}, not a list", EXPECTED_PICTURE)
    if 0 in shape:
        raise BadRequest("img_data is empty", EXPECTED_PICTURE)
    if len(shape) != 3:
        raise BadRequest(f"img_data is nested {len(shape)} deep, not 3", EXPECTED_PICTURE)
    for i, plane in enumerate(planes):
        _check_list(plane, shape[1], f"img_data[{i}]")
        for j, row in enumerate(plane):
            _check_list(row, shape[2], f"img_data[{i}][{j}]")
            for k, value in enumerate(row):
                if type(value) is not int or not 0 <= value <= 255:
                    raise BadRequest(f"img_data[{i}][{j}][{k}] is {_shown(value)}", EXPECTED_PICTURE)
    return np.array(planes, np.uint8)


def _shape_of_first(value: Any) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _check_list(value: Any, length: int, name: str) -> None:
    if not isinstance(value, list):
        raise BadRequest(f"{name} is {_shown(value)}, not a list", EXPECTED_PICTURE)
    if len(value) != length:
        raise BadRequest(f"{name} has length {len(value)}, where the first such list has {length}", EXPECTED_PICTURE)


def _channels_last(array: np.ndarray) -> np.ndarray:
    """(3, H, W) to (H, W, 3); (H, W, 3) is told by its last axis, where the first isn't 3 too."""
    if array.shape[0] == 3:
        return array.transpose(1, 2, 0)
    if array.shape[2] == 3:
        return array
    raise BadRequest(f"img_data has shape {array.shape}, with {array.shape[0]} channels", EXPECTED_PICTURE)


def _threshold(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BadRequest(f"threshold is {_shown(value)}", "threshold: a number from 0 to 1")
    return float(value)


def _shown(value: Any) -> str:
    """A value for an error message: as JSON, and short."""
    if isinstance(value, list | dict):
        return f"a JSON {_json_type(value)}"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _json_type(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
