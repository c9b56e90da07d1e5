"""Encodes pixels as a PNG file."""

import io

import numpy as np
from PIL import Image

PNG_LEVEL = 3  # of zlib: twice as fast as Pillow's own 6, and the file is a little larger


def png_of(pixels: np.ndarray) -> bytes:
    """Encodes a PNG.

    Args:
        pixels: uint8 (H, W, 3), RGB, or uint16 (H, W).
    """
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=PNG_LEVEL)
    return content.getvalue()
