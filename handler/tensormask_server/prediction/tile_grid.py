"""Where the tiles of an image lie: squares of one size, evenly spaced, that overlap and cover the image."""

import math
from dataclasses import dataclass

from tensormask_server.prediction.detections import PredictionOptions
from tensormask_server.tile_options import AUTO


@dataclass(frozen=True)
class Tile:
    """A rectangle of an image. A tile is as large as `tile_size`, or as the image where that is smaller."""

    top: int  # its first row and column on the image, in pixels
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """The row after its last one."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The column after its last one."""
        return self.left + self.width


def requested_tiles(height: int, width: int, options: PredictionOptions, auto_size: int) -> list[Tile]:
    """The parts of an image that the network sees: its tiles, row by row, and then the whole image if it is requested.

    Args:
        height, width: of the image, in pixels.
        options: of the image.
        auto_size: the tile_size in pixels that "auto" stands for.

    Returns:
        Empty if the network sees the image only as a whole: tiles aren't requested, or one tile would cover it.
    """
    size = _tile_size(height, width, options, auto_size)
    if size is None:
        return []
    whole = [Tile(0, 0, height, width)] if options.tile_whole else []
    return tiles_of(height, width, size, options.tile_overlap) + whole


def number_of_tiles(height: int, width: int, options: PredictionOptions, auto_size: int) -> int:
    """The length of `requested_tiles`. It takes no memory for them."""
    size = _tile_size(height, width, options, auto_size)
    if size is None:
        return 0
    return count_tiles(height, width, size, options.tile_overlap) + options.tile_whole


def pixels_of_tile(height: int, width: int, options: PredictionOptions, auto_size: int) -> int:
    """H·W of each of `requested_tiles`, without the whole image; 0 if there are none."""
    size = _tile_size(height, width, options, auto_size)
    return 0 if size is None else min(size, height) * min(size, width)


def tiles_of(height: int, width: int, size: int, overlap: float) -> list[Tile]:
    """The tiles of an image, row by row. All have the same size, and the last ones end where the image ends.

    Args:
        height, width: of the image, in pixels.
        size: of a tile, pixels a side.
        overlap: neighbouring tiles overlap by at least this fraction of a tile's side, 0…1, below 1.
    """
    rows, columns = _starts(height, size, overlap), _starts(width, size, overlap)
    tile_height, tile_width = min(size, height), min(size, width)
    return [Tile(top, left, tile_height, tile_width) for top in rows for left in columns]


def count_tiles(height: int, width: int, size: int, overlap: float) -> int:
    """How many tiles `tiles_of` gives. It takes no memory for them."""
    return _count(height, size, overlap) * _count(width, size, overlap)


def _tile_size(height: int, width: int, options: PredictionOptions, auto_size: int) -> int | None:
    """The side of the tiles in pixels; None if there are none."""
    size = auto_size if options.tile_size == AUTO else options.tile_size
    return size if isinstance(size, int) and 0 < size < max(height, width) else None


def _starts(length: int, size: int, overlap: float) -> list[int]:
    """The first pixel of each tile along one side of an image."""
    last = _count(length, size, overlap) - 1
    # rounded in whole numbers, so that the starts are the same on every machine
    return [number * (length - size) // last for number in range(last + 1)] if last else [0]


def _count(length: int, size: int, overlap: float) -> int:
    if length <= size:
        return 1
    step = max(1, size - math.ceil(size * overlap))  # the largest number of pixels between two tiles' starts
    return 1 + math.ceil((length - size) / step)
