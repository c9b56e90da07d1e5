"""Tiles cover the image, have one size and overlap at least as much as requested."""

import random
from itertools import pairwise

import pytest
from tensormask_server import PredictionOptions
from tensormask_server.prediction.tile_grid import Tile, count_tiles, number_of_tiles, requested_tiles, tiles_of

RANDOM = random.Random(7)
CASES = [
    (RANDOM.randint(1, 3000), RANDOM.randint(1, 3000), RANDOM.randint(32, 900), RANDOM.choice([0, 0.05, 0.2, 0.5, 0.9]))
    for _ in range(60)
]


@pytest.mark.parametrize(("height", "width", "size", "overlap"), CASES)
def test_tiles_cover_the_image_and_overlap(height: int, width: int, size: int, overlap: float) -> None:
    tiles = tiles_of(height, width, size, overlap)
    assert len(tiles) == count_tiles(height, width, size, overlap) == len(set(tiles))
    assert {(tile.height, tile.width) for tile in tiles} == {(min(size, height), min(size, width))}
    for starts, length in (({tile.top for tile in tiles}, height), ({tile.left for tile in tiles}, width)):
        assert min(starts) == 0
        assert max(starts) == max(length - size, 0)
        assert all(size - (after - before) >= size * overlap for before, after in pairwise(sorted(starts)))


def test_no_more_tiles_than_needed() -> None:
    # a step of 80: starts at 0, 80 … 400, and 500 pixels in all
    assert [tile.left for tile in tiles_of(100, 500, 100, 0.2)] == [0, 80, 160, 240, 320, 400]
    assert len(tiles_of(100, 500, 100, 0)) == 5


def test_the_whole_image_comes_last_if_it_is_requested() -> None:
    whole = Tile(0, 0, 300, 500)
    with_whole = PredictionOptions(tile_size=200)
    assert requested_tiles(300, 500, with_whole, 800) == [*tiles_of(300, 500, 200, 0.2), whole]
    without = PredictionOptions(tile_size=200, tile_whole=False, tile_overlap=0.5)
    assert requested_tiles(300, 500, without, 800) == tiles_of(300, 500, 200, 0.5)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (PredictionOptions(), 0),
        (PredictionOptions(tile_size=500), 0),  # one tile would cover the image
        (PredictionOptions(tile_size=499, tile_overlap=0), 3),
        (PredictionOptions(tile_size="auto", tile_overlap=0), 7),
        (PredictionOptions(tile_size="auto", tile_overlap=0, tile_whole=False), 6),
    ],
)
def test_the_number_of_tiles(options: PredictionOptions, count: int) -> None:
    assert number_of_tiles(300, 500, options, 200) == count == len(requested_tiles(300, 500, options, 200))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"tile_size": 31}, "tile_size is 31; expected auto, or a whole number of pixels, 32 or more"),
        ({"tile_size": True}, "tile_size is True"),
        ({"tile_size": "atuo"}, "did you mean auto?"),
        ({"tile_overlap": 20}, "tile_overlap is 20 (did you mean 0.2?); expected a number from 0 to 0.9"),
        ({"tile_overlap": float("nan")}, "tile_overlap is nan"),
        ({"tile_whole": "yes"}, "tile_whole is 'yes'; expected true or false"),
    ],
)
def test_values_that_cannot_be_used_are_named(option: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        PredictionOptions(**option)
    assert message in str(caught.value)
