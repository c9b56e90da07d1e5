"""Whole numbers and flags of annotation files, in the spellings that detectron2's loader takes."""

import re
from typing import Any

_WHOLE = re.compile(r"\s*([+-]?[0-9]{1,18})(\.0*)?\s*")
_FLAGS = {"0": False, "1": True, "false": False, "true": True}


def read_whole_number(value: Any) -> int | None:
    """The whole number that a value stands for: 7, 7.0, "7" and "7.0" are 7.

    Returns:
        None for anything else, booleans included.
    """
    if type(value) is int:
        return value
    if type(value) is float:
        return int(value) if value.is_integer() else None
    match = _WHOLE.fullmatch(value) if isinstance(value, str) else None
    return None if match is None else int(match[1])


def read_flag(value: Any) -> bool | None:
    """The flag that a value stands for: 0, 0.0, "0" and False are False; 1, 1.0, "1" and True are True.

    Returns:
        None for anything else.
    """
    if isinstance(value, str):
        return _FLAGS.get(value.strip().lower())
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None
