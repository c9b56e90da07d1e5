"""What came over the wire to images and options, or a BadRequest that teaches."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensormask_server.bad_request import BadRequest, shown
from tensormask_server.images import SIGNATURES, EncodedImage, ImageError, TooManyPixelsError, other_kind
from tensormask_server.options import Limits
from tensormask_server.requests.json_bodies import EXPECTED_BODY, Asked, JsonReader, told_of
from tensormask_server.requests.json_pixels import parse_json
from tensormask_server.requests.limits import Size, check_size, check_sum, expected_size
from tensormask_server.requests.options import (
    ALIASES,
    OPTIONS,
    RequestOptions,
    options_of_headers,
    parse_options,
    unaliased,
)
from tensormask_server.responses.protocols import InferenceProtocol, OneImage

ALL_SIGNATURES = tuple(start for starts in SIGNATURES.values() for start in starts)
FILE_FIELDS = ("body", "data", "image", "file")  # TorchServe's own name for the body, and what a form may say
EXPECTED_CALL = (
    "curl -T image.jpg 'http://HOST:8080/MODEL/predict?format=png', curl -F data=@image.jpg -F format=png …, or "
    "for JSON curl -H 'Content-Type: application/json' --data-binary @image.json …"
)
LONGEST_OPTION = 10_000  # bytes of a form's field
FILE_NAME = re.compile(rb"[^{}\[\]\n]{1,300}\.[A-Za-z]{3,4}")


@dataclass(frozen=True)
class SegmentationRequest:
    """One image and what is asked of it."""

    image: np.ndarray  # uint8 (H, W, 3), RGB
    options: RequestOptions
    default_format: str = "coco"

    @property
    def format(self) -> str:
        return self.options.format or self.default_format


@dataclass(frozen=True)
class Request:
    """What one HTTP request asks."""

    items: list[SegmentationRequest]
    protocol: InferenceProtocol  # of the response, too


def parse_request(
    fields: Mapping[str, Any],
    headers: Mapping[str, str],
    limits: Limits,
    class_names: Sequence[str],
    usual_masks: int = 0,
) -> Request:
    """Reads a request of any kind. Nothing is decoded before all of its images are known to be within the limits.

    Args:
        fields: the body under "body", or a form's fields; and what the query says.
        headers: the request's own.
        class_names: the network's.
        usual_masks: of an image at most, where the request doesn't say; 0 where the network makes none.

    Raises:
        BadRequest: whatever is wrong with it.
    """
    asked, protocol = _asked(fields, headers, limits, class_names)
    images, sizes = [], []
    for each in asked:
        with told_of(each.name):
            image = each.image if isinstance(each.image, np.ndarray) else _opened(each.image, limits)
            sizes.append(_size(image, each.options, usual_masks))
            check_size(sizes[-1], limits)
            images.append(image)
    check_sum(sizes, limits)
    items = []
    for each, image in zip(asked, images, strict=True):
        with told_of(each.name):
            items.append(SegmentationRequest(_decoded(image), each.options, each.default_format))
    return Request(items, protocol)


def _asked(
    fields: Mapping[str, Any], headers: Mapping[str, str], limits: Limits, class_names: Sequence[str]
) -> tuple[list[Asked], InferenceProtocol]:
    """As `JsonReader.asked`."""
    name = next((each for each in FILE_FIELDS if each in fields), None)
    if name is None:
        raise BadRequest(_without_a_body(fields), EXPECTED_CALL)
    said = {key: _text(key, value) for key, value in fields.items() if key != name}
    outer = {**options_of_headers(headers), **unaliased(said)}
    body = fields[name]
    content = body.encode(errors="replace") if isinstance(body, str) else bytes(body)
    if not content:
        raise BadRequest("the request has no body", EXPECTED_CALL)
    if content.startswith(ALL_SIGNATURES):
        return [Asked(content, parse_options(outer, class_names))], OneImage()
    if content.startswith(b"\x1f\x8b"):
        raise BadRequest("the body is compressed by gzip", f"the same without gzip: {EXPECTED_BODY}")
    if kind := other_kind(content):
        raise BadRequest(
            f"the body is of a kind that isn't read, {kind}", f"converted to one of these: {EXPECTED_BODY}"
        )
    if name != "body" and FILE_NAME.fullmatch(content):
        raise BadRequest(
            f"the form's field {name} has a file's name, {shown(content.decode(errors='replace'))}, and not the file",
            f"an @ before the name: curl -F {name}=@image.jpg",
        )
    tree = parse_json(content, EXPECTED_BODY)
    return JsonReader(limits, class_names).asked(tree, outer)


def _opened(content: bytes, limits: Limits) -> EncodedImage:
    try:
        return EncodedImage(content, tuple(SIGNATURES))
    except TooManyPixelsError as error:
        raise BadRequest(
            f"{error}, more than the {limits.max_pixels} allowed", expected_size(limits), "pixels"
        ) from error
    except ImageError as error:
        raise BadRequest(str(error), EXPECTED_BODY, "image") from error


def _size(image: EncodedImage | np.ndarray, options: RequestOptions, usual_masks: int) -> Size:
    height, width = image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)
    asked_for = options.prediction.max_detections
    return Size(height, width, usual_masks if asked_for is None or usual_masks == 0 else asked_for)


def _decoded(image: EncodedImage | np.ndarray) -> np.ndarray:
    if isinstance(image, np.ndarray):
        return np.ascontiguousarray(image)
    try:
        return image.decoded()
    except ImageError as error:
        raise BadRequest(str(error), EXPECTED_BODY, "image") from error


def _text(name: str, value: Any) -> Any:
    if not isinstance(value, bytes | bytearray):
        return value
    if value.startswith(ALL_SIGNATURES):
        raise BadRequest(
            f"the form has one more image in its field {shown(name)}",
            'one image in a form; several as JSON: {"instances": [{"image": base64}, …]}',
        )
    if len(value) > LONGEST_OPTION:
        raise BadRequest(
            f"the form's field {shown(name)} has {len(value)} bytes, more than an option has", EXPECTED_CALL
        )
    return value.decode(errors="replace")


def _without_a_body(fields: Mapping[str, Any]) -> str:
    for name, value in fields.items():
        if isinstance(value, bytes | bytearray) and value.startswith(ALL_SIGNATURES):
            return (
                f"the form has an image in its field {shown(name)}; expected it in one of {', '.join(FILE_FIELDS[1:])}"
            )
    if fields.keys() and fields.keys() <= OPTIONS.keys() | ALIASES.keys():
        return "the form has options and no file"
    return "the request came as a form, and its body was lost: curl -d sends one unless told otherwise"
