"""Writes PNG files. Needs NumPy only; the caller brings the compression."""

import struct
import zlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np

STRIP = 1 << 20  # bytes of rows that are compressed at a time
UP = 2  # the filter of each row: differences to the row above
# from the number of channels to the colour type
COLOUR_TYPES = {1: 0, 3: 2, 4: 6}


class Compressor(Protocol):
    """A zlib stream, such as `zlib.compressobj` makes."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def png_file(pixels: np.ndarray, compressor: Compressor) -> bytes:
    """Encodes a PNG.

    Args:
        pixels: with at least one pixel: uint8 (H, W, 3), RGB; uint8 (H, W, 4), RGB and alpha; or uint16 (H, W), grey.
        compressor: an unused one.

    Returns:
        The file's bytes.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, COLOUR_TYPES[channels], 0, 0, 0)
    data = b"".join([*(compressor.compress(strip) for strip in _filtered(pixels)), compressor.flush()])
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
        for name, data in chunks
    )


def _filtered(pixels: np.ndarray) -> Iterator[bytes]:
    """The bytes of the rows, each with its filter before it, in strips."""
    height, row_bytes = len(pixels), pixels[0].nbytes
    step = max(STRIP // row_bytes, 1)
    above = np.zeros((1, row_bytes), np.uint8)
    for first in range(0, height, step):
        part = pixels[first : first + step]
        big_endian = np.ascontiguousarray(part, part.dtype.newbyteorder(">"))
        rows = np.concatenate([above, big_endian.view(np.uint8).reshape(len(part), row_bytes)])
        filtered = np.full((len(part), 1 + row_bytes), UP, np.uint8)
        np.subtract(rows[1:], rows[:-1], out=filtered[:, 1:])
        yield filtered.tobytes()
        above = rows[-1:]
