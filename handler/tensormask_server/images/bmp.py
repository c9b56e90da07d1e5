"""Drops what follows the pixels of a BMP in run lengths. Pillow goes through all of it in Python, code by code.

Source: Microsoft's documentation of BITMAPINFOHEADER, and "Bitmap Compression".
"""

import struct

RUN_LENGTHS = (1, 2)  # compressions: of 8 and of 4 bits
LARGEST_PALETTE = 4 << 16  # bytes that Pillow accepts
MOST_OF_A_PIXEL = 4  # bytes: a jump to the next pixel; also those of the end of a row, and of the image


def only_pixels(bmp: bytes) -> bytes:
    """Leaves out what a BMP in run lengths has beyond the longest code of its size.

    Args:
        bmp: the file's bytes, which begin with BM. The file may be damaged.

    Returns:
        A BMP with the same pixels.
    """
    if len(bmp) < 34:
        return bmp
    pixels_at, _, width, height, _, _, compression = struct.unpack_from("<IIIiHHI", bmp, 10)
    if compression not in RUN_LENGTHS:
        return bmp
    return bmp[: pixels_at + LARGEST_PALETTE + MOST_OF_A_PIXEL * (width + 2) * abs(height)]
