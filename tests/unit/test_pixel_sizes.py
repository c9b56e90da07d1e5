"""Sizes of pixels with their units."""

import pytest
from tensormask_server.pixel_sizes import UNITS, PixelSize, pixel_size


@pytest.mark.parametrize(
    ("text", "length", "unit"),
    [
        ("0.25um", 0.25, "um"),
        ("0.25 \u00b5m", 0.25, "um"),
        (" 0.25 \u03bcm ", 0.25, "um"),
        ("0.5 microns", 0.5, "um"),
        ("12NM", 12, "nm"),
        (".5mm", 0.5, "mm"),
        ("1e-3 m", 0.001, "m"),
        ("2 km", 2, "km"),
        ("3in", 3, "in"),
        ("1 ft", 1, "ft"),
    ],
)
def test_a_number_and_a_unit(text: str, length: float, unit: str) -> None:
    assert pixel_size(text) == PixelSize(length, unit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.25",
        "um",
        "0 um",
        "0.0um",
        "-1um",
        "1.2.3um",
        ".um",
        "1 pc",
        "1um2",
        "1,5um",
        "nan um",
        "inf m",
        "1 um um",
    ],
)
def test_anything_else_is_refused_with_the_units(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number above 0 and a unit, such as"):
        pixel_size(text)


@pytest.mark.parametrize("text", ["1e99999um", "1e-999 m", "9" * 5000 + "um", "9" * 400 + "um", "１um"])
def test_so_is_a_number_that_no_pixel_has(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number above 0"):
        pixel_size(text)


def test_names_of_units_are_ascii_for_names_of_columns() -> None:
    assert all(unit.isascii() and unit.isalpha() for unit in UNITS)
