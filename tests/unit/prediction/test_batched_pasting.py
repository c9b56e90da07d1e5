"""Masks of a batch are pasted as they are one by one: the same rectangles, bit for bit."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensormask_server.network.batched_masks import GroupedMasks, MaskGroup
from tensormask_server.prediction import batched_pasting
from tensormask_server.prediction.batched_pasting import Stretching, paste_batch
from tensormask_server.prediction.image_masks import MaskCrop
from tensormask_server.prediction.pasting import paste_masks

from tests.unit.host_copies import recorded_returns
from tests.unit.prediction.test_pasting import Anchor, anchors

OFFSET = -6.0


def random_groups(sizes: list[int], counts: list[int], seed: int) -> GroupedMasks:
    """Masks of some sizes, whose members are mixed. Some masks are off everywhere, and some on."""
    random = np.random.default_rng(seed)
    members = random.permutation(sum(counts))
    groups = []
    for size, count in zip(sizes, counts, strict=True):
        logits = 4 * random.normal(size=(count, size, size)) + random.choice([-30, 0, 0, 0, 30], (count, 1, 1))
        of_group, members = members[:count], members[count:]
        groups.append(MaskGroup(of_group, torch.from_numpy((logits - OFFSET).astype(np.float32))))
    return GroupedMasks(groups, OFFSET)


def one_by_one(masks: GroupedMasks, stretching: Stretching) -> list[MaskCrop]:
    logits = {
        int(member): mask for each in masks.groups for member, mask in zip(each.members, each.logits, strict=True)
    }
    crops = []
    for i, threshold in enumerate(stretching.thresholds):
        probability = (logits[i] + masks.offset).sigmoid().numpy()
        height, width = int(stretching.heights[i]), int(stretching.widths[i])
        crops += paste_masks([probability], stretching.anchors[i : i + 1], float(threshold), height, width).crops
    return crops


def assert_same(found: list[MaskCrop], expected: list[MaskCrop]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.top, ours.left, ours.height, ours.width) == (theirs.top, theirs.left, theirs.height, theirs.width)
        np.testing.assert_array_equal(ours.bits, theirs.bits)


@settings(max_examples=200, deadline=None)
@given(
    groups=st.lists(st.tuples(st.integers(1, 16), st.integers(1, 4)), min_size=1, max_size=3, unique_by=lambda g: g[0]),
    where=st.lists(
        st.tuples(anchors(), st.integers(1, 40), st.integers(1, 40), st.sampled_from([0.5, 0.5, 0.001, 0.3, 0.9, 1.0])),
        min_size=12,
        max_size=12,
    ),
    most_pixels=st.sampled_from([1, 100, 1 << 24]),
    seed=st.integers(0, 1000),
)
def test_masks_are_pasted_as_one_by_one(
    groups: list[tuple[int, int]], where: list[tuple[Anchor, int, int, float]], most_pixels: int, seed: int
) -> None:
    """Several sizes, images, thresholds and parts; anchors anywhere, also where no pixel is on or none is sampled."""
    sizes, counts = ([each[i] for each in groups] for i in (0, 1))
    some = where[: sum(counts)]
    stretching = Stretching(*(np.array([each[i] for each in some]) for i in (0, 3, 1, 2)))
    masks = random_groups(sizes, counts, seed)
    with patch.object(batched_pasting, "MOST_PIXELS", most_pixels):
        assert_same(paste_batch(masks, stretching), one_by_one(masks, stretching))


@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_large_masks_are_pasted_as_one_by_one(threshold: float) -> None:
    masks = random_groups([11, 480], [3, 2], seed=1)
    around = np.array([(-900.3, -700.2, 1000.7, 800.1), (3.2, 4.1, 500.9, 300.3)] * 2 + [(100.0, 100.0, 101.0, 900.0)])
    stretching = Stretching(around, np.full(5, threshold), np.full(5, 333), np.full(5, 501))
    found = paste_batch(masks, stretching)
    assert_same(found, one_by_one(masks, stretching))
    assert sum(int(crop.columns.sum()) for crop in found) > 0


def test_masks_in_many_parts_return_to_the_host_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the extents, and with all bits."""
    masks = random_groups([4, 11], [3, 2], seed=1)
    stretching = Stretching(np.array([(3.2, 4.1, 30.9, 35.3)] * 5), np.full(5, 0.5), np.full(5, 40), np.full(5, 50))
    monkeypatch.setattr(batched_pasting, "MOST_PIXELS", 1)
    with recorded_returns(monkeypatch) as returns:
        assert_same(paste_batch(masks, stretching), one_by_one(masks, stretching))
    assert [len(each) for each in returns] == [1, 5]


def test_a_batch_may_have_no_masks() -> None:
    none = np.empty(0, np.int64)
    assert paste_batch(GroupedMasks([], OFFSET), Stretching(np.empty((0, 4)), np.empty(0), none, none)) == []
