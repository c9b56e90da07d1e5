"""A BMP in run lengths is read as before, and what follows its pixels isn't."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from tensormask_server.images.bmp import only_pixels
from tensormask_server.images.encoded import read_image

PALETTE = np.arange(1024, dtype=np.uint8).tobytes()


def run_lengths(codes: bytes, side: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(header + PALETTE)) + header + PALETTE + codes


@pytest.mark.parametrize("side", [1, 2, 7, 300])
def test_the_longest_codes_of_an_image_are_read(side: int) -> None:
    """Each pixel but the last one of a row is passed by a jump of four bytes."""
    row = b"\0\2\1\0" * (side - 1) + b"\1\7" + b"\0\0"
    content = run_lengths(row * side + b"\0\1", side)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(read_image(io.BytesIO(content)), expected)
    np.testing.assert_array_equal(read_image(io.BytesIO(content + bytes(2_000_000))), expected)
    assert len(only_pixels(content + bytes(2_000_000))) < 1_000_000


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_other_files_stay_as_they_are(mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (5, 3)).save(file, "BMP")
    content = file.getvalue() + bytes(2_000_000)
    assert only_pixels(content) == content
