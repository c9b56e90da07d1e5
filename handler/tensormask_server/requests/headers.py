"""Looks up a request's headers."""

from collections.abc import Mapping
from typing import Any


def header(headers: Mapping[str, Any], name: str) -> str:
    """The value of a header. "": the request doesn't have it.

    Args:
        headers: by their names in any letter case. TorchServe adds the fields here, with values of another type.
        name: in any letter case.
    """
    lower = name.lower()
    return next((value for key, value in headers.items() if key.lower() == lower and isinstance(value, str)), "")


def media_type(headers: Mapping[str, Any]) -> str:
    """The media type of a request's body, in lower case and without parameters. "": the request doesn't name it."""
    return header(headers, "Content-Type").partition(";")[0].strip().lower()
