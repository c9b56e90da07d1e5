"""One image of a request before it is decoded, and what the server's configuration decides about reading it."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensormask_server.bad_request import BadRequest, preview
from tensormask_server.options import Limits
from tensormask_server.prediction.detections import DEFAULT_OPTIONS, PredictionOptions
from tensormask_server.requests.options import parse_options

EXPECTED_BASE64 = "image: the bytes of an image file in base64"


@dataclass(frozen=True)
class UndecodedImage:
    """One image of a request, and its options."""

    image: bytes | np.ndarray  # an image file's bytes, or uint8 (H, W, 3), RGB
    options: PredictionOptions
    format: str  # of the response: one of FORMATS
    name: str = ""  # its place in a request of several images, for error messages: "instances[1]"


@dataclass(frozen=True)
class Reading:
    """What the server's configuration decides about reading a request."""

    limits: Limits
    class_names: Sequence[str]  # the network's, by class number
    defaults: PredictionOptions = DEFAULT_OPTIONS  # the values of options that the request doesn't have

    def options(
        self, requested_options: Mapping[str, Any], default_format: str = "coco"
    ) -> tuple[PredictionOptions, str]:
        """Checks the options that are requested for an image.

        Args:
            requested_options: as for `parse_options`.
            default_format: the format if the request doesn't name one; one of FORMATS.

        Returns:
            The options, and the response's format.

        Raises:
            BadRequest: an option is unknown, or its value can't be used.
        """
        options, format = parse_options(requested_options, self.class_names, self.defaults)
        return options, format or default_format


@contextmanager
def errors_name(name: str) -> Iterator[None]:
    """Puts the name of an image before the message of each BadRequest that the block raises.

    Args:
        name: such as "instances[1]". With "" the message stays as it is.
    """
    try:
        yield
    except BadRequest as error:
        if not name:
            raise
        raise BadRequest(f"{name}: {error.error}", error.expected, error.reason) from error


def file_of_base64(value: Any) -> bytes:
    """Decodes an image file in base64: a string, a data: URL, or TensorFlow Serving's {"b64": …}.

    Raises:
        BadRequest: the value isn't one of these, or it is empty.
    """
    if isinstance(value, dict) and set(value) == {"b64"}:
        value = value["b64"]
    if value == "":
        raise BadRequest("image is empty", EXPECTED_BASE64)
    if not isinstance(value, str):
        raise BadRequest(f"image is {preview(value)}", EXPECTED_BASE64)
    if value.startswith(("http://", "https://")):
        raise BadRequest("image is a URL, and the server fetches nothing", EXPECTED_BASE64)
    try:
        return base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"image is not base64: {error}", EXPECTED_BASE64) from error
