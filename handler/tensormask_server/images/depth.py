"""Values beyond 8 bits a channel, as microscopes, scanners and depth cameras write them, become 8 bits."""

from collections.abc import Callable

import numpy as np

from tensormask_server.images.errors import ImageError
from tensormask_server.images.options import ImageOptions

LARGEST_16 = 65535
ABOVE_12 = 4096  # cameras of 12 bits store their values in 16
PERCENTILES = (1, 99)
EXPECTED_VALUES = "unsigned whole numbers up to 65535, or the option stretch with the value min-max or percentile"
SMALLEST_RANGE = 1e-300  # of values; a smaller one would overflow when it is stretched
STRIP = 1 << 20  # values that are converted to float64 at once

Notes = tuple[str, ...]


def eight_bits(values: np.ndarray, options: ImageOptions) -> tuple[np.ndarray, Notes]:
    """Converts values beyond 8 bits to 8 bits. All channels are converted alike.

    `options.stretch` says how:

    - "none": divided by 256;
    - "auto": from 0 and the largest value to 0 and 255 if that value is below 4096, otherwise divided by 256;
    - "min-max": from the smallest and the largest value to 0 and 255;
    - "percentile": the same with the percentiles 1 and 99.

    Args:
        values: (H, W) or (H, W, C), integers or floating-point numbers. What isn't finite becomes 0.
        options: of the image.

    Returns:
        uint8 of the same shape, and notes on what was done: short texts in ASCII for the response.

    Raises:
        ImageError: the values aren't unsigned whole numbers up to 65535, and they aren't stretched.
    """
    low, high = _range(values)
    stretch = options.stretch
    if stretch == "percentile":
        low, high = _percentiles(values)
    elif stretch != "min-max":
        if values.dtype.kind != "u" or high > LARGEST_16:
            numbers = {"f": "floating-point numbers", "i": "signed numbers"}.get(values.dtype.kind, "numbers")
            raise ImageError(f"the image's pixels are {numbers} from {_text(low)} to {_text(high)}", EXPECTED_VALUES)
        if stretch == "none" or high >= ABOVE_12 or high == 0:
            return _by_strips(values, lambda strip: strip // 256), ()
        low = 0
    span = float(high - low)
    scale = 255 / span if SMALLEST_RANGE < span < np.inf else 0.0
    stretched = _by_strips(values, lambda strip: np.rint((strip.astype(np.float64).clip(low, high) - low) * scale))
    return stretched, (f"values from {_text(low)} to {_text(high)} were stretched to 0 to 255 (stretch={stretch})",)


def _range(values: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest finite value."""
    if values.dtype.kind != "f":
        return values.min().item(), values.max().item()
    finite = np.isfinite(values)
    if not finite.any():
        raise ImageError("the image's pixels are no finite numbers", EXPECTED_VALUES)
    low = values.min(where=finite, initial=np.inf).item()
    return low, values.max(where=finite, initial=-np.inf).item()


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, high = np.percentile(finite, PERCENTILES).tolist()
    return low, high


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _by_strips(values: np.ndarray, convert: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Converts some rows at a time, so that large images need little memory beside their own."""
    result = np.empty(values.shape, np.uint8)
    rows = max(1, STRIP // max(1, values[0].size))
    for start in range(0, len(values), rows):
        strip = values[start : start + rows]
        if strip.dtype.kind == "f":
            strip = np.nan_to_num(strip, nan=-np.inf, posinf=-np.inf, neginf=-np.inf)
        with np.errstate(over="ignore", invalid="ignore"):  # of floating-point numbers near the largest ones
            result[start : start + rows] = convert(strip)
    return result
