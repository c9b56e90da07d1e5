"""Targets, by hand, and the assignment against its rules, written plainly."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensormask_server.network.anchors import apply_deltas, cell_anchors
from torch import Tensor

from training.batch import TrainingInstances
from training.targets import Positives, assign, box_targets, mask_integrals, mask_targets, smallest_side

STRIDE = 4
PUBLISHED_SIZES = [(44, 60), (88, 120), (176, 240), (352, 480), (704, 960), (1408, 1920)]
Box = tuple[int, int, int, int]


def _instances(*boxes: Box) -> TrainingInstances:
    masks = torch.zeros(len(boxes), 32, 32, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    return TrainingInstances(
        torch.zeros(len(boxes), dtype=torch.int64), torch.tensor(boxes, dtype=torch.float32).view(-1, 4), masks
    )


def _assign(*boxes: Box, sizes: tuple[float, ...] = (16.0,), smallest: float = 0) -> tuple[Positives, Tensor]:
    """On a level of 8×8 cells, by default one of which no box is so small that it counts as a larger one."""
    return assign([_instances(*boxes)], cell_anchors(sizes, (1.0,)), STRIDE, torch.tensor(float(smallest)), 8, 8)


def _cells(*boxes: Box, sizes: tuple[float, ...] = (16.0,), smallest: float = 0) -> list[tuple[int, ...]]:
    """(y, x, anchor, instance) of the windows that get one of the boxes."""
    found, _ = _assign(*boxes, sizes=sizes, smallest=smallest)
    return list(zip(*(each.tolist() for each in (found.y, found.x, found.anchors, found.instances)), strict=True))


@pytest.mark.parametrize(("side", "number"), [(4, 4), (10, 3), (20, 4), (22, 3), (28, 8), (40, 11)])
def test_a_square_gets_as_many_windows_as_in_the_reference(side: int, number: int) -> None:
    """With the published sizes: of which 4 to 20 pixels had none by the paper's text alone, 28 had 4 and 40 had 6."""
    instances = _without_masks([(100, 100, 100 + side, 100 + side)])
    smallest = smallest_side(cell_anchors(PUBLISHED_SIZES[0], (1.0,)))
    found = []
    for level, sizes in enumerate(PUBLISHED_SIZES):
        stride = 4 * 2**level
        height, width = math.ceil(800 / stride), math.ceil(1344 / stride)
        positives, ignored = assign([instances], cell_anchors(sizes, (1.0,)), stride, smallest, height, width)
        found.append(len(positives))
        assert not len(ignored)
    assert sum(found) == number


@st.composite
def _boxes(draw: st.DrawFn) -> Box:
    x0, y0 = draw(st.integers(0, 60)), draw(st.integers(0, 60))
    return x0, y0, x0 + draw(st.integers(1, 40)), y0 + draw(st.integers(1, 40))


@given(
    images=st.lists(st.lists(_boxes(), max_size=5), min_size=1, max_size=3),
    sizes=st.lists(st.integers(4, 80), min_size=1, max_size=3),
    stride=st.sampled_from([4, 8, 16]),
    smallest=st.integers(4, 80),
)
def test_the_assignment_is_what_the_rules_say(
    images: list[list[Box]], sizes: list[int], stride: int, smallest: int
) -> None:
    height, width = 7, 9
    learnt, ambiguous = set(), set()
    for image, boxes in enumerate(images):
        before = sum(map(len, images[:image]))
        for y, x, (anchor, size) in itertools.product(range(height), range(width), enumerate(sizes)):
            taken = [
                i for i, box in enumerate(boxes) if _by_the_rules(x * stride, y * stride, size, box, stride, smallest)
            ]
            if len(taken) == 1:
                learnt.add((image, anchor, y, x, before + taken[0]))
            elif taken:
                ambiguous.add((image, anchor, y, x))
    anchors = cell_anchors(tuple(map(float, sizes)), (1.0,))
    batch = [_without_masks(boxes) for boxes in images]
    found, ignored = assign(batch, anchors, stride, torch.tensor(float(smallest)), height, width)
    rows = torch.stack((found.images, found.anchors, found.y, found.x, found.instances), dim=1).tolist()
    assert len(rows) == len(learnt) and set(map(tuple, rows)) == learnt
    assert len(ignored) == len(ambiguous) and set(map(tuple, ignored.tolist())) == ambiguous


def _by_the_rules(x: int, y: int, size: int, box: Box, stride: int, smallest: int) -> bool:
    """Whether the square window around (x, y) may learn the box, in whole numbers: all lengths are doubled."""
    x0, y0, x1, y1 = box
    contains = 2 * x - size <= 2 * x0 and 2 * y - size <= 2 * y0 and 2 * x1 <= 2 * x + size and 2 * y1 <= 2 * y + size
    twice = 2 * max(x1 - x0, y1 - y0)
    if twice < smallest:
        twice = smallest
    near = (x0 + x1 - 2 * x) ** 2 + (y0 + y1 - 2 * y) ** 2 <= (2 * stride) ** 2
    return contains and size - stride <= twice and near


def _without_masks(boxes: list[Box]) -> TrainingInstances:
    return TrainingInstances(
        torch.zeros(len(boxes), dtype=torch.int64),
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        torch.zeros(len(boxes), 0, 0, dtype=torch.uint8),
    )


def test_a_mask_goes_to_the_windows_around_its_centre() -> None:
    # centred on cell (4, 4) at pixel (16, 16): itself and the four cells one stride away, whose windows of 16 pixels
    # contain the 8 pixels just so
    assert _cells((12, 12, 20, 20)) == [(3, 4, 0, 0), (4, 3, 0, 0), (4, 4, 0, 0), (4, 5, 0, 0), (5, 4, 0, 0)]


def test_a_window_must_contain_the_whole_mask() -> None:
    # one stride to the side a window of 16 pixels cuts a mask of 10
    assert _cells((11, 11, 21, 21)) == [(4, 4, 0, 0)]


def test_a_window_less_one_stride_is_at_most_twice_the_longer_side() -> None:
    assert _cells((13, 15, 19, 17)) != []
    assert _cells((14, 14, 19, 19)) == []
    assert {anchor for _, _, anchor, _ in _cells((8, 8, 24, 24), sizes=(16.0, 24.0, 36.0))} == {0, 1, 2}
    assert {anchor for _, _, anchor, _ in _cells((8, 8, 24, 24), sizes=(16.0, 24.0, 37.0))} == {0, 1}


def test_the_smallest_masks_count_as_half_of_the_smallest_window() -> None:
    # whose side, 16, allows of the level's own windows those of up to 16 + 4
    assert {anchor for _, _, anchor, _ in _cells((16, 16, 17, 17), sizes=(16.0, 20.0, 21.0), smallest=16)} == {0, 1}
    assert _cells((16, 16, 17, 17), sizes=(16.0, 20.0, 21.0)) == []


def test_the_centres_are_at_most_a_stride_apart() -> None:
    # the box's centre (18, 18) lies 2√2 < 4 from four cells, and more than 4 from all others
    assert {(y, x) for y, x, _, _ in _cells((12, 12, 24, 24), sizes=(24.0,))} == {(4, 4), (4, 5), (5, 4), (5, 5)}


def test_a_window_that_two_masks_fit_is_ignored() -> None:
    # the second one, a pixel further right, is too far from cell (4, 3) and from (3, 4) and (5, 4)
    boxes = (12, 12, 20, 20), (13, 12, 21, 20)
    assert _cells(*boxes) == [(3, 4, 0, 0), (4, 3, 0, 0), (5, 4, 0, 0)]
    _, ignored = _assign(*boxes)
    assert ignored.tolist() == [[0, 0, 4, 4], [0, 0, 4, 5]]  # image, anchor, y, x


def test_images_keep_their_own_masks() -> None:
    batch = [_instances((12, 12, 20, 20)), _instances(), _instances((0, 0, 4, 4), (8, 8, 24, 24))]
    found, ignored = assign(batch, cell_anchors((16.0,), (1.0,)), STRIDE, torch.tensor(0.0), 8, 8)
    assert found.images.tolist() == [0, 0, 0, 0, 0, 2]
    assert found.instances.tolist() == [0, 0, 0, 0, 0, 2]
    assert not len(ignored)


def test_box_targets_are_what_apply_deltas_undoes() -> None:
    anchors = torch.tensor([[0.0, 0.0, 16.0, 16.0], [8.0, 4.0, 40.0, 36.0]])
    boxes = torch.tensor([[2.0, 3.0, 14.0, 12.0], [10.0, 4.0, 33.0, 30.0]])
    weights = (1.5, 1.5, 0.75, 0.75)
    torch.testing.assert_close(apply_deltas(anchors, box_targets(anchors, boxes, weights), weights), boxes)


def test_mask_targets_are_the_covered_part_of_each_entry() -> None:
    # a mask of 5×6 pixels from (x, y) = (2, 4) on a window of 4×4 entries of 4 pixels from (−4, 0)
    masks = torch.zeros(2, 32, 32, dtype=torch.uint8)
    masks[1, 4:10, 2:7] = 1
    targets = mask_targets(mask_integrals(masks), torch.tensor([1]), torch.tensor([[-4.0, 0.0, 12.0, 16.0]]), 4)
    columns = torch.tensor([0, 2, 3, 0]) / 4
    rows = torch.tensor([0, 4, 2, 0]) / 4
    torch.testing.assert_close(targets[0], rows[:, None] * columns)
