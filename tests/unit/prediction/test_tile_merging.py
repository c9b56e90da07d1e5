"""Of each instance one detection is left, with all of its pixels, however the tiles have cut it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from tensormask_server import Detections
from tensormask_server.prediction.tile_grid import Tile, tiles_of
from tensormask_server.prediction.tile_merging import KEPT, TileMerger
from tensormask_server.timing import Stopwatch, TimeLimitError


@dataclass(frozen=True)
class Instance:
    """What there is to see on an image."""

    mask: np.ndarray  # bool (H, W)
    class_number: int


def seen(tile: Tile, instances: Sequence[Instance], scores: np.ndarray, masks: bool = True) -> Detections:
    """What a network that makes no mistake detects on a tile: every instance that has a pixel there.

    Args:
        scores: of the instances, if they are seen whole; a piece's is smaller.
    """
    crops, boxes, found, classes = [], [], [], []
    for instance, score in zip(instances, scores, strict=True):
        mask = instance.mask[tile.top : tile.bottom, tile.left : tile.right]
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            crops.append(mask)
            boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            found.append(score * mask.sum() / instance.mask.sum())
            classes.append(instance.class_number)
    order = np.argsort(-np.array(found), kind="stable")
    dense = np.array(crops, bool).reshape(-1, tile.height, tile.width)[order]
    return Detections.of_masks(
        np.array(boxes, np.float32).reshape(-1, 4)[order],
        np.array(found, np.float32)[order],
        np.array(classes, np.int64)[order],
        dense if masks else None,
    )


def merged(
    shape: tuple[int, int], instances: Sequence[Instance], size: int, overlap: float, whole: bool, masks: bool = True
) -> Detections:
    height, width = shape
    merger = TileMerger(height, width, 100)
    scores = np.linspace(0.9, 0.5, len(instances))
    tiles = tiles_of(height, width, size, overlap) + ([Tile(0, 0, height, width)] if whole else [])
    for tile in tiles:
        merger.add(tile, seen(tile, instances, scores, masks))
    return merger.merged()


def scattered(seed: int, shape: tuple[int, int], count: int, largest: int) -> list[Instance]:
    """Ellipses and rectangles at random places; those in front hide parts of those behind. Slivers are left out."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    hidden = np.zeros(shape, bool)
    instances = []
    for _ in range(count):
        radius_y, radius_x = rng.uniform(4, largest / 2, 2)
        centre_y, centre_x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        dy, dx = (y - centre_y) / radius_y, (x - centre_x) / radius_x
        full = dy**2 + dx**2 < 1 if rng.random() < 0.5 else (abs(dy) < 1) & (abs(dx) < 1)
        # only where a margin around the others is free, so that no instance falls into pieces
        if full.any() and not (full & hidden).any():
            instances.append(Instance(full, int(rng.integers(2))))
            hidden |= full
    return instances


def assert_same(found: Detections, instances: Sequence[Instance]) -> None:
    assert found.masks is not None
    assert len(found) == len(instances)
    expected = {(each.class_number, each.mask.tobytes()) for each in instances}
    assert {(int(number), mask.tobytes()) for number, mask in zip(found.classes, found.masks, strict=True)} == expected


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_no_instance_is_lost_doubled_or_cut(seed: int, whole: bool) -> None:
    shape = (230, 310)
    rng = np.random.default_rng(100 + seed)
    size, overlap = int(rng.integers(64, 130)), float(rng.choice([0.15, 0.2, 0.35, 0.5]))
    instances = scattered(seed, shape, 30, largest=120)
    assert len(instances) >= 8
    assert_same(merged(shape, instances, size, overlap, whole), instances)


@pytest.mark.parametrize("whole", [True, False])
def test_an_instance_across_many_tiles_is_one(whole: bool) -> None:
    y, x = np.mgrid[:400, :400]
    bar = Instance(abs(x - y) < 20, 0)
    ring = Instance((np.hypot(x - 300, y - 100) < 90) & (np.hypot(x - 300, y - 100) > 60), 0)
    assert not (bar.mask & ring.mask).any()
    found = merged((400, 400), [bar, ring], 100, 0.2, whole)
    assert_same(found, [bar, ring])
    y0, x0 = np.floor(found.boxes[:, :2].min(axis=0))
    assert (y0, x0) == (0, 0)


def test_neighbours_of_one_class_stay_two() -> None:
    mask = np.zeros((100, 300), bool)
    left, right = mask.copy(), mask.copy()
    left[30:70, 60:120], right[30:70, 120:180] = True, True  # they touch, at a seam and in the overlap
    assert_same(
        merged((100, 300), [Instance(left, 1), Instance(right, 1)], 100, 0.3, True),
        [Instance(left, 1), Instance(right, 1)],
    )


def test_instances_of_two_classes_in_one_place_stay_two() -> None:
    mask = np.zeros((100, 200), bool)
    mask[30:70, 60:140] = True
    instances = [Instance(mask, 0), Instance(mask, 1)]
    assert_same(merged((100, 200), instances, 100, 0.3, False), instances)


def test_boxes_without_masks_are_merged_too() -> None:
    mask = np.zeros((100, 300), bool)
    mask[30:70, 60:190] = True
    found = merged((100, 300), [Instance(mask, 1)], 100, 0.3, False, masks=False)
    assert found.image_masks is None
    assert found.boxes.tolist() == [[60, 30, 190, 70]]


def test_a_piece_gives_way_to_the_instance_whatever_their_scores() -> None:
    merger = TileMerger(100, 150, 10)
    first, second = tiles_of(100, 150, 100, 0.5)
    pixels = np.zeros((1, 100, 100), bool)
    pixels[0, 20:60, 90:100] = True
    piece = Detections.of_masks(
        np.array([[90, 20, 100, 60]], np.float32), np.array([0.9], np.float32), np.zeros(1, np.int64), pixels
    )
    pixels = np.zeros((1, 100, 100), bool)
    pixels[0, 20:60, 40:70] = True
    instance = Detections.of_masks(
        np.array([[40, 20, 70, 60]], np.float32), np.array([0.6], np.float32), np.zeros(1, np.int64), pixels
    )
    merger.add(first, piece)
    merger.add(second, instance)
    found = merger.merged()
    assert found.boxes.tolist() == [[90, 20, 120, 60]]
    assert found.scores.tolist() == pytest.approx([0.6])


def test_where_a_tile_sees_all_and_detects_nothing_pieces_and_the_image_are_wrong() -> None:
    merger = TileMerger(100, 150, 10)
    first, second = tiles_of(100, 150, 100, 0.5)
    none = seen(second, [], np.zeros(0))
    pixels = np.zeros((1, 100, 100), bool)
    pixels[0, 20:60, 90:100] = True
    box, score, number = np.array([[90, 20, 100, 60]], np.float32), np.array([0.9], np.float32), np.zeros(1, np.int64)
    merger.add(first, Detections.of_masks(box, score, number, pixels))
    merger.add(second, none)
    on_image = np.zeros((1, 100, 150), bool)
    on_image[0, 20:60, 60:80] = True
    box = np.array([[60, 20, 80, 60]], np.float32)
    merger.add(Tile(0, 0, 100, 150), Detections.of_masks(box, score, number, on_image))
    assert len(merger.merged()) == 0


def test_merging_many_detections_that_lie_on_one_another_can_be_ended() -> None:
    """Their comparisons grow with the square of their number."""
    merger = TileMerger(100, 120, 1000)
    pixels = np.zeros((50, 100, 100), bool)
    pixels[:, 30:70, 30:70] = True
    boxes, scores = np.tile(np.array([30, 30, 70, 70], np.float32), (50, 1)), np.ones(50, np.float32)
    for tile in tiles_of(100, 120, 100, 0.9):
        merger.add(tile, Detections.of_masks(boxes, scores, np.zeros(50, np.int64), pixels))
    stopwatch = Stopwatch(clock=iter(range(1000)).__next__, limit=20)  # a second for each comparison
    with pytest.raises(TimeLimitError, match="more than 20 s"):
        merger.merged(stopwatch.check_limit)


@pytest.mark.parametrize("most", [0, 1, 3])
def test_the_best_are_kept_however_many_are_seen(most: int) -> None:
    merger = TileMerger(40, 4000, most)
    tiles = tiles_of(40, 4000, 40, 0)
    assert len(tiles) > 2 * KEPT * most
    for number, tile in enumerate(tiles):
        mask = np.zeros((1, 40, 40), bool)
        mask[0, 10:30, 10:30] = True
        score = np.array([0.2 + 0.5 * number / len(tiles)], np.float32)
        box = np.array([[10, 10, 30, 30]], np.float32)
        merger.add(tile, Detections.of_masks(box, score, np.zeros(1, np.int64), mask))
    found = merger.merged()
    assert found.boxes[:, 0].tolist() == [4000 - 40 * number - 30 for number in range(most)]
    assert found.image_masks is not None
    assert len(found.image_masks) == most


def test_masks_without_pixels_are_merged_by_their_boxes() -> None:
    merger = TileMerger(100, 150, 10)
    for tile in tiles_of(100, 150, 100, 0.5):
        box = np.array([[65 - tile.left, 20, 85 - tile.left, 60]], np.float32)
        empty = np.zeros((1, 100, 100), bool)
        merger.add(tile, Detections.of_masks(box, np.array([0.9], np.float32), np.zeros(1, np.int64), empty))
    assert len(merger.merged()) == 1


def one_by_one(merger: TileMerger, tile: Tile, *boxes: tuple[int, int, int, int]) -> None:
    """Adds detections of one class with full boxes as masks, x0 y0 x1 y1 in pixels of the image."""
    masks = np.zeros((len(boxes), tile.height, tile.width), bool)
    moved = np.array(boxes) - [tile.left, tile.top, tile.left, tile.top]
    for mask, (x0, y0, x1, y1) in zip(masks, moved.tolist(), strict=True):
        mask[y0:y1, x0:x1] = True
    scores = np.linspace(0.9, 0.8, len(boxes)).astype(np.float32)
    merger.add(tile, Detections.of_masks(moved.astype(np.float32), scores, np.zeros(len(boxes), np.int64), masks))


def test_what_one_tile_sees_as_two_stays_two() -> None:
    merger = TileMerger(100, 150, 10)
    first, second = tiles_of(100, 150, 100, 0.5)
    one_by_one(merger, first, (60, 20, 90, 60), (62, 20, 92, 60))
    one_by_one(merger, second, (60, 20, 90, 60), (62, 20, 92, 60))
    assert len(merger.merged()) == 2


def test_a_piece_that_is_too_large_is_compared_only_with_what_its_tile_can_see() -> None:
    merger = TileMerger(150, 150, 10)
    first, second = Tile(0, 0, 150, 100), Tile(0, 50, 150, 100)
    one_by_one(merger, first, (5, 20, 80, 60))
    one_by_one(merger, second, (50, 10, 140, 60))  # cut at its left, and with a part of the background
    found = merger.merged()
    assert found.boxes.tolist() == [[5, 20, 80, 60]]
