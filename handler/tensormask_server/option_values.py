"""The functions that check and convert the values of a request's options. `option_table.OPTIONS` has one for each."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tensormask_server.bad_request import BadRequest, preview
from tensormask_server.pixel_sizes import EXPECTED as EXPECTED_PIXEL_SIZE
from tensormask_server.pixel_sizes import PixelSize, pixel_size
from tensormask_server.printable import is_one_line
from tensormask_server.spelling import did_you_mean, did_you_mean_fraction
from tensormask_server.tile_options import (
    AUTO,
    EXPECTED_OVERLAP,
    EXPECTED_SIZE,
    EXPECTED_WHOLE,
    NO_TILES,
    is_tile_overlap,
    is_tile_size,
)

MOST_DETECTIONS = 1000
BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
MOST_CLASSES = 10_000  # names or numbers in one request; no network has so many classes
MOST_TOLERANCE = 20  # pixels; for larger ones take the boxes
LONGEST_TEXT = 1000  # characters of a file's name or an image's id
LARGEST_ID = (1 << 53) - 1  # JavaScript and tables lose digits of larger whole numbers
WHOLE_NUMBER = re.compile("0|[1-9][0-9]{0,14}")


def number_of_text(value: Any) -> Any:
    """The number that a string holds. Any other value stays. Queries, forms and headers have only strings."""
    if not isinstance(value, str):
        return value
    for number in (int, float):
        try:
            return number(value)
        except ValueError:
            pass
    return value


def is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)  # isfinite raises OverflowError for a whole number of hundreds of digits
    return isinstance(value, int) and not isinstance(value, bool)


# --- one function for each type of value: from the option's name, its value and the class names to the checked value --


def checked_fraction(name: str, value: Any, _: Sequence[str]) -> float:
    value = number_of_text(value)
    if not is_number(value) or not 0 <= value <= 1:
        found = f"{name} is {preview(value)}{did_you_mean_fraction(value)}"
        raise BadRequest(found, f"{name}: a number from 0 to 1", "option")
    return float(value)


def checked_positive_fraction(name: str, value: Any, _: Sequence[str]) -> float:
    value = number_of_text(value)
    if not is_number(value) or not 0 < value <= 1:
        found = f"{name} is {preview(value)}{did_you_mean_fraction(value)}"
        raise BadRequest(found, f"{name}: a number above 0, at most 1", "option")
    return float(value)


def checked_max_detections(name: str, value: Any, _: Sequence[str]) -> int:
    value = number_of_text(value)
    if not is_number(value) or not 0 <= value <= MOST_DETECTIONS or value != int(value):
        expected = f"{name}: a whole number from 0 to {MOST_DETECTIONS}"
        raise BadRequest(f"{name} is {preview(value)}", expected, "option")
    return int(value)


def checked_tile_size(name: str, value: Any, _: Sequence[str]) -> int | str | None:
    value = number_of_text(value.lower() if isinstance(value, str) else value)
    if value == NO_TILES:
        return None
    if isinstance(value, float) and math.isfinite(value) and value == int(value):  # 384.0, as JSON may have it
        value = int(value)
    if not is_tile_size(value):
        hint = did_you_mean(value, (AUTO, NO_TILES)) if isinstance(value, str) else ""
        expected = f"{name}: {EXPECTED_SIZE}; {NO_TILES} for no tiles"
        raise BadRequest(f"{name} is {preview(value)}{hint}", expected, "option")
    return value  # type: ignore[no-any-return]  # checked


def checked_tile_overlap(name: str, value: Any, _: Sequence[str]) -> float:
    value = number_of_text(value)
    if not is_number(value) or not is_tile_overlap(value):
        found = f"{name} is {preview(value)}{did_you_mean_fraction(value)}"
        raise BadRequest(found, f"{name}: {EXPECTED_OVERLAP}", "option")
    return float(value)


def checked_boolean(name: str, value: Any, _: Sequence[str]) -> bool:
    is_on = value if isinstance(value, bool) else BOOLEANS.get(value.lower()) if isinstance(value, str) else None
    if is_on is None:
        raise BadRequest(f"{name} is {preview(value)}", f"{name}: {EXPECTED_WHOLE}", "option")
    return is_on


def one_of(*choices: str, other_names: Mapping[str, str] = {}) -> Callable[[str, Any, Sequence[str]], str]:
    """Makes the function for an option whose value is one of some words, in any letter case.

    An error suggests the nearest of them, or the one that `other_names` has for the value.
    """

    def check(name: str, value: Any, _: Sequence[str]) -> str:
        if not isinstance(value, str) or value.lower() not in choices:
            known = other_names.get(value.lower(), value) if isinstance(value, str) else ""
            hint = did_you_mean(known, choices)
            raise BadRequest(f"{name} is {preview(value)}{hint}", f"{name}: one of {', '.join(choices)}", "option")
        return value.lower()

    return check


def checked_tolerance(name: str, value: Any, _: Sequence[str]) -> float:
    value = number_of_text(value)
    if not is_number(value) or not 0 <= value <= MOST_TOLERANCE:
        expected = f"{name}: a number of pixels from 0 to {MOST_TOLERANCE}; 0 keeps the exact outlines"
        raise BadRequest(f"{name} is {preview(value)}", expected, "option")
    return float(value)


def checked_pixel_size(name: str, value: Any, _: Sequence[str]) -> PixelSize:
    try:
        return pixel_size(value if isinstance(value, str) else "")
    except ValueError:
        raise BadRequest(f"{name} is {preview(value)}", f"{name}: {EXPECTED_PIXEL_SIZE}", "option") from None


def checked_image_id(name: str, value: Any, _: Sequence[str]) -> int | str:
    """A whole number, or a text. A text is a number if the number is written so: "7" is, and "007" stays a text."""
    if isinstance(value, str) and WHOLE_NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_ID:
        return value
    if _is_line(value):
        return str(value)
    expected = f"{name}: a whole number from 0 to {LARGEST_ID}, or a line of at most {LONGEST_TEXT} characters"
    raise BadRequest(f"{name} is {preview(value)}", expected, "option")


def checked_file_name(name: str, value: Any, _: Sequence[str]) -> str:
    if _is_line(value):
        return str(value)
    expected = f"{name}: a line of at most {LONGEST_TEXT} characters"
    raise BadRequest(f"{name} is {preview(value)}", expected, "option")


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and is_one_line(value)


def checked_classes(name: str, value: Any, class_names: Sequence[str]) -> tuple[int, ...]:
    """Class names and numbers, in a list, separated by commas, or both. A name can contain commas itself."""
    numbers_by_name: dict[str, int] = {}
    for number, class_name in enumerate(class_names):
        numbers_by_name[class_name] = number
        numbers_by_name.setdefault(class_name.lower(), number)
    texts = value if isinstance(value, list) else [value]
    values = [part for each in texts for part in _separated(each, numbers_by_name)]
    if not values:  # a form's field that was left empty
        expected = f"{name}: names or numbers of classes; leave the option out for all classes"
        raise BadRequest(f"{name} is empty", expected, "option")
    if len(values) > MOST_CLASSES:
        raise BadRequest(f"{name} has {len(values)} entries", f"{name}: at most {MOST_CLASSES} entries", "option")
    return tuple(sorted({_class(name, each, class_names, numbers_by_name) for each in values}))


def _separated(value: Any, numbers_by_name: Mapping[str, int]) -> list[Any]:
    """The parts of a text between its commas, unless the whole text is a class's name."""
    if not isinstance(value, str) or value in numbers_by_name or value.lower() in numbers_by_name:
        return [value]
    return [part.strip() for part in value.split(",") if part.strip()]


def _class(name: str, value: Any, class_names: Sequence[str], numbers_by_name: Mapping[str, int]) -> int:
    if isinstance(value, str):
        for spelling in (value, value.lower()):
            if spelling in numbers_by_name:
                return numbers_by_name[spelling]
    number = number_of_text(value)
    if is_number(number) and number in range(len(class_names)):
        return int(number)
    hint = did_you_mean(value, class_names) if isinstance(value, str) else ""
    examples = ", ".join(class_names[:5]) + (", …" if len(class_names) > 5 else "")
    numbers = f"the network's numbers, 0 to {len(class_names) - 1} (not COCO's category ids)"
    expected = f"{name}: class names, or {numbers}, separated by commas: {examples}"
    raise BadRequest(f"{name} has {preview(value)}, which is no class of this network{hint}", expected, "option")
