"""PNG files made chunk by chunk, for tests."""

import struct
import zlib

import numpy as np

START = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of channels


def chunk(name: bytes, content: bytes, crc: int | None = None) -> bytes:
    """A chunk, by default with the right checksum."""
    checksum = zlib.crc32(name + content) if crc is None else crc
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png(values: np.ndarray, *before: bytes, after: bytes = b"") -> bytes:
    """A PNG without filters.

    Args:
        values: uint8 or uint16 (H, W, C).
        before: chunks between the header and the pixels.
        after: chunks between the pixels and the end.
    """
    height, width, channels = values.shape
    bits = values.itemsize * 8
    header = struct.pack(">IIBBBBB", width, height, bits, COLOUR_TYPES[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in values)
    data = chunk(b"IDAT", zlib.compress(rows))
    return START + chunk(b"IHDR", header) + b"".join(before) + data + after + chunk(b"IEND", b"")
