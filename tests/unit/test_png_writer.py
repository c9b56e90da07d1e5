"""PNG files, read by Pillow."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal import isal_zlib
from PIL import Image
from tensormask_server.png_writer import png_file

SIDES = st.integers(1, 40)


@given(SIDES, SIDES, st.sampled_from([(np.uint8, (3,)), (np.uint8, (4,)), (np.uint16, ())]), st.booleans())
def test_pillow_reads_the_same_pixels(height: int, width: int, kind: tuple[type, tuple[int, ...]], fast: bool) -> None:
    dtype, channels = kind
    pixels = np.random.default_rng(height).integers(0, np.iinfo(dtype).max + 1, (height, width, *channels), dtype)
    content = png_file(pixels, isal_zlib.compressobj(1) if fast else zlib.compressobj(1))
    image = Image.open(io.BytesIO(content))
    image.load()
    np.testing.assert_array_equal(np.array(image), pixels)


@pytest.mark.parametrize("size", [(3000, 700), (2, 600_000)])  # of several strips; a row is longer than a strip
def test_large_images_are_compressed_in_strips(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)[::-1, ::-1]  # not contiguous
    image = Image.open(io.BytesIO(png_file(pixels, zlib.compressobj(0))))
    np.testing.assert_array_equal(np.array(image), pixels)
