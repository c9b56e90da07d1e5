"""The options of tiles, which requests, archives and bulk runs share: their defaults, and which values are accepted."""

from tensormask_server.printable import quoted
from tensormask_server.spelling import did_you_mean, did_you_mean_fraction

AUTO = "auto"  # the side of a square that the network sees without reducing it
NO_TILES = "none"  # turns off the archive's tiles
LEAST_TILE = 32  # pixels; smaller tiles would be mostly border
MOST_OVERLAP = 0.9  # of a tile's side; more would run the network hundreds of times on each pixel
DEFAULT_OVERLAP = 0.2

EXPECTED_SIZE = f"{AUTO}, or a whole number of pixels, {LEAST_TILE} or more"
EXPECTED_OVERLAP = f"a number from 0 to {MOST_OVERLAP:g}"
EXPECTED_WHOLE = "true or false"


def check_tile_options(tile_size: object, tile_overlap: object, tile_whole: object) -> None:
    """Checks the options of tiles.

    Args:
        tile_size: pixels of a tile's side, AUTO, or None for no tiles.
        tile_overlap: neighbouring tiles overlap by at least this fraction of a tile's side.
        tile_whole: whether the network also sees the whole image once.

    Raises:
        ValueError: a value can't be used.
    """
    if not is_tile_size(tile_size):
        hint = did_you_mean(tile_size, (AUTO,)) if isinstance(tile_size, str) else ""
        raise ValueError(f"tile_size is {quoted(tile_size)}{hint}; expected {EXPECTED_SIZE}")
    if not is_tile_overlap(tile_overlap):
        hint = did_you_mean_fraction(tile_overlap)
        raise ValueError(f"tile_overlap is {quoted(tile_overlap)}{hint}; expected {EXPECTED_OVERLAP}")
    if not isinstance(tile_whole, bool):
        raise ValueError(f"tile_whole is {quoted(tile_whole)}; expected {EXPECTED_WHOLE}")


def is_tile_size(value: object) -> bool:
    """Whether a value is a size of tiles: None for no tiles, AUTO, or a number of pixels."""
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= LEAST_TILE
    return value is None or value == AUTO or is_number


def is_tile_overlap(value: object) -> bool:
    """Whether a value is an overlap of tiles."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_OVERLAP
