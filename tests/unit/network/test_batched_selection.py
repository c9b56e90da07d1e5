"""A batch's detections are those that the CPU selects image by image, in the same order, number for number."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensormask_server.network import batched_selection
from tensormask_server.network.anchors import cell_anchors
from tensormask_server.network.batched_selection import HostCandidates, batched_detections
from tensormask_server.network.dense import DenseMaps, boxes_everywhere, flattened
from tensormask_server.network.detection import (
    Candidates,
    Selection,
    best_locations,
    candidates_at,
    deltas_of,
    detect,
)
from tensormask_server.network.places import Places, places
from tensormask_server.network.selection_kernels import SOURCE
from torch import Tensor

from tests.unit.compiled_kernels import HostKernels, needs_compiler

WEIGHTS = (1.5, 1.5, 0.75, 0.75)
NUM_ANCHORS, NUM_CLASSES = 4, 3
STRIDES = [4, 8, 16]
MAP_SHAPES = [(6, 9), (3, 5), (2, 3)]
ANCHORS = [cell_anchors((2.0 * stride, 3.0 * stride), (0.5, 2.0)) for stride in STRIDES]


def logits_and_deltas(num_images: int, seed: int, steps: int) -> tuple[list[Tensor], list[Tensor]]:
    """Class logits in halves from −steps/2 to steps/2, so that many are equal, and box deltas."""
    random = torch.Generator().manual_seed(seed)
    logits = [
        torch.randint(-steps, steps + 1, (num_images, NUM_ANCHORS * NUM_CLASSES, *shape), generator=random) / 2
        for shape in MAP_SHAPES
    ]
    return logits, [torch.randn(num_images, NUM_ANCHORS * 4, *shape, generator=random) for shape in MAP_SHAPES]


def one_by_one(logits: list[Tensor], deltas: list[Tensor], selections: list[Selection], topk: int) -> list[Candidates]:
    found = []
    for i, selection in enumerate(selections):
        locations = best_locations([each[i] for each in logits], NUM_ANCHORS, selection, topk)
        with_boxes = partial(
            candidates_at,
            box_deltas=deltas_of([each[i] for each in deltas]),
            cell_anchors=ANCHORS,
            strides=STRIDES,
            bbox_reg_weights=WEIGHTS,
        )
        found.append(detect(locations, with_boxes, selection))
    return found


def together(
    logits: list[Tensor],
    deltas: list[Tensor],
    selections: list[Selection],
    topk: int,
    by_kernels: bool = False,
) -> list[HostCandidates]:
    where: Places = places(ANCHORS, STRIDES, MAP_SHAPES, WEIGHTS)
    class_logits = flattened(logits)
    maps = DenseMaps(class_logits, class_logits.amax(dim=2), boxes_everywhere(flattened(deltas), where), ())
    kernels = HostKernels(SOURCE) if by_kernels else None
    return batched_detections(maps, where, selections, topk, kernels)


def assert_same(found: list[HostCandidates], expected: list[Candidates]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        for name in Candidates.__dataclass_fields__:
            array, tensor = getattr(ours, name), getattr(theirs, name)
            np.testing.assert_array_equal(array, tensor.numpy(), err_msg=name)
            assert array.dtype == tensor.numpy().dtype


ways = pytest.mark.parametrize("by_kernels", [False, pytest.param(True, marks=needs_compiler)])
selections = st.builds(
    Selection,
    score_threshold=st.sampled_from([0.0, 0.05, 0.5, 0.62, 0.99, 1.0]),
    nms_threshold=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    max_detections=st.sampled_from([1, 2, 5, 100]),
    classes=st.sampled_from([None, None, (), (1,), (0, 2)]),
)


@ways
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1000),
    steps=st.sampled_from([1, 4, 12, 60]),
    topk=st.sampled_from([1, 7, 30, 6000]),
    of_images=st.lists(selections, min_size=1, max_size=3),
)
def test_a_batchs_detections_are_those_of_its_images(
    by_kernels: bool, seed: int, steps: int, topk: int, of_images: list[Selection]
) -> None:
    inputs = logits_and_deltas(len(of_images), seed, steps)
    assert_same(together(*inputs, of_images, topk, by_kernels), one_by_one(*inputs, of_images, topk))


@ways
@pytest.mark.parametrize("most", [1, 8, 11, 64, 130])
def test_more_locations_are_tried_where_the_best_are_too_few(
    most: int, by_kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image needs them, the other doesn't."""
    monkeypatch.setattr(batched_selection, "MOST_OVERLAPS", most)
    inputs = logits_and_deltas(2, seed=5, steps=12)
    of_images = [Selection(0.05, 0.1, 60), Selection(0.99, 0.5, 1)]
    expected = one_by_one(*inputs, of_images, 6000)
    assert len(expected[0]) > 20
    assert_same(together(*inputs, of_images, 6000, by_kernels), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_selected_in_float32(dtype: torch.dtype) -> None:
    logits, deltas = ([each.to(dtype) for each in maps] for maps in logits_and_deltas(1, seed=3, steps=12))
    of_images = [Selection(0.3, 0.5, 100)]
    assert_same(together(logits, deltas, of_images, 6000), one_by_one(logits, deltas, of_images, 6000))
