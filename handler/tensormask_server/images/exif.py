"""Reads the orientation of a photograph from its EXIF, and nothing else, however much there is.

Pillow makes a Python object of each value of a tag, and some formats have tens of megabytes of EXIF.
Source: Exif 2.32 (CIPA DC-008), section 4.6; TIFF 6.0, section 2.
"""

import re
import struct

PREFIX = b"Exif\0\0"
STARTS = {b"II*\0": "<", b"MM\0*": ">"}  # to the order of bytes
START = re.compile(b"(?:%s){0,2}(%s)" % (PREFIX, b"|".join(map(re.escape, STARTS))))  # some writers repeat the prefix
LARGEST_EXIF = 1 << 20  # bytes; a preview may be in it
ORIENTATION = 274
SHORT, LONG = 3, 4  # types of values
UPRIGHT, LAST = 1, 8  # the orientations that EXIF defines


def orientation_in(exif: bytes) -> int:
    """The orientation of an image as EXIF numbers it, 1 to 8.

    Args:
        exif: EXIF data with or without its prefix. It may be damaged. Only its first LARGEST_EXIF bytes are read.

    Returns:
        The orientation. 1, which turns nothing: there is none, or it isn't one number from 1 to 8.
    """
    start = START.match(exif)
    if start is None:
        return UPRIGHT
    order = STARTS[start[1]]
    tiff = exif[start.start(1) : LARGEST_EXIF]
    try:
        (offset,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, offset)
    except struct.error:
        return UPRIGHT
    tags = tiff[offset + 2 : offset + 2 + 12 * count]
    for tag, type, values, value in struct.iter_unpack(f"{order}HHI4s", tags[: len(tags) // 12 * 12]):
        if tag == ORIENTATION and values == 1 and type in (SHORT, LONG):
            (orientation,) = struct.unpack(f"{order}H2x" if type == SHORT else f"{order}I", value)
            return int(orientation) if UPRIGHT <= orientation <= LAST else UPRIGHT
    return UPRIGHT


def exif_of(orientation: int) -> bytes:
    """EXIF data, with its prefix, that has an orientation and nothing else: 32 bytes.

    Args:
        orientation: 1 to 8.
    """
    return PREFIX + struct.pack(">4sIHHHIHHI", b"MM\0*", 8, 1, ORIENTATION, SHORT, 1, orientation, 0, 0)
