"""The errors that a client gets in place of results."""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any


class BadRequest(ValueError):
    """The reason why a request gets no results. It says what was found, and what would be accepted."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(self, error: str, expected: str, reason: str = "body"):
        """
        Args:
            error: what was found.
            expected: what would be accepted, and what to do.
            reason: the label of the metric. The client can change "body", "option", "image", "pixels" (too many) and
                "response" (too large). The others are the server's: "memory", "batch" and "server".
        """
        super().__init__(error)
        self.error = error
        self.expected = expected
        self.reason = reason


class OutOfMemoryError(BadRequest):
    """The server has too little memory for an image."""

    status = HTTPStatus.INSUFFICIENT_STORAGE

    def __init__(self) -> None:
        expected = "a smaller image, a higher score_threshold or fewer max_detections"
        super().__init__("the server has not enough memory for this image", expected, "memory")


class FullBatchError(BadRequest):
    """A response is too large beside the other responses of its batch. By itself it would not be too large."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, size: int) -> None:
        found = f"the response has {size} bytes, too many beside the other responses of the same batch"
        super().__init__(found, "the same request again in a moment, or format coco", "batch")


class TooSlowError(BadRequest):
    """The tiles of a batch take so long that the web server would end the worker."""

    def __init__(self, seconds: float) -> None:
        found = f"the tiles of the request, or merging their detections, take more than {seconds:g} s"
        expected = (
            "fewer tiles: a larger tile_size or a smaller tile_overlap; fewer max_detections, or a higher "
            "score_threshold (the server's limit is half of --response-timeout of archive.sh)"
        )
        super().__init__(found, expected, "pixels")


class ServerFaultError(BadRequest):
    """The server failed on an image. The log says why. The response doesn't, because strangers read it."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self) -> None:
        super().__init__("the server failed on this image", "any other image; the server's log says why", "server")


def clear_frames(error: BaseException) -> None:
    """Frees what the functions held through which an exception, its causes and its contexts have passed.

    On Python 3.12 a function of `contextlib` and an exception that it has converted hold each other. Without this, a
    request's body would stay in memory until Python looks for such circles, which may be gigabytes later.
    """
    following: BaseException | None = error
    while following is not None:
        traceback.clear_frames(following.__traceback__)
        following = following.__cause__ or following.__context__


def fault_of(error: Exception) -> BadRequest:
    """The error that a client gets for an exception that isn't a BadRequest."""
    # on a CPU torch raises RuntimeError when memory is too small
    is_of_memory = isinstance(error, MemoryError) or "memory" in str(error).lower()
    return OutOfMemoryError() if is_of_memory else ServerFaultError()


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


def preview(value: Any) -> str:
    """Writes a value for an error message: as JSON, at most 60 characters. Arrays and objects show only their type."""
    if isinstance(value, list | dict):
        return f"a JSON {json_type(value)}"
    text = json.dumps(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def json_type(value: Any) -> str:
    """The name of a parsed value's type in JSON."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
