"""The options of a request. They have the same names as JSON keys, form fields, query parameters and headers.

A new option is a field of `PredictionOptions`, `ImageOptions` or `ResponseOptions`, and a line in OPTIONS. Its effect
is in the room `prediction`, `images` or `responses`, and the client has an argument for it: docs/ARCHITECTURE.md names
the files.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from tensormask_server.bad_request import BadRequest, preview
from tensormask_server.formats import FORMATS, OTHER_NAMES, format_of_media_type
from tensormask_server.images.options import STRETCHES, ImageOptions
from tensormask_server.pixel_sizes import EXPECTED as EXPECTED_PIXEL_SIZE
from tensormask_server.pixel_sizes import PixelSize, pixel_size
from tensormask_server.prediction.detections import DEFAULT_OPTIONS, PredictionOptions
from tensormask_server.printable import is_one_line
from tensormask_server.responses.options import HOLES, IMAGE_DATA, ResponseOptions
from tensormask_server.spelling import did_you_mean, did_you_mean_fraction
from tensormask_server.tile_options import (
    AUTO,
    EXPECTED_OVERLAP,
    EXPECTED_SIZE,
    EXPECTED_WHOLE,
    is_tile_overlap,
    is_tile_size,
)

ALIASES = {"threshold": "score_threshold"}  # of the first server's clients
MOST_DETECTIONS = 1000
BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
NO_TILES = "none"  # the value of tile_size that turns off the archive's tiles
MOST_CLASSES = 10_000  # names or numbers in one request; no network has so many classes
MOST_TOLERANCE = 20  # pixels; for larger ones take the boxes
LONGEST_TEXT = 1000  # characters of a file's name or an image's id
LARGEST_ID = (1 << 53) - 1  # JavaScript and tables lose digits of larger whole numbers
WHOLE_NUMBER = re.compile("0|[1-9][0-9]{0,14}")


@dataclass(frozen=True)
class RequestedOptions:
    """The options of one image, by who needs them."""

    prediction: PredictionOptions
    image: ImageOptions  # for decoding it
    response: ResponseOptions


def parse_options(
    requested_options: Mapping[str, Any],
    class_names: Sequence[str],
    defaults: PredictionOptions = DEFAULT_OPTIONS,
    default_format: str = "coco",
) -> RequestedOptions:
    """Checks and converts the options that are requested for an image.

    Args:
        requested_options: values by the names in OPTIONS, without aliases. Values have JSON's types. A string that
            holds a number counts as the number, unless it is the name of a class in the option `classes`. None stands
            for the default.
        class_names: the network's, by class number.
        defaults: the values of the prediction's options that the request doesn't have.
        default_format: the format if the request doesn't name one; one of FORMATS.

    Returns:
        The options, by who needs them.

    Raises:
        BadRequest: an option is unknown, or its value can't be used.
    """
    values: dict[str, Any] = {}
    for name, value in requested_options.items():
        if name not in OPTIONS:
            hint = did_you_mean(name, (*OPTIONS, *ALIASES))
            raise BadRequest(f"{preview(name)} is not a known option{hint}", ", ".join(OPTIONS), "option")
        if value is not None:
            values[name] = OPTIONS[name](name, value, class_names)
    of_image = {field.name: values.pop(field.name) for field in fields(ImageOptions) if field.name in values}
    of_response = {field.name: values.pop(field.name) for field in fields(ResponseOptions) if field.name in values}
    return RequestedOptions(
        replace(defaults, **values),
        ImageOptions(**of_image),
        ResponseOptions(**{"format": default_format, **of_response}),
    )


def options_of_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The options among a request's headers: Score-Threshold, score_threshold or X-Score-Threshold, in any letter case.

    If no header names the option `format`, the header Accept requests the format.

    Raises:
        BadRequest: the headers have an option under its name and under its alias.
    """
    requested_options = {}
    for header, value in headers.items():
        if not isinstance(value, str):  # TorchServe adds the query's parameters here, as another type
            continue
        name = header.lower().removeprefix("x-").replace("-", "_")
        if is_option(name):
            requested_options[name] = _as_utf8(value)
        elif name == "accept":
            format = _format_of_accept(value)
            if format is not None:
                requested_options.setdefault("format", format)
    return without_aliases(requested_options)


def is_option(name: str) -> bool:
    return name in OPTIONS or name in ALIASES


def without_aliases(options: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces the aliases of options by their names, so that one mapping can override another.

    Raises:
        BadRequest: an option stands there under its name and under its alias.
    """
    for alias, name in ALIASES.items():
        if alias in options and name in options:
            raise BadRequest(f"{alias} and {name} are the same option", f"only {name}", "option")
    return {ALIASES.get(name, name): value for name, value in options.items()}


def _format_of_accept(accept: str) -> str | None:
    """The format whose media type has the highest q in an Accept header. Of several, it is the first.

    None: the header names no format's media type, and the server chooses.
    """
    qualities: dict[str, float] = {}
    for part in accept.lower().split(","):
        media_type, *parameters = (each.strip() for each in part.split(";"))
        format = format_of_media_type(media_type)
        if format is not None:
            q = next((each.removeprefix("q=") for each in parameters if each.startswith("q=")), 1)
            quality = _number_of_text(q)
            qualities.setdefault(format.name, quality if _is_number(quality) else 1)
    acceptable = [name for name, quality in qualities.items() if quality > 0]
    return max(acceptable, key=qualities.__getitem__, default=None)


def _as_utf8(header: str) -> str:
    """Decodes a header again: TorchServe reads headers as Latin-1, and clients send letters beyond ASCII in UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def _number_of_text(value: Any) -> Any:
    """The number that a string holds. Any other value stays. Queries, forms and headers have only strings."""
    if not isinstance(value, str):
        return value
    for number in (int, float):
        try:
            return number(value)
        except ValueError:
            pass
    return value


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)  # isfinite raises OverflowError for a whole number of hundreds of digits
    return isinstance(value, int) and not isinstance(value, bool)


# --- one function for each type of value: from the option's name, its value and the class names to the checked value --


def _fraction(name: str, value: Any, _: Sequence[str]) -> float:
    value = _number_of_text(value)
    if not _is_number(value) or not 0 <= value <= 1:
        found = f"{name} is {preview(value)}{did_you_mean_fraction(value)}"
        raise BadRequest(found, f"{name}: a number from 0 to 1", "option")
    return float(value)


def _positive_fraction(name: str, value: Any, _: Sequence[str]) -> float:
    value = _number_of_text(value)
    if not _is_number(value) or not 0 < value <= 1:
        found = f"{name} is {preview(value)}{did_you_mean_fraction(value)}"
        raise BadRequest(found, f"{name}: a number above 0, at most 1", "option")
    return float(value)


def _max_detections(name: str, value: Any, _: Sequence[str]) -> int:
    value = _number_of_text(value)
    if not _is_number(value) or not 0 <= value <= MOST_DETECTIONS or value != int(value):
        expected = f"{name}: a whole number from 0 to {MOST_DETECTIONS}"
        raise BadRequest(f"{name} is {preview(value)}", expected, "option")
    return int(value)


def _tile_size(name: str, value: Any, _: Sequence[str]) -> int | str | None:
    value = _number_of_text(value.lower() if isinstance(value, str) else value)
    if value == NO_TILES:
        return None
    if isinstance(value, float) and math.isfinite(value) and value == int(value):  # 384.0, as JSON may have it
        value = int(value)
    if not is_tile_size(value):
        hint = did_you_mean(value, (AUTO, NO_TILES)) if isinstance(value, str) else ""
        expected = f"{name}: {EXPECTED_SIZE}; {NO_TILES} for no tiles"
        raise BadRequest(f"{name} is {preview(value)}{hint}", expected, "option")
    return value  # type: ignore[no-any-return]  # checked


def _tile_overlap(name: str, value: Any, _: Sequence[str]) -> float:
    value = _number_of_text(value)
    if not _is_number(value) or not is_tile_overlap(value):
        found = f"{name} is {preview(value)}{did_you_mean_fraction(value)}"
        raise BadRequest(found, f"{name}: {EXPECTED_OVERLAP}", "option")
    return float(value)


def _boolean(name: str, value: Any, _: Sequence[str]) -> bool:
    is_on = value if isinstance(value, bool) else BOOLEANS.get(value.lower()) if isinstance(value, str) else None
    if is_on is None:
        raise BadRequest(f"{name} is {preview(value)}", f"{name}: {EXPECTED_WHOLE}", "option")
    return is_on


def _choice(*choices: str, other_names: Mapping[str, str] = {}) -> Callable[[str, Any, Sequence[str]], str]:
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


def _tolerance(name: str, value: Any, _: Sequence[str]) -> float:
    value = _number_of_text(value)
    if not _is_number(value) or not 0 <= value <= MOST_TOLERANCE:
        expected = f"{name}: a number of pixels from 0 to {MOST_TOLERANCE}; 0 keeps the exact outlines"
        raise BadRequest(f"{name} is {preview(value)}", expected, "option")
    return float(value)


def _pixel_size(name: str, value: Any, _: Sequence[str]) -> PixelSize:
    try:
        return pixel_size(value if isinstance(value, str) else "")
    except ValueError:
        raise BadRequest(f"{name} is {preview(value)}", f"{name}: {EXPECTED_PIXEL_SIZE}", "option") from None


def _image_id(name: str, value: Any, _: Sequence[str]) -> int | str:
    """A whole number, or a text. A text is a number if the number is written so: "7" is, and "007" stays a text."""
    if isinstance(value, str) and WHOLE_NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_ID:
        return value
    if _is_line(value):
        return str(value)
    expected = f"{name}: a whole number from 0 to {LARGEST_ID}, or a line of at most {LONGEST_TEXT} characters"
    raise BadRequest(f"{name} is {preview(value)}", expected, "option")


def _file_name(name: str, value: Any, _: Sequence[str]) -> str:
    if _is_line(value):
        return str(value)
    expected = f"{name}: a line of at most {LONGEST_TEXT} characters"
    raise BadRequest(f"{name} is {preview(value)}", expected, "option")


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and is_one_line(value)


def _classes(name: str, value: Any, class_names: Sequence[str]) -> tuple[int, ...]:
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
    number = _number_of_text(value)
    if _is_number(number) and number in range(len(class_names)):
        return int(number)
    hint = did_you_mean(value, class_names) if isinstance(value, str) else ""
    examples = ", ".join(class_names[:5]) + (", …" if len(class_names) > 5 else "")
    numbers = f"the network's numbers, 0 to {len(class_names) - 1} (not COCO's category ids)"
    expected = f"{name}: class names, or {numbers}, separated by commas: {examples}"
    raise BadRequest(f"{name} has {preview(value)}, which is no class of this network{hint}", expected, "option")


OPTIONS: dict[str, Callable[[str, Any, Sequence[str]], Any]] = {
    "score_threshold": _fraction,
    "max_detections": _max_detections,
    "classes": _classes,
    "nms_threshold": _fraction,
    "mask_threshold": _positive_fraction,
    "tile_size": _tile_size,
    "tile_overlap": _tile_overlap,
    "tile_whole": _boolean,
    "stretch": _choice(*STRETCHES),
    "format": _choice(*FORMATS, other_names=OTHER_NAMES),
    "image_id": _image_id,
    "file_name": _file_name,
    "pixel_size": _pixel_size,
    "tolerance": _tolerance,
    "holes": _choice(*HOLES),
    "image_data": _choice(*IMAGE_DATA),
}
