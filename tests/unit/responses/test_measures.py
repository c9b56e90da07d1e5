"""Measures of masks against scikit-image's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import regionprops
from tensormask_server.prediction.image_masks import MaskCrop
from tensormask_server.responses.measures import measures_of

from tests.unit.responses.examples import KINDS, loose_crop, random_mask

SEEDS = st.integers(0, 10_000)


@given(st.sampled_from([kind for kind in KINDS if kind != "empty"]), SEEDS, SEEDS)
def test_they_are_those_of_regionprops(kind: str, seed: int, crop_seed: int) -> None:
    mask = random_mask(kind, seed)
    if not mask.any():
        return
    crop = loose_crop(mask, crop_seed)
    measures = measures_of(crop)
    [expected] = regionprops(mask.astype(np.uint8))
    assert measures.area == crop.area == expected.area
    assert measures.perimeter == pytest.approx(expected.perimeter)
    assert (measures.centroid_y, measures.centroid_x) == pytest.approx(expected.centroid)
    assert measures.equivalent_diameter == pytest.approx(expected.equivalent_diameter_area)
    if expected.axis_major_length > 1.001 * expected.axis_minor_length:  # otherwise no axis is longer
        turned = (measures.orientation - expected.orientation) % math.pi  # half a turn is none
        assert min(turned, math.pi - turned) == pytest.approx(0, abs=1e-4)


def test_a_mask_without_pixels_has_no_place() -> None:
    measures = measures_of(MaskCrop.of_mask(np.zeros((4, 6), bool)))
    assert (measures.area, measures.perimeter, measures.equivalent_diameter) == (0, 0, 0)
    assert all(math.isnan(value) for value in (measures.centroid_x, measures.centroid_y, measures.orientation))


def test_large_sums_are_exact() -> None:
    """A line of 1×30,000 pixels at an angle of 0, and its sums of squares of 10¹³."""
    line = MaskCrop.of_columns(5, 7, np.ones((1, 30_000), bool))
    measures = measures_of(line)
    assert (measures.area, measures.centroid_x, measures.centroid_y) == (30_000, 7, 5 + 29_999 / 2)
    assert measures.orientation == 0
