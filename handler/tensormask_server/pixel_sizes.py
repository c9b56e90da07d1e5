"""The size of an image's pixels in a unit of length, such as 0.25 µm."""

import math
import re
from dataclasses import dataclass

# the spellings of each unit, in lower case; the first one is in names of columns and has ASCII letters only
UNITS = {
    "nm": ("nm",),
    "um": ("um", "\u00b5m", "\u03bcm", "micron", "microns"),  # the micro sign and the Greek letter mu
    "mm": ("mm",),
    "cm": ("cm",),
    "m": ("m",),
    "km": ("km",),
    "in": ("in", "inch"),
    "ft": ("ft",),
}
EXPECTED = f"a number above 0 and a unit, such as 0.25um: {', '.join(UNITS)}"
LONGEST = 50  # characters
TEXT = re.compile(r"([0-9.]+(?:e[+-]?[0-9]{1,2})?)\s*([^\W\d_]+)", re.IGNORECASE)
UNIT_OF = {spelling: unit for unit, spellings in UNITS.items() for spelling in spellings}


@dataclass(frozen=True)
class PixelSize:
    """The side of a pixel. Pixels are squares."""

    length: float  # above 0, in the unit
    unit: str  # a key of UNITS


def pixel_size(text: str) -> PixelSize:
    """Reads a size such as "0.25um" or "0.25 µm".

    Raises:
        ValueError: it is no such size. The message is for an error about the value that names it already.
    """
    match = TEXT.fullmatch(text.strip()) if len(text) <= LONGEST else None
    unit = UNIT_OF.get(match[2].lower()) if match else None
    try:
        length = float(match[1]) if match else 0.0
    except ValueError:  # "1.2.3"
        length = 0.0
    if unit is None or not 0 < length < math.inf:
        raise ValueError(f"expected {EXPECTED}")
    return PixelSize(length, unit)
