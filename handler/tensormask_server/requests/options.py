"""What a request may ask for, by the same names wherever it says so: JSON keys, form fields, the query or headers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensormask_server.bad_request import BadRequest, shown
from tensormask_server.detections import PredictionOptions
from tensormask_server.formats import FORMATS, format_of_media_type
from tensormask_server.spelling import did_you_mean

ALIASES = {"threshold": "score_threshold"}  # what the first server's clients say
MOST_DETECTIONS = 1000
MOST_CLASSES = 10_000  # names or numbers in one request; no network has so many


@dataclass(frozen=True)
class RequestOptions:
    """The options of one image."""

    prediction: PredictionOptions
    format: str | None = None  # one of FORMATS; None: by the kind of request


def parse_options(asked: Mapping[str, Any], class_names: Sequence[str]) -> RequestOptions:
    """
    Args:
        asked: option names (no aliases) and their values, of JSON's types; a text that is a number counts as one, but
            for the classes one that is a name.

    Raises:
        BadRequest: an option isn't known, or has a value that can't be used.
    """
    values: dict[str, Any] = {}
    for name, value in asked.items():
        if name not in OPTIONS:
            near = did_you_mean(name, (*OPTIONS, *ALIASES))
            raise BadRequest(f"{shown(name)} is not a known option{near}", ", ".join(OPTIONS), "option")
        if value is not None:
            values[name] = OPTIONS[name](name, value, class_names)
    chosen = values.pop("format", None)
    return RequestOptions(PredictionOptions(**values), chosen)


def options_of_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers that are options: Score-Threshold, score_threshold or X-Score-Threshold, in any letter case.

    Raises:
        BadRequest: an option is there under both of its names.
    """
    asked = {}
    for header, value in headers.items():
        if not isinstance(value, str):  # TorchServe puts the query there, too
            continue
        name = header.lower().removeprefix("x-").replace("-", "_")
        if name in OPTIONS or name in ALIASES:
            asked[name] = _as_utf8(value)
        elif name == "accept":
            asked_for = _format_of(value)
            if asked_for is not None:
                asked.setdefault("format", asked_for)
    return unaliased(asked)


def _format_of(accept: str) -> str | None:
    """The format whose media type has the highest q in an Accept header; the first one, if several have it.

    None: no format has a media type of the header, and the server chooses.
    """
    qualities: dict[str, float] = {}
    for part in accept.lower().split(","):
        content_type, *parameters = (each.strip() for each in part.split(";"))
        format = format_of_media_type(content_type)
        if format is not None:
            said = next((each.removeprefix("q=") for each in parameters if each.startswith("q=")), 1)
            quality = _number_of_text(said)
            qualities.setdefault(format.name, quality if _is_number(quality) else 1)
    liked = [name for name, quality in qualities.items() if quality > 0]
    return max(liked, key=qualities.__getitem__, default=None)


def unaliased(options: Mapping[str, Any]) -> dict[str, Any]:
    """Under one name each, so that what is said nearer to the image replaces what is said farther away.

    Raises:
        BadRequest: an option is there under both of its names.
    """
    for alias, name in ALIASES.items():
        if alias in options and name in options:
            raise BadRequest(f"{alias} and {name} are the same option", f"{name} alone", "option")
    return {ALIASES.get(name, name): value for name, value in options.items()}


def _as_utf8(header: str) -> str:
    """TorchServe reads headers as Latin-1; clients that write other letters write UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def _number_of_text(value: Any) -> Any:
    """Queries, forms and headers hold texts alone."""
    if not isinstance(value, str):
        return value
    for number in (int, float):
        try:
            return number(value)
        except ValueError:
            pass
    return value


def _probability(name: str, value: Any, _: Sequence[str]) -> float:
    value = _number_of_text(value)
    if not _is_number(value) or not 0 <= value <= 1:
        raise BadRequest(f"{name} is {shown(value)}", f"{name}: a number from 0 to 1", "option")
    return float(value)


def _mask_threshold(name: str, value: Any, _: Sequence[str]) -> float:
    value = _number_of_text(value)
    if not _is_number(value) or not 0 < value <= 1:
        raise BadRequest(f"{name} is {shown(value)}", f"{name}: a number above 0, at most 1", "option")
    return float(value)


def _max_detections(name: str, value: Any, _: Sequence[str]) -> int:
    value = _number_of_text(value)
    if not _is_number(value) or not 0 <= value <= MOST_DETECTIONS or value != int(value):
        raise BadRequest(f"{name} is {shown(value)}", f"{name}: a whole number from 0 to {MOST_DETECTIONS}", "option")
    return int(value)


def _format(name: str, value: Any, _: Sequence[str]) -> str:
    if not isinstance(value, str) or value.lower() not in FORMATS:
        near = did_you_mean(value, FORMATS) if isinstance(value, str) else ""
        raise BadRequest(f"{name} is {shown(value)}{near}", f"{name}: one of {', '.join(FORMATS)}", "option")
    return value.lower()


def _classes(name: str, value: Any, class_names: Sequence[str]) -> tuple[int, ...]:
    """Names and numbers, in a list or with commas between; a name may have commas, too."""
    if isinstance(value, str) and value not in class_names:
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif not isinstance(value, list):
        value = [value]
    if not value:  # a field of a form that nothing was written into
        raise BadRequest(f"{name} is empty", f"{name}: names or numbers of classes; leave it out for all", "option")
    if len(value) > MOST_CLASSES:
        raise BadRequest(f"{name} has {len(value)} entries", f"{name}: at most {MOST_CLASSES} entries", "option")
    by_name: dict[str, int] = {}
    for number, each in enumerate(class_names):
        by_name[each] = number
        by_name.setdefault(each.lower(), number)
    return tuple(sorted({_class(name, each, class_names, by_name) for each in value}))


def _class(name: str, value: Any, class_names: Sequence[str], by_name: Mapping[str, int]) -> int:
    if isinstance(value, str):
        for spelling in (value, value.lower()):
            if spelling in by_name:
                return by_name[spelling]
    number = _number_of_text(value)
    if _is_number(number) and number in range(len(class_names)):
        return int(number)
    near = did_you_mean(value, by_name) if isinstance(value, str) else ""
    some = ", ".join(class_names[:5]) + (", …" if len(class_names) > 5 else "")
    numbers = f"the network's numbers, 0 to {len(class_names) - 1} (not COCO's category ids)"
    expected = f"{name}: class names, or {numbers}, with commas between: {some}"
    raise BadRequest(f"{name} has {shown(value)}, which is no class of this network{near}", expected, "option")


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)  # of a whole number with hundreds of digits it would be an OverflowError
    return isinstance(value, int) and not isinstance(value, bool)


OPTIONS: dict[str, Callable[[str, Any, Sequence[str]], Any]] = {
    "score_threshold": _probability,
    "max_detections": _max_detections,
    "classes": _classes,
    "nms_threshold": _probability,
    "mask_threshold": _mask_threshold,
    "format": _format,
}
