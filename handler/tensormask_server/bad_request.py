"""What a client is told when its request can't be answered."""

import json
from typing import Any


class BadRequest(ValueError):
    """A request that can't be answered, with what was wrong and what would be accepted."""

    status = (400, "Bad Request")

    def __init__(self, error: str, expected: str, reason: str = "body"):
        """
        Args:
            reason: for the metrics, what the fault is in: "body", "option", "image", "pixels" (too many) or "answer"
                (too large); where the server couldn't, "memory", "batch" or "server".
        """
        super().__init__(error)
        self.error = error
        self.expected = expected
        self.reason = reason


class OutOfMemoryError(BadRequest):
    """An image that this server hasn't the memory for."""

    status = (507, "Insufficient Storage")

    def __init__(self) -> None:
        expected = "a smaller image, a higher score_threshold or fewer max_detections"
        super().__init__("the server has not enough memory for this image", expected, "memory")


class FullBatchError(BadRequest):
    """An answer that is too large beside the others of its batch, and wouldn't be alone."""

    status = (503, "Service Unavailable")

    def __init__(self, size: int) -> None:
        found = f"the answer has {size} bytes, too many beside those that were asked for at the same time"
        super().__init__(found, "the same again in a moment, or format coco", "batch")


class ServerFaultError(BadRequest):
    """An image on which this server failed; its log says why, and the answer doesn't."""

    status = (500, "Internal Server Error")

    def __init__(self) -> None:
        super().__init__("the server failed on this image", "any other image; the server's log says why", "server")


def fault_of(error: Exception) -> BadRequest:
    """What a client is told of an exception that isn't a BadRequest."""
    # torch's errors on CPUs have no type of their own
    of_memory = isinstance(error, MemoryError) or "memory" in str(error).lower()
    return OutOfMemoryError() if of_memory else ServerFaultError()


def shown(value: Any) -> str:
    """A value for an error message: as JSON, and short."""
    if isinstance(value, list | dict):
        return f"a JSON {json_type(value)}"
    text = json.dumps(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def json_type(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
