"""Our run lengths are the same as pycocotools', character by character."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as rle
from tensormask_server.prediction.image_masks import MaskCrop
from tensormask_server.responses.run_lengths import encode_mask

masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def assert_same(mask: np.ndarray) -> None:
    expected = rle.encode(np.asfortranarray(mask).view(np.uint8))
    assert encode_mask(MaskCrop.of_mask(mask), *mask.shape) == {
        "size": expected["size"],
        "counts": expected["counts"].decode(),
    }


@given(mask=masks)
def test_a_mask_has_pycocotools_run_lengths(mask: np.ndarray) -> None:
    assert_same(mask)


@pytest.mark.parametrize("value", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (480, 640), (2000, 30)])
def test_masks_that_are_all_off_or_all_on(shape: tuple[int, int], value: bool) -> None:
    assert_same(np.full(shape, value))


def test_discs_that_leave_the_image() -> None:
    y, x = np.mgrid[:200, :300]
    for centre_y, centre_x in ((0, 0), (100, 150), (199, 299), (90, 310), (-20, 40)):
        assert_same((y - centre_y) ** 2 + (x - centre_x) ** 2 < 90**2)
