"""Masks are stored as the rectangle around them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tensormask_server.prediction.image_masks import ImageMasks, MaskCrop


@given(mask=arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_cropping_keeps_a_mask(mask: np.ndarray) -> None:
    crop = MaskCrop.of_mask(mask)
    height, width = mask.shape
    np.testing.assert_array_equal(ImageMasks(height, width, [crop]).dense_mask(0), mask)
    assert crop.height * crop.width <= mask.size
