"""A predictor sees large images in tiles: what it detects on each tile is merged, and one tile is no tile."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tensormask_server import Detections, PredictionOptions, Predictor
from tensormask_server.images.large import LargeImage
from tensormask_server.prediction import image_masks
from tensormask_server.prediction.image_masks import LargeMasksError
from tensormask_server.prediction.tile_grid import requested_tiles
from tensormask_server.prediction.tile_merging import TileMerger

from tests.unit.small_network import assert_alike, noise, small_predictor

TILES = PredictionOptions(tile_size=64, tile_overlap=0.25)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return small_predictor()


def assert_equal(found: Detections, expected: Detections) -> None:
    """Bit for bit."""
    for name in ("boxes", "scores", "classes", "masks"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("size", [130, 140, 1000])
def test_an_image_no_larger_than_a_tile_has_the_same_detections_as_without_tiles(
    predictor: Predictor, size: int
) -> None:
    image = noise(100, 130)
    [expected] = predictor([image])
    assert len(expected) > 0
    [found] = predictor([image], PredictionOptions(tile_size=size))
    assert_equal(found, expected)


def test_each_tile_is_seen_as_an_image_of_its_size(predictor: Predictor) -> None:
    image = noise(100, 140)
    merger = TileMerger(100, 140, predictor.config.detection.max_detections)
    tiles = requested_tiles(100, 140, TILES, auto_size=0)
    assert len(tiles) == 2 * 3 + 1
    for tile in tiles:
        [detections] = predictor([image[tile.top : tile.bottom, tile.left : tile.right]])
        merger.add(tile, detections)
    [found] = predictor([image], TILES)
    assert len(found) > 0
    assert_equal(found, merger.merged())


def test_auto_is_the_side_that_the_network_is_made_for(predictor: Predictor) -> None:
    side = predictor.config.input.min_size or predictor.config.input.max_size
    image = noise(side // 2, side + 40)
    [found] = predictor([image], PredictionOptions(tile_size="auto"))
    [expected] = predictor([image], PredictionOptions(tile_size=side))
    assert_equal(found, expected)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_tiles_run_as_batches_and_beside_other_images(batch_size: int) -> None:
    predictor = small_predictor()
    images = [noise(100, 140), noise(90, 70, seed=1), noise(64, 150, seed=2)]
    options = [TILES, PredictionOptions(), TILES]
    expected = [predictor([image], each)[0] for image, each in zip(images, options, strict=True)]
    predictor.batch_size = batch_size
    sizes: list[int] = []
    run = predictor._run

    def counted(inputs: list[np.ndarray], selections: Any) -> Any:
        sizes.append(len(inputs))
        return run(inputs, selections)

    predictor._run = counted  # type: ignore[method-assign]
    for found, alone in zip(predictor(images, options), expected, strict=True):
        assert_alike(found, alone)
    assert max(sizes) == min(batch_size, 6)


@pytest.mark.parametrize(
    "options",
    [
        PredictionOptions(tile_size=64, max_detections=3),
        PredictionOptions(tile_size=64, max_detections=0),
        PredictionOptions(tile_size=64, classes=(1,)),
        PredictionOptions(tile_size=64, score_threshold=0.9999),
        PredictionOptions(tile_size=64, tile_whole=False, tile_overlap=0),
    ],
)
def test_other_options_hold_with_tiles(predictor: Predictor, options: PredictionOptions) -> None:
    [found] = predictor([noise(100, 140)], options)
    assert found.masks is not None
    assert found.masks.shape == (len(found), 100, 140)
    assert (np.diff(found.scores) <= 0).all()
    assert len(found) <= (100 if options.max_detections is None else options.max_detections)
    allowed: Sequence[int] = options.classes or range(predictor.config.head.num_classes)
    assert set(found.classes.tolist()) <= set(allowed)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [140, 100, 140, 100]).all()


def test_a_large_image_is_read_part_by_part_and_has_the_same_detections(predictor: Predictor) -> None:
    pixels = noise(100, 140)
    read: list[tuple[int, int]] = []

    def region(top: int, left: int, height: int, width: int) -> np.ndarray:
        read.append((height, width))
        return pixels[top : top + height, left : left + width]

    [expected] = predictor([pixels], TILES)
    [found] = predictor([LargeImage(100, 140, region)], TILES)
    assert len(found) > 0
    assert_equal(found, expected)
    assert read[: 2 * 3] == [(64, 64)] * 6


def test_masks_that_span_too_many_pixels_are_an_error(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one tile, and of all tiles together."""
    image = noise(100, 140)
    [found] = predictor([image])
    assert found.image_masks is not None
    of_image = sum(crop.pixels_spanned for crop in found.image_masks)
    monkeypatch.setattr(image_masks, "MOST_PIXELS", of_image)
    assert predictor([image])
    with pytest.raises(LargeMasksError):
        predictor([image], TILES)
    monkeypatch.setattr(image_masks, "MOST_PIXELS", 100)
    with pytest.raises(LargeMasksError):
        predictor([image])
