"""The GPU's kernels, run as C++ on the CPU, give the masks that operations of torch give."""

import logging
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensormask_server import Predictor
from tensormask_server.network.batched_masks import GroupedMasks
from tensormask_server.network.convolution_kernels import SOURCE as CONVOLUTION_SOURCE
from tensormask_server.network.convolution_kernels import add_bias
from tensormask_server.network.convolutions import activated
from tensormask_server.network.fused_convolutions import FusedConv2d
from tensormask_server.network.kernels import kernels_for
from tensormask_server.network.mask_kernels import SOURCE as MASK_SOURCE
from tensormask_server.network.mask_kernels import FlatMasks, KernelMasks, has_kernels
from tensormask_server.network.selection_kernels import SOURCE as SELECTION_SOURCE
from tensormask_server.network.stored_numbers import stored_macro
from tensormask_server.prediction.batched_pasting import Stretching, paste_batch
from tensormask_server.prediction.input_kernels import SOURCE as INPUT_SOURCE
from tensormask_server.prediction.mask_paths import path_by_kernels
from tensormask_server.prediction.pasting_kernels import SOURCE as PASTING_SOURCE
from tensormask_server.prediction.pasting_kernels import lowest_on, paste_by_kernels

from tests.unit.compiled_kernels import HostKernels, needs_compiler
from tests.unit.prediction.test_batched import MANY_ANCHORS, aligned
from tests.unit.prediction.test_batched_pasting import assert_same, random_groups
from tests.unit.prediction.test_pasting import Anchor, anchors
from tests.unit.small_network import NO_CHANGES, as_on_a_gpu, assert_alike, noise, small_predictor

CHANGES = {
    "small": NO_CHANGES,
    "three sizes and three ratios": MANY_ANCHORS,
    "aligned only": MANY_ANCHORS | aligned(True, False),
    "one level": {"MODEL.TENSOR_MASK.IN_FEATURES": ["p3"], "MODEL.ANCHOR_GENERATOR.SIZES": [[32, 40]]},
}


def predictor(changes: dict[str, Any], dtype: torch.dtype) -> Predictor:
    return as_on_a_gpu(small_predictor(changes, dtype=dtype))


def with_kernels(predictor: Predictor) -> Predictor:
    batched = as_on_a_gpu(predictor).batched
    assert batched is not None
    masks = KernelMasks(predictor.network.head, HostKernels(MASK_SOURCE, stored_macro(predictor.dtype)))
    batched.input_kernels = HostKernels(INPUT_SOURCE, stored_macro(predictor.dtype))
    batched.selection_kernels = HostKernels(SELECTION_SOURCE)
    batched.mask_path = path_by_kernels(masks, HostKernels(PASTING_SOURCE))
    return predictor


@needs_compiler
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
def test_masks_are_those_of_operations(changes: dict[str, Any]) -> None:
    low = {"MODEL.TENSOR_MASK.SCORE_THRESH_TEST": 0.001, **changes}
    images = [noise(*size, seed=seed) for seed, size in enumerate([(100, 140), (97, 131), (1, 1), (3, 500)])]
    expected = as_on_a_gpu(small_predictor(low))(images)
    for ours, theirs in zip(with_kernels(small_predictor(low))(images), expected, strict=True):
        assert len(ours) > 0
        assert_alike(ours, theirs)


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_masks_in_half_precision_are_those_of_operations(dtype: torch.dtype) -> None:
    images = [noise(100, 140, seed=seed) for seed in range(2)]
    expected = as_on_a_gpu(small_predictor(dtype=dtype))(images, 0.3)
    for ours, theirs in zip(with_kernels(small_predictor(dtype=dtype))(images, 0.3), expected, strict=True):
        np.testing.assert_array_equal(ours.scores, theirs.scores)
        assert ours.masks is not None and theirs.masks is not None and theirs.masks.any()
        assert np.mean(ours.masks != theirs.masks) < 0.005


@needs_compiler
def test_a_batch_without_detections_has_no_masks() -> None:
    found = with_kernels(small_predictor())([noise(50, 70)] * 2, 0.9999)
    assert [len(each) for each in found] == [0, 0]


@needs_compiler
@pytest.mark.parametrize("channel_order", ["BGR", "RGB"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_images_are_normalised_as_by_operations(dtype: torch.dtype, channel_order: str) -> None:
    """Number for number; some images of a batch are smaller than others."""
    changes = {"INPUT.FORMAT": channel_order, "MODEL.PIXEL_STD": [57.375, 57.12, 58.395]}
    images = [noise(30, 50), noise(32, 64, seed=1), noise(7, 64, seed=2)]
    ours, theirs = (each.batched for each in (with_kernels(predictor(changes, dtype)), predictor(changes, dtype)))
    assert ours is not None and theirs is not None
    found = ours.normalised(images)
    torch.testing.assert_close(found, theirs.normalised(images), rtol=0, atol=0)
    assert found.is_contiguous(memory_format=torch.channels_last)


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_bias_is_added_as_by_an_operation(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    convolved = torch.randn(2, 24, 5, 7, generator=random).to(dtype).contiguous(memory_format=torch.channels_last)
    bias = torch.randn(24, generator=random).to(dtype)
    expected = convolved + bias[:, None, None]
    add_bias(convolved, bias, HostKernels(CONVOLUTION_SOURCE, stored_macro(dtype)))
    torch.testing.assert_close(convolved, expected, rtol=0, atol=0)


@needs_compiler
def test_a_convolution_that_cant_be_fused_runs_in_parts(caplog: pytest.LogCaptureFixture) -> None:
    """As here, without cuDNN. The log says it once."""
    caplog.set_level(logging.INFO)
    random = torch.Generator().manual_seed(0)
    plain = torch.nn.Conv2d(8, 16, 3, stride=2, padding=1).to(torch.bfloat16, memory_format=torch.channels_last)
    fused = FusedConv2d(plain, HostKernels(CONVOLUTION_SOURCE, stored_macro(torch.bfloat16)))
    x = torch.randn(2, 8, 9, 7, generator=random).to(torch.bfloat16, memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = plain(x)
        torch.testing.assert_close(fused(x), expected, rtol=0.01, atol=0.01)
        torch.testing.assert_close(activated(fused, x), expected.relu(), rtol=0.01, atol=0.01)
        added = torch.randn_like(expected)
        torch.testing.assert_close(activated(fused, x, added.clone()), (expected + added).relu(), rtol=0.02, atol=0.02)
    assert caplog.text.count("cuDNN can't fuse a convolution") == 1


@needs_compiler
@settings(max_examples=200, deadline=None)
@given(
    groups=st.lists(st.tuples(st.integers(1, 16), st.integers(1, 4)), min_size=1, max_size=3, unique_by=lambda g: g[0]),
    where=st.lists(
        st.tuples(anchors(), st.integers(1, 40), st.integers(1, 40), st.sampled_from([0.5, 0.5, 0.001, 0.3, 0.9, 1.0])),
        min_size=12,
        max_size=12,
    ),
    seed=st.integers(0, 1000),
)
def test_masks_are_pasted_as_by_operations(
    groups: list[tuple[int, int]], where: list[tuple[Anchor, int, int, float]], seed: int
) -> None:
    """The same rectangles, bit for bit, wherever the anchors are."""
    sizes, counts = ([each[i] for each in groups] for i in (0, 1))
    some = where[: sum(counts)]
    stretching = Stretching(*(np.array([each[i] for each in some]) for i in (0, 3, 1, 2)))
    masks = random_groups(sizes, counts, seed)
    flat = flattened(masks, stretching.thresholds)
    assert_same(paste_by_kernels(flat, stretching, HostKernels(PASTING_SOURCE)), paste_batch(masks, stretching))


@needs_compiler
@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_large_masks_are_pasted_as_by_operations(threshold: float) -> None:
    masks = random_groups([11, 480], [3, 2], seed=1)
    around = np.array([(-900.3, -700.2, 1000.7, 800.1), (3.2, 4.1, 500.9, 300.3)] * 2 + [(100.0, 100.0, 101.0, 900.0)])
    stretching = Stretching(around, np.full(5, threshold), np.full(5, 333), np.full(5, 501))
    flat = flattened(masks, stretching.thresholds)
    assert_same(paste_by_kernels(flat, stretching, HostKernels(PASTING_SOURCE)), paste_batch(masks, stretching))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (NO_CHANGES, True),
        (aligned(False, False), False),
        ({"MODEL.MASK_ON": False}, False),
        ({"MODEL.TENSOR_MASK.MASK_CHANNELS": 12}, False),
    ],
)
def test_kernels_make_aligned_masks_of_eight_channels_at_a_time(changes: dict[str, Any], expected: bool) -> None:
    assert has_kernels(small_predictor(changes).network.head) == expected


def test_a_cpu_has_no_kernels() -> None:
    assert kernels_for(PASTING_SOURCE, torch.device("cpu")) is None


def flattened(masks: GroupedMasks, thresholds: np.ndarray) -> FlatMasks:
    """The same masks, as the kernel `mask_entries` gives them."""
    by_member = {
        int(member): (mask + masks.offset).sigmoid()
        for each in masks.groups
        for member, mask in zip(each.members, each.logits, strict=True)
    }
    probabilities = [by_member[member] for member in sorted(by_member)]
    sizes = np.array([len(each) for each in probabilities])
    extents = []
    for each, lowest in zip(probabilities, lowest_on(thresholds), strict=True):
        on = each.numpy() >= lowest
        extent: list[int] = []
        for axis in (1, 0):
            hits = np.flatnonzero(on.any(axis=axis))
            extent += [int(hits[0]), int(hits[-1]) + 1] if len(hits) else [len(each), 0]
        extents.append(extent)
    return FlatMasks(
        torch.cat([each.T.flatten() for each in probabilities]),
        sizes,
        np.cumsum(sizes**2) - sizes**2,
        torch.tensor(extents),
    )
