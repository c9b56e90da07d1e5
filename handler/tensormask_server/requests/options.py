"""The options of a request. They have the same names as JSON keys, form fields, query parameters and headers.

A new option is a field of `PredictionOptions`, `ImageOptions` or `ResponseOptions`, and a row of OPTIONS. Its effect
is in the room `prediction`, `images` or `responses`, and the client has an argument for it: docs/ARCHITECTURE.md names
the files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from tensormask_server.bad_request import BadRequest, preview
from tensormask_server.formats import format_of_media_type
from tensormask_server.images.options import ImageOptions
from tensormask_server.option_table import OPTIONS
from tensormask_server.option_values import is_number, number_of_text
from tensormask_server.prediction.detections import DEFAULT_OPTIONS, PredictionOptions
from tensormask_server.responses.options import ResponseOptions
from tensormask_server.spelling import did_you_mean

ALIASES = {"threshold": "score_threshold"}  # of the first server's clients


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
            values[name] = OPTIONS[name].check(name, value, class_names)
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
            quality = number_of_text(q)
            qualities.setdefault(format.name, quality if is_number(quality) else 1)
    acceptable = [name for name, quality in qualities.items() if quality > 0]
    return max(acceptable, key=qualities.__getitem__, default=None)


def _as_utf8(header: str) -> str:
    """Decodes a header again: TorchServe reads headers as Latin-1, and clients send letters beyond ASCII in UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header
