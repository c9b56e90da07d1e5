"""Masks that are pasted over their anchors are compared with torch's grid_sample over the whole image."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tensormask_server.prediction.pasting import BLOCK, paste_masks
from torch import Tensor

Anchor = tuple[float, float, float, float]


def sampled(logits: Tensor, anchor: Anchor, height: int, width: int) -> Tensor:
    """The mask's probability at each pixel's centre, 0 outside of it: docs/NETWORK.md, section 8, in float64."""
    x0, y0, x1, y1 = anchor
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - x0) / (x1 - x0) * 2 - 1
    y = (torch.arange(height, dtype=torch.float64) + 0.5 - y0) / (y1 - y0) * 2 - 1
    grid = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1)
    probabilities = logits.double().sigmoid()[None, None]
    return F.grid_sample(probabilities, grid[None], align_corners=False, padding_mode="zeros")[0, 0]


def pasted(logits: Tensor, anchor: Anchor, height: int, width: int, threshold: float = 0.5) -> Tensor:
    masks = paste_masks([logits.sigmoid().numpy()], np.array([anchor]), threshold, height, width)
    return torch.from_numpy(masks.dense_mask(0))


def assert_as_sampled(logits: Tensor, anchor: Anchor, height: int, width: int, threshold: float = 0.5) -> None:
    expected = sampled(logits, anchor, height, width)
    # float32 may round values near the threshold to either side
    decided = (expected - threshold).abs() > 1e-4
    assert torch.equal(pasted(logits, anchor, height, width, threshold)[decided], (expected >= threshold)[decided])


def random_logits(size: int, seed: int) -> Tensor:
    return 4 * torch.randn(size, size, generator=torch.Generator().manual_seed(seed))


@st.composite
def anchors(draw: st.DrawFn) -> Anchor:
    """Anchors anywhere around an image of about 40 pixels, with sides from 0.05 to 2000 pixels."""
    x, y = draw(st.floats(-80, 120)), draw(st.floats(-80, 120))
    width, height = (10 ** draw(st.floats(-1.3, 3.3)) for _ in range(2))
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


@settings(max_examples=300)
@given(
    anchor=anchors(),
    size=st.integers(1, 16),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    threshold=st.sampled_from([0.5, 0.001, 0.3, 0.9, 1.0]),
    seed=st.integers(0, 1000),
)
def test_pixels_are_on_where_the_sampled_mask_is(
    anchor: Anchor, size: int, height: int, width: int, threshold: float, seed: int
) -> None:
    assert_as_sampled(random_logits(size, seed), anchor, height, width, threshold)


@pytest.mark.parametrize(
    "anchor",
    [
        pytest.param((5.0, 6.0, 25.0, 16.0), id="inside"),
        pytest.param((-7.3, -4.1, 12.2, 9.9), id="over the corner"),
        pytest.param((20.4, 15.1, 60.0, 70.0), id="over the other corner"),
        pytest.param((-900.0, -700.0, 1000.0, 800.0), id="all around the image"),
        pytest.param((-50.0, 3.0, -20.0, 20.0), id="left of it"),
        pytest.param((31.0, 3.0, 60.0, 20.0), id="right of it by a pixel"),
        pytest.param((3.0, 24.5, 20.0, 60.0), id="half a pixel below it"),
        pytest.param((10.2, 10.2, 10.7, 10.7), id="in one pixel, on its centre"),
        pytest.param((10.6, 10.6, 10.9, 10.9), id="in one pixel, beside its centre"),
        pytest.param((3.0, 10.4, 28.0, 10.7), id="a line"),
        pytest.param((-1e6, -1e6, -9e5, -9e5), id="far away"),
    ],
)
@pytest.mark.parametrize("size", [1, 11, 60])
def test_anchors_at_and_over_the_borders(anchor: Anchor, size: int) -> None:
    assert_as_sampled(random_logits(size, seed=size), anchor, height=24, width=30)


def test_a_probability_of_one_half_is_on() -> None:
    assert pasted(torch.zeros(4, 4), (0.0, 0.0, 8.0, 8.0), 8, 8)[2:6, 2:6].all()
    assert not pasted(torch.full((4, 4), -1e-3), (0.0, 0.0, 8.0, 8.0), 8, 8).any()


def test_a_mask_of_high_logits_fills_its_anchor() -> None:
    """No pixel outside is on: at the anchor's edge the interpolation with the zeros outside gives ½."""
    expected = torch.zeros(20, 20, dtype=torch.bool)
    expected[4:12, 6:18] = True
    assert torch.equal(pasted(torch.full((8, 8), 50.0), (6.0, 4.0, 18.0, 12.0), 20, 20), expected)


def test_a_large_image_is_as_exact_as_a_small_one() -> None:
    """A thin strip at the far end, where positions in float32 are coarsest."""
    assert_as_sampled(random_logits(15, seed=3), (19_000.3, 0.4, 19_950.8, 3.1), height=4, width=20_000)


@pytest.mark.parametrize(("height", "width"), [(333, 501), (BLOCK + 5, 3)])
def test_a_mask_of_many_blocks_is_exact(height: int, width: int) -> None:
    assert_as_sampled(random_logits(15, seed=5), (1.3, 0.4, width - 0.2, height - 1.1), height, width)


def test_masks_of_several_sizes_give_the_same_together_as_one_by_one() -> None:
    logits = [random_logits(size, seed=number) for number, size in enumerate((15, 4, 15, 30, 4))]
    logits[2] -= 100  # nothing of it is on
    anchors = np.array([(3.3, 1.0, 20.2, 24.0), (-9, -9, 40, 40), (0, 0, 9, 9), (12, 3, 13, 9.5), (99, 0, 120, 9)])
    together = paste_masks([each.sigmoid().numpy() for each in logits], anchors, 0.5, 24, 30).dense()
    alone = torch.stack([pasted(each, anchor, 24, 30) for each, anchor in zip(logits, anchors, strict=True)])
    np.testing.assert_array_equal(together, alone.numpy())
    assert together.any(axis=(1, 2)).tolist() == [True, True, False, True, False]


def test_an_image_may_have_no_masks() -> None:
    masks = paste_masks([], np.empty((0, 4)), 0.5, 24, 30)
    assert masks.dense().shape == (0, 24, 30)


def test_many_masks_on_a_large_image_take_one_bit_per_pixel_of_their_crops() -> None:
    """100 masks, each as large as a ninth of 2000×3000 pixels: 600 MB as bytes."""
    mask = np.full((60, 60), 0.9, np.float32)
    masks = paste_masks([mask] * 100, np.array([(100.0, 50.0, 1100.0, 717.0)] * 100), 0.5, 2000, 3000)
    assert len(masks) == 100
    assert sum(crop.bits.nbytes for crop in masks) < 9e6
