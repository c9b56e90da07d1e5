"""Targets, by hand."""

import torch
from tensormask_server.network.anchors import apply_deltas, cell_anchors

from training.data import Instances
from training.targets import assign, box_targets, mask_integrals, mask_targets

STRIDE = 4


def _instances(*boxes: tuple[int, int, int, int]) -> Instances:
    masks = torch.zeros(len(boxes), 32, 32, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    return Instances(
        torch.zeros(len(boxes), dtype=torch.int64), torch.tensor(boxes, dtype=torch.float32).view(-1, 4), masks
    )


def _cells(*boxes: tuple[int, int, int, int], sizes: tuple[float, ...] = (16.0,)) -> list[tuple[int, ...]]:
    """(y, x, anchor, instance) of the windows that get one of the boxes, on a level of 8×8 cells."""
    found = assign([_instances(*boxes)], cell_anchors(sizes, (1.0,)), STRIDE, 8, 8)
    return list(zip(*(each.tolist() for each in (found.y, found.x, found.anchors, found.instances)), strict=True))


def test_a_mask_goes_to_the_windows_around_its_centre() -> None:
    # centred on cell (4, 4) at pixel (16, 16): itself and the four cells one stride away, whose windows of 16 pixels
    # contain the 8 pixels just so
    assert _cells((12, 12, 20, 20)) == [(3, 4, 0, 0), (4, 3, 0, 0), (4, 4, 0, 0), (4, 5, 0, 0), (5, 4, 0, 0)]


def test_a_window_must_contain_the_whole_mask() -> None:
    # one stride to the side a window of 16 pixels cuts a mask of 10
    assert _cells((11, 11, 21, 21)) == [(4, 4, 0, 0)]


def test_the_longer_side_is_at_least_half_of_the_window() -> None:
    assert _cells((12, 15, 20, 17)) != []
    assert _cells((13, 13, 20, 20)) == []
    assert {anchor for _, _, anchor, _ in _cells((8, 8, 24, 24), sizes=(16.0, 24.0, 32.0))} == {0, 1, 2}
    assert {anchor for _, _, anchor, _ in _cells((8, 8, 24, 24), sizes=(16.0, 24.0, 34.0))} == {0, 1}


def test_the_centres_are_at_most_a_stride_apart() -> None:
    # the box's centre (18, 18) lies 2√2 < 4 from four cells, and more than 4 from all others
    assert {(y, x) for y, x, _, _ in _cells((12, 12, 24, 24), sizes=(24.0,))} == {(4, 4), (4, 5), (5, 4), (5, 5)}


def test_a_window_that_two_masks_fit_gets_neither() -> None:
    # the second one, a pixel further right, is too far from cell (4, 3) and from (3, 4) and (5, 4)
    assert _cells((12, 12, 20, 20), (13, 12, 21, 20)) == [(3, 4, 0, 0), (4, 3, 0, 0), (5, 4, 0, 0)]


def test_pictures_keep_their_own_masks() -> None:
    batch = [_instances((12, 12, 20, 20)), _instances(), _instances((0, 0, 4, 4), (8, 8, 24, 24))]
    found = assign(batch, cell_anchors((16.0,), (1.0,)), STRIDE, 8, 8)
    assert found.pictures.tolist() == [0, 0, 0, 0, 0, 2]
    assert found.instances.tolist() == [0, 0, 0, 0, 0, 1]


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
