"""The format csv: a table of measures for spreadsheets and pandas, with one row for each instance."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tensormask_server.responses.measures import measures_of
from tensormask_server.responses.result import Result
from tensormask_server.spreadsheets import safe_cell

DECIMALS = 4  # of a number of pixels
DIGITS = 8  # of a number with a unit


def csv_table(result: Result) -> bytes:
    """Encodes a table of the instances, best score first: CSV as in RFC 4180, in UTF-8.

    Args:
        result: with or without masks. Without masks, the columns that measure them are absent.

    Returns:
        A line of column names, and a line for each instance. Lengths are in pixels. If the request has a pixel size,
        each length and area has a second column in its unit, such as area_um2 beside area. An apostrophe stands before
        a text that a spreadsheet would take for a formula.
    """
    response, detections = result.response, result.detections
    names = [result.model.class_names[number] for number in detections.classes.tolist()]
    # in pixels: from the name of a column to its values, and to the power of a length that they are
    measured: dict[str, tuple[Sequence[float], int]] = {
        name: (values, 1) for name, values in _boxes(detections.boxes).items()
    }
    orientations = {}
    if detections.image_masks is not None:
        measures = [measures_of(crop) for crop in detections.image_masks]
        measured["area"] = [each.area for each in measures], 2
        for name in ("perimeter", "centroid_x", "centroid_y", "equivalent_diameter"):
            measured[name] = [getattr(each, name) for each in measures], 1
        orientations["orientation"] = _decimals([each.orientation for each in measures], 6)
    columns: dict[str, Iterable[object]] = {
        "instance": range(1, len(detections) + 1),
        "class": map(safe_cell, names),
        "score": _decimals(detections.scores.tolist(), 6),
        **{name: _decimals(values, DECIMALS) for name, (values, _) in measured.items()},
        **orientations,
    }
    if response.pixel_size is not None:
        side, unit = response.pixel_size.length, response.pixel_size.unit
        for name, (values, power) in measured.items():
            in_unit = f"{name}_{unit}{power if power > 1 else ''}"
            columns[in_unit] = _digits(value * side**power for value in values)
    of_request = {"image_id": response.image_id, "file_name": response.file_name}
    of_image = {name: [safe_cell(value)] * len(detections) for name, value in of_request.items() if value is not None}
    return _encoded({**of_image, **columns})


def _boxes(boxes: np.ndarray) -> Mapping[str, Sequence[float]]:
    """The columns of float32 (N, 4), x0 y0 x1 y1."""
    x0, y0, x1, y1 = boxes.astype(np.float64).T
    columns = {"box_x": x0, "box_y": y0, "box_width": x1 - x0, "box_height": y1 - y0}
    return {name: values.tolist() for name, values in columns.items()}


def _decimals(values: Iterable[float], decimals: int) -> list[str]:
    """Numbers, rounded to so many decimals."""
    return [_number(value, decimals, fractional=True) for value in values]


def _digits(values: Iterable[float]) -> list[str]:
    """Numbers, rounded to DIGITS digits."""
    return [_number(value, DIGITS, fractional=False) for value in values]


def _number(value: float, digits: int, fractional: bool) -> str:
    """A number without an exponent, with a point if it isn't an int. NaN is an empty cell."""
    if isinstance(value, int):
        return str(value)
    return "" if math.isnan(value) else np.format_float_positional(value, digits, False, fractional, "0")


def _encoded(columns: Mapping[str, Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()
