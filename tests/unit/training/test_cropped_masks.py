"""Masks by their boxes, against masks of whole images."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training.cropped_masks import resized_mask


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), flip=st.booleans())
def test_a_resized_mask_is_that_of_the_whole_image(seed: int, flip: bool) -> None:
    """But where a pixel is covered by half, within rounding to 8 bits along each axis."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2)
    mask = np.zeros((height, width), np.uint8)
    top, left = rng.integers(0, height), rng.integers(0, width)
    mask[top : top + rng.integers(0, height + 1), left : left + rng.integers(0, width + 1)] = 1
    mask &= rng.random(mask.shape) < rng.choice([0.3, 1.0])
    new_height, new_width = (height, width) if rng.random() < 0.2 else rng.integers(1, 150, 2)
    resized = resized_mask(mask, new_height, new_width)
    whole = mask * 255
    if (new_height, new_width) != (height, width):
        size = int(new_width), int(new_height)
        whole = np.asarray(Image.fromarray(whole).resize(size, Image.Resampling.BILINEAR))
    if flip:
        resized, whole = resized.flipped(new_width), whole[:, ::-1]
    bits = np.unpackbits(resized.bits(new_height + 3, new_width + 5), axis=1) > 0
    on = bits[:new_height, :new_width]
    assert not (bits[new_height:].any() or bits[:, new_width:].any())
    assert (on == (whole >= 128))[np.abs(whole.astype(int) - 127.5) > 2].all()
    x0, y0, x1, y1 = resized.box
    assert on[y0:y1, x0:x1].sum() == on.sum()
    if on.any():
        assert all(edge.any() for edge in (on[y0], on[y1 - 1], on[:, x0], on[:, x1 - 1]))
    else:
        assert not resized.pixels.size
