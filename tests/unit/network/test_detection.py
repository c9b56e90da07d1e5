"""Which locations become detections, and where: docs/NETWORK.md, sections 6 and 7, written out one by one."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensormask_server.network.anchors import apply_deltas, cell_anchors
from tensormask_server.network.detection import (
    TRIED_FIRST,
    Candidates,
    Locations,
    Selection,
    best_locations,
    candidates_at,
    deltas_of,
    detect,
    non_maximum_suppression,
)
from torch import Tensor

WEIGHTS = (1.5, 1.5, 0.75, 0.75)
SIZES, RATIOS, NUM_CLASSES = (8.0, 12.0), (0.5, 2.0), 3
NUM_ANCHORS = len(SIZES) * len(RATIOS)
STRIDES = [4, 8]
MAP_SHAPES = [(3, 4), (2, 2)]

Box = tuple[float, float, float, float]
Location = tuple[int, int, int, int, int]  # level, y, x, anchor, class


def network_outputs(seed: int, steps: int) -> tuple[list[Tensor], list[Tensor]]:
    """Class logits in halves from −steps/2 to steps/2, so that many are equal, and box deltas."""
    random = torch.Generator().manual_seed(seed)
    logits = [
        torch.randint(-steps, steps + 1, (NUM_ANCHORS * NUM_CLASSES, *shape), generator=random) / 2
        for shape in MAP_SHAPES
    ]
    deltas = [2 * torch.randn(NUM_ANCHORS * 4, *shape, generator=random) for shape in MAP_SHAPES]
    return logits, deltas


def best_by_definition(logits: list[Tensor], threshold: float, topk: int) -> list[tuple[float, Location]]:
    scored = []
    for level, (height, width) in enumerate(MAP_SHAPES):
        for y, x, anchor, k in product(range(height), range(width), range(NUM_ANCHORS), range(NUM_CLASSES)):
            score = 1 / (1 + math.exp(-float(logits[level][anchor * NUM_CLASSES + k, y, x])))
            if score > threshold:
                scored.append((score, (level, y, x, anchor, k)))
    return sorted(scored, key=lambda each: -each[0])[:topk]  # a stable sort: equal scores keep their order


def anchor_by_definition(level: int, y: int, x: int, anchor: int) -> Box:
    size, ratio = SIZES[anchor // len(RATIOS)] * STRIDES[level] / 4, RATIOS[anchor % len(RATIOS)]
    width, height = size / math.sqrt(ratio), size * math.sqrt(ratio)
    x, y = x * STRIDES[level], y * STRIDES[level]
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def box_by_definition(anchor: Box, deltas: list[float]) -> Box:
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    dx, dy, dw, dh = (delta / weight for delta, weight in zip(deltas, WEIGHTS, strict=True))
    x = (anchor[0] + anchor[2]) / 2 + dx * width
    y = (anchor[1] + anchor[3]) / 2 + dy * height
    width *= math.exp(min(dw, math.log(1000 / 16)))
    height *= math.exp(min(dh, math.log(1000 / 16)))
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def found_by_us(logits: list[Tensor], deltas: list[Tensor], threshold: float, topk: int) -> Candidates:
    anchors = [cell_anchors(tuple(size * stride / 4 for size in SIZES), RATIOS) for stride in STRIDES]
    found = best_locations(logits, NUM_ANCHORS, Selection(threshold, 0.6, 100), topk)
    return candidates_at(found, deltas_of(deltas), anchors, STRIDES, WEIGHTS)


def locations(found: Candidates) -> list[Location]:
    columns = (found.levels, found.y, found.x, found.anchors, found.classes)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1000),
    steps=st.sampled_from([1, 4, 12]),
    threshold=st.sampled_from([0.0, 0.05, 0.5, 0.62, 0.99, 1.0]),
    topk=st.sampled_from([1, 7, 30, 6000]),
)
def test_the_best_locations_are_found_over_all_levels(seed: int, steps: int, threshold: float, topk: int) -> None:
    logits, deltas = network_outputs(seed, steps)
    found = found_by_us(logits, deltas, threshold, topk)
    expected = best_by_definition(logits, threshold, topk)
    assert locations(found) == [location for _, location in expected]
    np.testing.assert_allclose(found.scores.numpy(), [score for score, _ in expected], rtol=1e-6)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_boxes_are_anchors_moved_by_the_deltas_of_their_location(seed: int) -> None:
    logits, deltas = network_outputs(seed, steps=4)
    found = found_by_us(logits, deltas, 0.3, 6000)
    anchors = [anchor_by_definition(*location[:4]) for location in locations(found)]
    np.testing.assert_allclose(found.anchor_boxes.numpy(), np.reshape(anchors, (-1, 4)), rtol=1e-5, atol=1e-4)
    boxes = [
        box_by_definition(anchor, deltas[level][4 * a : 4 * a + 4, y, x].tolist())
        for anchor, (level, y, x, a, _) in zip(anchors, locations(found), strict=True)
    ]
    np.testing.assert_allclose(found.boxes.numpy(), np.reshape(boxes, (-1, 4)), rtol=1e-4, atol=1e-3)


def test_a_wild_size_is_clamped_to_a_large_one() -> None:
    boxes = apply_deltas(torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.tensor([[0.0, 0.0, 1e6, 1e6]]), WEIGHTS)
    np.testing.assert_allclose(boxes.numpy(), [[-492, -492, 508, 508]], rtol=1e-5)


def test_a_score_at_the_threshold_is_not_above_it() -> None:
    logits, deltas = network_outputs(seed=0, steps=1)
    found = found_by_us(logits, deltas, 0.5, 6000)  # the sigmoid of 0 is exactly ½
    assert 0 < len(found) == sum(int((each > 0).sum()) for each in logits)


def test_nothing_above_the_threshold_is_no_candidates() -> None:
    logits, deltas = network_outputs(seed=0, steps=1)
    found = non_maximum_suppression(found_by_us(logits, deltas, 0.99, 6000), 0.5, 100)
    assert len(found) == 0
    assert found.boxes.shape == found.anchor_boxes.shape == (0, 4)
    assert found.scores.dtype == torch.float32
    assert found.classes.dtype == torch.int64


# --- non-maximum suppression ------------------------------------------------------------------------------------------


def candidates(boxes: list[Box], classes: list[int]) -> Candidates:
    """With falling scores; `anchors` counts them, so that a choice can be read off."""
    num = len(boxes)
    none = torch.zeros(num, dtype=torch.int64)
    box_tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    scores = torch.linspace(0.9, 0.1, num)
    class_tensor = torch.tensor(classes, dtype=torch.int64)
    return Candidates(scores, class_tensor, none, none, none, torch.arange(num), box_tensor, box_tensor)


def overlap(one: Box, other: Box) -> Fraction:
    """Of boxes with whole numbers, exactly."""
    width = max(0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    union = sum(areas) - width * height
    return Fraction(int(width * height), int(union)) if union else Fraction(0)


def kept_by_definition(boxes: list[Box], classes: list[int], threshold: float, most: int) -> list[int]:
    kept: list[int] = []
    for i, box in enumerate(boxes):
        if all(classes[i] != classes[j] or overlap(box, boxes[j]) <= Fraction(threshold) for j in kept):
            kept.append(i)
    return kept[:most]


@st.composite
def whole_boxes(draw: st.DrawFn) -> Box:
    """Small enough to overlap often, by exactly the threshold at times; some without area."""
    x, y, width, height = (draw(st.integers(low, high)) for low, high in ((-3, 3), (-3, 3), (0, 6), (0, 6)))
    return (x, y, x + width, y + height)


@settings(max_examples=300)
@given(
    things=st.lists(st.tuples(whole_boxes(), st.integers(0, 2)), max_size=25),
    threshold=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    most=st.sampled_from([1, 5, 100]),
)
def test_suppression_is_greedy_within_each_class(things: list[tuple[Box, int]], threshold: float, most: int) -> None:
    boxes, classes = [box for box, _ in things], [k for _, k in things]
    kept = non_maximum_suppression(candidates(boxes, classes), threshold, most)
    assert kept.anchors.tolist() == kept_by_definition(boxes, classes, threshold, most)


@settings(max_examples=100)
@given(
    things=st.lists(st.tuples(whole_boxes(), st.integers(0, 2)), max_size=60),
    most=st.sampled_from([1, 2, 4, 100]),
)
def test_boxes_are_asked_for_only_where_the_best_are_too_few(things: list[tuple[Box, int]], most: int) -> None:
    every = candidates([box for box, _ in things], [k for _, k in things])
    asked: list[int] = []

    def with_boxes(locations: Locations) -> Candidates:
        asked.extend(locations.anchors.tolist())
        return every[locations.anchors]

    best = Locations(*(getattr(every, name) for name in Locations.__dataclass_fields__))
    kept = detect(best, with_boxes, Selection(0.0, 0.5, most)).anchors.tolist()
    assert kept == non_maximum_suppression(every, 0.5, most).anchors.tolist()
    first = min(TRIED_FIRST * most, len(things))
    enough = len(kept) == most and kept[-1] < first
    assert asked == list(range(first if enough else len(things)))


@pytest.mark.parametrize(("threshold", "kept"), [(0.5, [0, 1]), (0.499, [0])])
def test_an_overlap_at_the_threshold_is_not_above_it(threshold: float, kept: list[int]) -> None:
    found = candidates([(0, 0, 4, 4), (0, 0, 4, 2)], [0, 0])  # an IoU of exactly ½
    assert non_maximum_suppression(found, threshold, 100).anchors.tolist() == kept


def test_boxes_far_from_the_origin_are_told_apart_as_well() -> None:
    """As in an image of 50,000 pixels; classes must not be told apart by moving boxes, which would lose digits."""
    boxes: list[Box] = [(50_000.0, 50_000.0, 50_000.5, 50_000.5), (50_000.25, 50_000.0, 50_000.75, 50_000.5)]
    assert non_maximum_suppression(candidates(boxes, [0, 79]), 0.3, 100).anchors.tolist() == [0, 1]
    assert non_maximum_suppression(candidates(boxes, [79, 79]), 0.3, 100).anchors.tolist() == [0]
