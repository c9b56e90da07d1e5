"""Convolutions around chosen cells alone give what they give everywhere, and look at fewer cells."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensormask_server import PredictionOptions
from tensormask_server.network import head
from tensormask_server.network.regions import REGION_COST, Region, grouped, run_on_regions
from tensormask_server.network.strategies import Everywhere
from torch import Tensor, nn

from tests.unit.small_network import assert_alike, noise, small_predictor


def area(region: Region, reach: int, height: int, width: int) -> int:
    top, left, bottom, right = region.grown(reach, height, width)
    return (bottom - top) * (right - left)


@st.composite
def boxes_on_a_map(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    boxes = []
    for _ in range(draw(st.integers(0, 30))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        boxes.append((top, left, draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))))
    return np.array(boxes, np.int64).reshape(-1, 4), height, width


@settings(max_examples=200)
@given(on_map=boxes_on_a_map(), reach=st.integers(0, 9))
def test_each_box_is_in_its_groups_region_on_the_map(on_map: tuple[np.ndarray, int, int], reach: int) -> None:
    boxes, height, width = on_map
    groups = grouped(boxes, reach, height, width)
    assert sorted(i for _, indices in groups for i in indices.tolist()) == list(range(len(boxes)))
    for region, indices in groups:
        assert 0 <= region.top < region.bottom <= height
        assert 0 <= region.left < region.right <= width
        assert (boxes[indices, :2] >= (region.top, region.left)).all()
        assert (boxes[indices, 2:] <= (region.bottom, region.right)).all()
    if groups:
        cost = sum(area(region, reach, height, width) + REGION_COST for region, _ in groups)
        assert cost <= height * width + REGION_COST


def test_far_corners_are_two_groups_and_neighbours_are_one() -> None:
    corners = np.array([(0, 0, 1, 1), (199, 199, 200, 200), (2, 1, 3, 2)])
    assert sorted(sorted(indices.tolist()) for _, indices in grouped(corners, 5, 200, 200)) == [[0, 2], [1]]


@settings(max_examples=30, deadline=None)
@given(on_map=boxes_on_a_map(), layers=st.integers(1, 4))
@torch.no_grad()
def test_a_tower_in_regions_is_the_tower_everywhere(on_map: tuple[np.ndarray, int, int], layers: int) -> None:
    """At the map's borders, where the padding counts, as well as inside."""
    boxes, height, width = on_map
    torch.manual_seed(0)
    tower = nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(layers)])
    feature = torch.randn(2, 3, height, width)
    everywhere = tower(feature)
    regions = [region for region, _ in grouped(boxes, layers, height, width)]
    there = run_on_regions(tower, feature, regions, layers)
    for region in regions:
        torch.testing.assert_close(region.of(there), region.of(everywhere))


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.75])
def test_what_is_found_is_the_same_around_the_detections_as_everywhere(
    aligned: bool, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[float] = []

    def counted(layers: nn.Module, feature: Tensor, regions: list[Region], reach: int) -> Tensor:
        height, width = feature.shape[-2:]
        computed.append(sum(area(region, reach, height, width) for region in regions) / (height * width))
        return run_on_regions(layers, feature, regions, reach)

    monkeypatch.setattr(head, "run_on_regions", counted)
    predictor = small_predictor({"INPUT.MIN_SIZE_TEST": 0, "MODEL.TENSOR_MASK.BIPYRAMID_ON": aligned})
    images, options = [noise(500, 640), noise(300, 700, seed=1)], PredictionOptions(threshold, max_detections=12)
    found = predictor(images, options)
    assert min(computed) < 0.5
    predictor.network.strategy = Everywhere()
    for here, everywhere in zip(found, predictor(images, options), strict=True):
        assert len(here) > 0
        assert_alike(here, everywhere)
