"""Simplified polygons: the same masks but for a few pixels, small masks included, with outlines that cross nothing."""

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_fill_holes
from tensormask_server.responses.polygons import labelme_file

from tests.unit.responses.examples import KINDS, even_odd, random_mask, result_of, shapes

SEEDS = st.integers(0, 10_000)
TOLERANCES = (0.0, 0.1, 0.3, 0.5, 1.0, 3.0, 20.0)


def without_holes(mask: np.ndarray) -> np.ndarray:
    """The mask with its holes filled. A hole ends where only corners of pixels touch."""
    filled: np.ndarray = binary_fill_holes(mask, np.ones((3, 3)))
    return filled


def drawn(content: dict[str, Any]) -> np.ndarray:
    """bool (H, W): the union of all polygons."""
    size = content["imageHeight"], content["imageWidth"]
    polygons = [even_odd(np.array(shape["points"]), size) for shape in content["shapes"]]
    return np.logical_or.reduce([np.zeros(size, bool), *polygons])


def disc(radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius - 1 : radius + 2, -radius - 1 : radius + 2]
    mask: np.ndarray = y**2 + x**2 <= radius**2
    return mask


@given(st.sampled_from(KINDS), SEEDS, st.sampled_from(TOLERANCES), st.sampled_from(["fill", "keep"]))
def test_polygons_are_the_mask_but_for_the_share_of_pixels_that_the_tolerance_allows(
    kind: str, seed: int, tolerance: float, holes: str
) -> None:
    mask = random_mask(kind, seed)
    found = drawn(labelme_file(result_of(mask, seed, tolerance=tolerance, holes=holes)))
    expected = mask if holes == "keep" else without_holes(mask)
    differing, together = (found ^ expected).sum(), (found | expected).sum()
    assert differing <= tolerance / 50 * together


@given(st.sampled_from(KINDS), SEEDS, st.sampled_from(TOLERANCES))
def test_no_outline_crosses_itself(kind: str, seed: int, tolerance: float) -> None:
    content = labelme_file(result_of(random_mask(kind, seed), seed, tolerance=tolerance))
    polygons = [shapely.Polygon(shape["points"]) for shape in content["shapes"]]
    assert all(polygon.is_valid and polygon.area > 0 for polygon in polygons)


@pytest.mark.parametrize("pixels", range(1, 12))
def test_small_masks_lose_nothing_by_default(pixels: int) -> None:
    for row_length in range(1, pixels + 1):
        mask = np.zeros((15, 15), bool)
        mask[2:14, 2 : 2 + row_length].flat[:pixels] = True
        np.testing.assert_array_equal(drawn(labelme_file(result_of(mask))), mask)


@pytest.mark.parametrize("radius", [5, 20, 100, 400])
def test_a_disc_has_far_fewer_points(radius: int) -> None:
    [exact] = labelme_file(result_of(disc(radius), tolerance=0))["shapes"]
    content = labelme_file(result_of(disc(radius)))
    [simple] = content["shapes"]
    assert len(simple["points"]) < len(exact["points"]) or radius < 10
    assert radius < 100 or len(simple["points"]) < 1.5 * radius  # an exact one has more than eight a pixel of radius
    assert (drawn(content) & disc(radius)).sum() / (drawn(content) | disc(radius)).sum() > 0.99


@pytest.mark.parametrize("side", [1, 2, 5])
def test_a_small_hole_is_kept_and_costs_its_mask_few_points(side: int) -> None:
    mask = disc(200)
    mask[200 : 200 + side, 150 : 150 + side] = False
    content = labelme_file(result_of(mask, holes="keep"))
    [kept], [filled] = content["shapes"], labelme_file(result_of(mask))["shapes"]
    assert not drawn(content)[200 : 200 + side, 150 : 150 + side].any()
    assert len(kept["points"]) < len(filled["points"]) + 20


def test_holes_that_are_kept_are_left_out_by_tools_that_make_geometry_of_polygons() -> None:
    """GEOS, by the even-odd rule."""
    mask = random_mask("ring", 3)
    content = labelme_file(result_of(mask, tolerance=0, holes="keep"))
    areas = [shapely.make_valid(shapely.Polygon(shape["points"])).area for shape in content["shapes"]]
    corners = 0.125 * 50  # of pixels, which outlines cut off or round off
    assert sum(areas) == pytest.approx(mask.sum(), abs=corners)
    assert not np.array_equal(mask, without_holes(mask))


def test_the_image_can_be_left_out_and_is_named() -> None:
    content = labelme_file(shapes(image_data="none", file_name="one.jpg"))
    assert (content["imagePath"], content["imageData"]) == ("one.jpg", None)
    assert labelme_file(shapes(file_name="one.jpg"))["imageData"] == labelme_file(shapes())["imageData"]
    assert labelme_file(shapes())["imagePath"] == "image.png"
