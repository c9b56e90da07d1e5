"""What a client is told when its request can't be answered."""

import difflib
import json
from collections.abc import Iterable
from typing import Any


class BadRequest(ValueError):
    """A request that can't be answered, with what was wrong and what would be accepted."""

    def __init__(self, error: str, expected: str):
        super().__init__(error)
        self.error = error
        self.expected = expected


def shown(value: Any) -> str:
    """A value for an error message: as JSON, and short."""
    if isinstance(value, list | dict):
        return f"a JSON {json_type(value)}"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def json_type(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def meant(name: str, known: Iterable[str]) -> str:
    """ " (did you mean score_threshold?)", or "" where no known name is near."""
    close = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
