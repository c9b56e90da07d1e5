"""What came over the wire to pictures and options, or a BadRequest that teaches."""

import base64
import binascii
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensormask_server.bad_request import BadRequest, meant, shown
from tensormask_server.json_pixels import channels_last, parse_json, pixels_of_lists
from tensormask_server.pictures import PictureError, TooManyPixelsError, read_picture
from tensormask_server.request_options import ALIASES, OPTIONS, RequestOptions, options_of_headers, parse_options

# the first bytes of the kinds of picture that are read, by Pillow's name
SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "WEBP": (b"RIFF",),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*"),
}
ALL_SIGNATURES = tuple(start for starts in SIGNATURES.values() for start in starts)
FILE_FIELDS = ("body", "data", "image", "file")  # TorchServe's own name for the body, and what a form may say
EXPECTED_BODY = (
    "a picture's bytes (JPEG, PNG, WebP, GIF, BMP or TIFF: curl -T picture.jpg), or JSON: "
    '{"image": base64}, {"instances": […]} or {"img_data": [[[…]]]} of shape (3, H, W), RGB, whole numbers 0…255'
)
EXPECTED_CALL = (
    "curl -T picture.jpg 'http://HOST:8080/MODEL/predict?format=png', curl -F data=@picture.jpg -F format=png …, or "
    "for JSON curl -H 'Content-Type: application/json' --data-binary @picture.json …"
)
LONGEST_OPTION = 10_000  # bytes of a form's field
PICTURE_KEYS = ("img_data", "image", "channel_order")


@dataclass(frozen=True)
class SegmentationRequest:
    """One picture and what is asked of it."""

    picture: np.ndarray  # uint8 (H, W, 3), RGB
    options: RequestOptions
    default_format: str = "coco"

    @property
    def format(self) -> str:
        return self.options.format or self.default_format


@dataclass(frozen=True)
class Request:
    """What one HTTP request asks."""

    items: list[SegmentationRequest]
    protocol: str  # "plain" for one picture; "v1" and "v2" for KServe's, with any number of them


def parse_request(
    fields: Mapping[str, Any], headers: Mapping[str, str], max_pixels: int, class_names: Sequence[str]
) -> Request:
    """Reads a request of any kind.

    Args:
        fields: the body under "body", or a form's fields; and what the query says.
        headers: the request's own.
        max_pixels: the largest H·W of a picture.
        class_names: the network's.

    Raises:
        BadRequest: whatever is wrong with it.
    """
    name = next((each for each in FILE_FIELDS if each in fields), None)
    if name is None:
        raise BadRequest(_without_a_body(fields), EXPECTED_CALL)
    said = {key: _text(key, value) for key, value in fields.items() if key != name}
    outer = {**options_of_headers(headers), **_unaliased(said)}
    body = fields[name]
    content = body.encode() if isinstance(body, str) else bytes(body)
    if not content:
        raise BadRequest("the request has no body", EXPECTED_CALL)
    if content.startswith(ALL_SIGNATURES):
        options = parse_options(outer, class_names)
        return Request([SegmentationRequest(_decoded(content, max_pixels), options)], "plain")
    if content.startswith(b"\x1f\x8b"):
        raise BadRequest("the body is compressed by gzip", f"the same without gzip: {EXPECTED_BODY}")
    return _JsonReader(max_pixels, class_names).request(parse_json(content, EXPECTED_BODY), outer)


class _JsonReader:
    """Requests in JSON, by the key that holds their pictures."""

    def __init__(self, max_pixels: int, class_names: Sequence[str]):
        self.max_pixels = max_pixels
        self.class_names = class_names

    def request(self, content: dict[str, Any], outer: Mapping[str, Any]) -> Request:
        if "instances" in content:
            return self._v1(content, outer)
        if "inputs" in content:
            return self._v2(content, outer)
        return Request([self._item(content, outer, "torch" if "img_data" in content else "coco")], "plain")

    def _item(
        self, content: Mapping[str, Any], outer: Mapping[str, Any], default_format: str = "coco"
    ) -> SegmentationRequest:
        """A picture under "image" or "img_data", its options beside it."""
        own = {key: value for key, value in content.items() if key not in PICTURE_KEYS}
        for key in own:
            if key not in OPTIONS and key not in ALIASES:
                known = (*PICTURE_KEYS, *OPTIONS)
                raise BadRequest(f"the body has the unknown key {shown(key)}{meant(key, known)}", EXPECTED_BODY)
        if ("image" in content) == ("img_data" in content):
            both = "both img_data and" if "image" in content else "no img_data and no"
            raise BadRequest(f"the body has {both} image", EXPECTED_BODY)
        options = parse_options({**outer, **_unaliased(own)}, self.class_names)
        if "image" in content:
            if "channel_order" in content:
                raise BadRequest("channel_order is for img_data, not for image", EXPECTED_BODY)
            return SegmentationRequest(self._base64(content["image"]), options)
        picture = self._pixels(content["img_data"], content.get("channel_order", "RGB"))
        return SegmentationRequest(picture, options, default_format)

    def _v1(self, content: Mapping[str, Any], outer: Mapping[str, Any]) -> Request:
        """KServe's and TensorFlow Serving's {"instances": [{"image": …}, …]}, options beside it for all of them."""
        instances = content["instances"]
        if not isinstance(instances, list) or not instances:
            raise BadRequest(f"instances is {shown(instances)}", 'instances: a list of {"image": base64}, at least one')
        common = {**outer, **_unaliased({key: value for key, value in content.items() if key != "instances"})}
        items = []
        for number, instance in enumerate(instances):
            try:
                items.append(self._item(_instance(instance), common))
            except BadRequest as error:
                raise BadRequest(f"instances[{number}]: {error.error}", error.expected, error.reason) from error
        return Request(items, "v1")

    def _v2(self, content: Mapping[str, Any], outer: Mapping[str, Any]) -> Request:
        """The Open Inference Protocol: one UINT8 tensor of pixels, or BYTES with an encoded picture each."""
        expected = (
            'inputs: [{"name": "image", "datatype": "UINT8", "shape": [H, W, 3] or [N, H, W, 3], "data": […]}] or '
            '[{"name": "image", "datatype": "BYTES", "shape": [N], "data": [base64, …]}]'
        )
        inputs, parameters = content["inputs"], content.get("parameters", {})
        unknown = [key for key in content if key not in ("inputs", "parameters", "id", "outputs")]
        if unknown:
            raise BadRequest(f"the body has the unknown key {shown(unknown[0])}", "inputs, parameters, id and outputs")
        if not isinstance(parameters, dict):
            raise BadRequest(f"parameters is {shown(parameters)}", "parameters: an object of options")
        if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
            raise BadRequest(f"inputs is {shown(inputs)}, not a list of one object", expected)
        (tensor,) = inputs
        options = parse_options({**outer, **_unaliased(parameters)}, self.class_names)
        data, datatype, shape = tensor.get("data"), tensor.get("datatype"), tensor.get("shape")
        if datatype == "BYTES" and isinstance(data, list) and data:
            pictures = [self._base64(each) for each in data]
        elif datatype == "UINT8" and isinstance(shape, list) and len(shape) in (3, 4) and shape[-1] == 3:
            pictures = [self._pixels(each, "RGB") for each in _tensor(data, shape, expected)]
        else:
            raise BadRequest(f"inputs[0] has datatype {shown(datatype)} and shape {shape!r:.60}", expected)
        return Request([SegmentationRequest(picture, options) for picture in pictures], "v2")

    def _base64(self, value: Any) -> np.ndarray:
        if isinstance(value, dict) and set(value) == {"b64"}:
            value = value["b64"]
        if not isinstance(value, str):
            raise BadRequest(f"image is {shown(value)}", "image: the bytes of a picture file in base64")
        try:
            content = base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadRequest(f"image is not base64: {error}", "image: the bytes of a picture file in base64") from error
        return _decoded(content, self.max_pixels)

    def _pixels(self, value: Any, order: Any) -> np.ndarray:
        if not isinstance(order, str) or order.upper() not in ("RGB", "BGR"):
            raise BadRequest(f"channel_order is {shown(order)}", 'channel_order: "RGB" or "BGR"')
        picture = channels_last(value if isinstance(value, np.ndarray) else pixels_of_lists(value))
        height, width = picture.shape[:2]
        if height * width > self.max_pixels:
            raise _too_large(f"the picture has {height}×{width} = {height * width} pixels", self.max_pixels)
        return np.ascontiguousarray(picture[..., ::-1] if order.upper() == "BGR" else picture)


def _decoded(content: bytes, max_pixels: int) -> np.ndarray:
    try:
        return read_picture(io.BytesIO(content), max_pixels, tuple(SIGNATURES))
    except TooManyPixelsError as error:
        raise _too_large(str(error), max_pixels) from error
    except PictureError as error:
        raise BadRequest(str(error), EXPECTED_BODY, "picture") from error


def _too_large(found: str, max_pixels: int) -> BadRequest:
    return BadRequest(
        f"{found}, more than the {max_pixels} allowed",
        f"a picture of at most {max_pixels} pixels: resize it first",
        "pixels",
    )


def _tensor(data: Any, shape: list[Any], expected: str) -> list[Any]:
    """The pictures (H, W, 3) of a UINT8 tensor, flat or nested, as nested lists or arrays."""
    if not all(type(side) is int and side > 0 for side in shape):
        raise BadRequest(f"inputs[0] has the shape {shape!r:.60}", expected)
    pictures = 1 if len(shape) == 3 else shape[0]
    if isinstance(data, list) and data and not isinstance(data[0], list):
        if not all(type(value) is int and 0 <= value <= 255 for value in data):
            raise BadRequest("inputs[0].data has something else than whole numbers from 0 to 255", expected)
        if len(data) != math.prod(shape):
            raise BadRequest(f"inputs[0].data has {len(data)} values, and shape {math.prod(shape)}", expected)
        return list(np.array(data, np.uint8).reshape(pictures, *shape[-3:]))
    nested = data if len(shape) == 4 else [data]
    if not isinstance(nested, list) or len(nested) != pictures:
        raise BadRequest(f"inputs[0].data is {shown(data)} that doesn't have the shape {shape!r:.60}", expected)
    arrays = [pixels_of_lists(each) for each in nested]
    if any(list(each.shape) != shape[-3:] for each in arrays):
        raise BadRequest(f"inputs[0].data doesn't have the shape {shape!r:.60}", expected)
    return list(arrays)


def _instance(value: Any) -> Mapping[str, Any]:
    """{"image": …} with its options; the base64 alone, or TensorFlow Serving's {"b64": …}, stand for the image."""
    if isinstance(value, str) or (isinstance(value, dict) and set(value) == {"b64"}):
        return {"image": value}
    if not isinstance(value, dict):
        raise BadRequest(f"it is {shown(value)}", '{"image": base64}')
    return value


def _unaliased(options: Mapping[str, Any]) -> dict[str, Any]:
    """Under one name each, so that what is said nearer to the picture replaces what is said farther away."""
    for alias, name in ALIASES.items():
        if alias in options and name in options:
            raise BadRequest(f"{alias} and {name} are the same option", f"{name} alone", "option")
    return {ALIASES.get(name, name): value for name, value in options.items()}


def _text(name: str, value: Any) -> Any:
    if not isinstance(value, bytes | bytearray):
        return value
    if len(value) > LONGEST_OPTION:
        raise BadRequest(
            f"the form's field {shown(name)} has {len(value)} bytes, more than an option has", EXPECTED_CALL
        )
    return value.decode(errors="replace")


def _without_a_body(fields: Mapping[str, Any]) -> str:
    for name, value in fields.items():
        if isinstance(value, bytes | bytearray) and value.startswith(ALL_SIGNATURES):
            return (
                f"the form has a picture in its field {shown(name)}; expected it in one of {', '.join(FILE_FIELDS[1:])}"
            )
    return "the request came as a form, and its body was lost: curl -d sends one unless told otherwise"
