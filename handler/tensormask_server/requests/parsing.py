"""Reads a request: from its fields and headers to its images and options, or to an error.

`form_fields.read_fields` tells images from options. `_undecoded` tells image files from JSON. `json_bodies.read_json`
tells the protocols in JSON apart.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensormask_server.bad_request import BadRequest, errors_name, preview
from tensormask_server.formats import FORMATS, listed
from tensormask_server.images.encoded import EncodedImage
from tensormask_server.images.errors import ImageError, TooManyPixelsError
from tensormask_server.images.large import LargeImage
from tensormask_server.images.options import ImageOptions
from tensormask_server.images.other_files import other_file
from tensormask_server.images.signatures import SIGNATURES, is_image
from tensormask_server.options import Limits
from tensormask_server.prediction.detections import DEFAULT_OPTIONS, PredictionOptions
from tensormask_server.prediction.tile_grid import number_of_tiles, pixels_of_tile
from tensormask_server.requests.base64_files import unwrapped
from tensormask_server.requests.binary_tensors import json_length
from tensormask_server.requests.form_fields import BODY, EXPECTED_CALL, Part, read_fields
from tensormask_server.requests.json_bodies import EXPECTED_JSON, read_json
from tensormask_server.requests.json_pixels import parse_json
from tensormask_server.requests.limits import Size, check_number, check_size, check_sum, expected_size, is_large
from tensormask_server.requests.options import options_of_headers, without_aliases
from tensormask_server.requests.reading import Reading
from tensormask_server.requests.undecoded import UndecodedImage
from tensormask_server.responses.options import ResponseOptions
from tensormask_server.responses.protocols import InferenceProtocol, KServeV1, OneImage

EXPECTED_BODY = (
    f"an image's bytes (JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF: curl -T image.jpg), or JSON: {EXPECTED_JSON}"
)
GZIP = b"\x1f\x8b"
FILE_NAME = re.compile(rb"[^{}\[\]\n]{1,300}\.[A-Za-z]{3,4}")


@dataclass(frozen=True)
class RequestedImage:
    """One image and the options for it."""

    image: np.ndarray | LargeImage  # uint8 (H, W, 3), RGB
    options: PredictionOptions
    response: ResponseOptions
    notes: tuple[str, ...] = ()  # on how the image was decoded, for the response


@dataclass(frozen=True)
class Request:
    """The content of one HTTP request."""

    items: list[RequestedImage]  # at least one
    protocol: InferenceProtocol  # of the response, too


def parse_request(
    fields: Mapping[str, Any],
    headers: Mapping[str, str],
    limits: Limits,
    class_names: Sequence[str],
    max_masks: int = 0,
    defaults: PredictionOptions = DEFAULT_OPTIONS,
    auto_tile_size: int = 0,
) -> Request:
    """Reads a request of any protocol. It checks that all images are within the limits before it decodes one.

    Args:
        fields: the body under "body", or a form's fields. The parameters of the query are beside them. A name that
            stands there several times has the list of its values.
        headers: the request's headers.
        limits: the server's.
        class_names: the network's, by class number.
        max_masks: how many masks an image can have if the request has no max_detections. 0: the network makes none.
        defaults: the values of options that the request doesn't have.
        auto_tile_size: the tile_size in pixels that "auto" stands for; 0: no tiles.

    Raises:
        BadRequest: the request is wrong.
    """
    opened: list[tuple[UndecodedImage, EncodedImage | np.ndarray]] = []
    sizes = []
    undecoded_images, protocol = _undecoded(fields, headers, Reading(limits, class_names, defaults))
    for each in undecoded_images:
        with errors_name(each.name):
            image = each.image if isinstance(each.image, np.ndarray) else _open(each.image, limits)
            size = _size(image, each.options.prediction, max_masks, auto_tile_size)
            check_size(size, limits)
            if is_large(size, limits):
                _check_large(image, each.options.response)
        opened.append((each, image))
        sizes.append(size)
    check_sum(sizes, limits)
    items = []
    for (each, image), size in zip(opened, sizes, strict=True):
        with errors_name(each.name):
            pixels, notes = _decode(image, each.options.image, is_large(size, limits))
            items.append(RequestedImage(pixels, each.options.prediction, each.options.response, notes))
    return Request(items, protocol)


def _undecoded(
    fields: Mapping[str, Any], headers: Mapping[str, str], reading: Reading
) -> tuple[list[UndecodedImage], InferenceProtocol]:
    """The images of any kind of body, at least one, and the protocol of the response. No image file is opened yet."""
    sorted_fields = read_fields(fields, headers)
    outer_options = {**options_of_headers(headers), **without_aliases(sorted_fields.options)}
    if len(sorted_fields.parts) > 1:
        return _images_of_form(sorted_fields.parts, outer_options, reading), KServeV1()
    [part] = sorted_fields.parts
    is_compressed = part.content.startswith(GZIP)  # `_image_file` says so
    if part.name == BODY and not is_compressed and (length := json_length(headers, len(part.content))):
        json, binary = part.content[:length], part.content[length:]
        return read_json(parse_json(json, EXPECTED_BODY), outer_options, reading, binary)
    file = _image_file(part)
    if file is None:
        return read_json(parse_json(part.content, EXPECTED_BODY), outer_options, reading)
    options = reading.options(outer_options)
    return [UndecodedImage(file, options)], OneImage()


def _images_of_form(parts: Sequence[Part], outer_options: Mapping[str, Any], reading: Reading) -> list[UndecodedImage]:
    """The images of a form that has several."""
    check_number(len(parts), reading.limits)
    options = reading.options(outer_options)
    images = []
    for part in parts:
        with errors_name(part.name):
            file = _image_file(part)
            if file is None:
                raise BadRequest("it is neither an image nor an image in base64", EXPECTED_BODY)
        images.append(UndecodedImage(file, options, part.name))
    return images


def _image_file(part: Part) -> bytes | None:
    """The image file that a body or a form's part is, or that it holds in base64. None: it may be JSON.

    Raises:
        BadRequest: it is certainly neither.
    """
    if part.content.startswith(GZIP):
        raise BadRequest("the body is compressed by gzip", f"the same without gzip: {EXPECTED_BODY}")
    if not part.content:
        raise BadRequest("the request has no body" if part.name == BODY else "the form's file is empty", EXPECTED_CALL)
    content = unwrapped(part.content)
    if is_image(content):
        return content
    if other := other_file(content):
        raise BadRequest(f"the body is {other.name}, which isn't supported", other.expected)
    if part.name != BODY and FILE_NAME.fullmatch(content):
        raise BadRequest(
            f"the form's field {part.name} has a file's name, {preview(content.decode(errors='replace'))}, "
            "and not the file",
            f"an @ before the name: curl -F {part.name}=@image.jpg",
        )
    return None


def _open(content: bytes, limits: Limits) -> EncodedImage:
    try:
        return EncodedImage(content, tuple(SIGNATURES))
    except TooManyPixelsError as error:
        raise BadRequest(
            f"{error}, more than the {limits.max_pixels} allowed", expected_size(limits), "pixels"
        ) from error
    except ImageError as error:
        raise BadRequest(error.found, error.expected or EXPECTED_BODY, "image") from error


def _size(image: EncodedImage | np.ndarray, options: PredictionOptions, max_masks: int, auto_tile_size: int) -> Size:
    height, width = image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)
    if max_masks > 0 and options.max_detections is not None:
        max_masks = options.max_detections
    tiles = number_of_tiles(height, width, options, auto_tile_size)
    return Size(height, width, max_masks, tiles, pixels_of_tile(height, width, options, auto_tile_size))


def _check_large(image: EncodedImage | np.ndarray, response: ResponseOptions) -> None:
    """Checks that nothing of a large image's size has to be made for the response.

    Raises:
        BadRequest: the image isn't a file, or the format has arrays of the image's size.
    """
    if isinstance(image, np.ndarray):
        raise BadRequest("the large image is an array", "an image's bytes: a JPEG, or a TIFF in tiles", "pixels")
    if FORMATS[response.format].is_full_size:
        expected = listed([each for each in FORMATS.values() if not each.is_full_size])
        raise BadRequest(f"format {response.format} has the size of the large image", f"format: {expected}", "option")
    if response.format == "polygons" and response.image_data == "embed":
        raise BadRequest("the polygons would embed the large image", "the option image_data: none", "option")


def _decode(
    image: EncodedImage | np.ndarray, options: ImageOptions, is_large: bool
) -> tuple[np.ndarray | LargeImage, tuple[str, ...]]:
    """The image, and notes for the response."""
    if isinstance(image, np.ndarray):
        return np.ascontiguousarray(image), ()
    try:
        if is_large:
            large = image.large(options)
            return large, large.notes
        decoded = image.decoded(options)
        return decoded.pixels, decoded.notes
    except ImageError as error:
        raise BadRequest(error.found, error.expected or EXPECTED_BODY, "image") from error
