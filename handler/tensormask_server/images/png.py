"""Drops what isn't pixels from a PNG before Pillow reads it.

Pillow refuses a PNG whose profile or text is large, or in which a checksum or EXIF is wrong. Browsers and libpng ignore
these parts. Source: the PNG specification, third edition, sections 5.3 (chunks) and 11.
"""

import re
import struct
import zlib

from tensormask_server.images.errors import ImageError
from tensormask_server.images.exif import LARGEST_EXIF, STARTS
from tensormask_server.images.signatures import SIGNATURES

(START,) = SIGNATURES["PNG"]
CRITICAL = re.compile(rb"[A-Z][A-Za-z]{3}")  # a capital first letter: a decoder has to know these
HELPFUL = (b"tRNS", b"eXIf")  # of the other chunks, those that change what a person sees: transparency, orientation
COLOUR_TYPE = 25  # its place in the file
TRNS_LENGTHS = {b"\0": (2,), b"\2": (6,), b"\3": range(1, 257)}  # bytes by colour type: grey, RGB, palette
MOST_CHUNKS = 100_000  # writers put 4 kB or more in a chunk, and each chunk takes time


def only_pixels(png: bytes) -> bytes:
    """Leaves out the chunks of a PNG that a decoder may ignore, without reading them.

    A valid tRNS or eXIf chunk stays. Of an animation, the still image stays, which is the first frame as a rule.

    Args:
        png: the file's bytes, which begin with PNG's signature. The file may be damaged.

    Returns:
        A PNG with the same pixels and orientation. The chunks that hold pixels are as they were, with their damage.

    Raises:
        ImageError: the file has far more chunks than any writer makes.
    """
    view = memoryview(png)
    kept = [view[: len(START)]]
    position = len(START)
    for _ in range(MOST_CHUNKS):
        length, name = struct.unpack(">I4s", png[position : position + 8].ljust(8, b"\0"))
        chunk = view[position : position + 12 + length]
        if CRITICAL.fullmatch(name) or (name in HELPFUL and _is_valid(chunk, png[COLOUR_TYPE : COLOUR_TYPE + 1])):
            kept.append(chunk)
        position += 12 + length
        if name == b"IEND" or position >= len(png):
            return png if sum(map(len, kept)) == len(png) else b"".join(kept)
    raise ImageError(f"the image is a PNG of more than {MOST_CHUNKS} chunks", "a PNG that an image editor wrote")


def _is_valid(chunk: memoryview, colour_type: bytes) -> bool:
    """Whether a tRNS or eXIf chunk isn't huge, has the right checksum, and has content that fits the image."""
    if len(chunk) > LARGEST_EXIF or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
        return False
    name, content = bytes(chunk[4:8]), bytes(chunk[8:-4])
    if name == b"eXIf":
        return content.startswith(tuple(STARTS))
    return len(content) in TRNS_LENGTHS.get(colour_type, ())
