"""Drops what isn't pixels from a JPEG before Pillow reads it.

Pillow reads the header in Python, byte by byte between the markers. It joins the EXIF of all segments one by one, which
takes minutes for thousands of them.

Source: ITU-T T.81, annex B; T.871 (JFIF), section 10; T.872, section 6.5.3 (Adobe).
"""

import re
import struct

from tensormask_server.images.errors import ImageError
from tensormask_server.images.exif import LARGEST_EXIF, PREFIX, exif_of, orientation_in
from tensormask_server.images.jpeg import END_OF_IMAGE, START_OF_SCAN, segments

EXIF = 0xE1
OTHERS = (*range(0xE0, 0xF0), 0xFE)  # the markers of applications and comments
MOST_JOINED = LARGEST_EXIF >> 16  # segments of up to 64 kB
COLOUR_SPACES = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}  # of these, the ones by which libjpeg knows what the colours are
LARGEST_HEADER = 1 << 18  # bytes; tables have some 3 kB, and a thumbnail in JFIF has up to 64 kB
# Padding, longer than any segment. With each piece of the file that comes, libjpeg reads it again from its start.
LONG_PADDING = b"\xff" * (1 << 17)
ANY_LONG_PADDING = re.compile(rb"(?<!\xff)\xff{%d,}" % len(LONG_PADDING))


def only_pixels(jpeg: bytes) -> bytes:
    """Leaves out the comments, profiles, previews and padding before the first scan of a JPEG.

    Of its EXIF the orientation stays. EXIF of more than 64 kB is in several segments.

    Args:
        jpeg: the file's bytes, which begin with JPEG's signature. The file may be damaged.

    Returns:
        A JPEG with the same pixels and orientation. Its scans, and what follows them, are as they were, without long
        runs of padding.

    Raises:
        ImageError: it has no scan, or far more segments or tables than any writer makes.
    """
    kept: list[bytes] = []
    exif: list[bytes] = []
    scans: bytes | memoryview = b""
    for marker, content, start in segments(jpeg):
        if marker == END_OF_IMAGE:  # libjpeg stops here, and Pillow doesn't
            break
        if marker == START_OF_SCAN:
            scans = _without_long_padding(jpeg, start)
            break
        if marker == EXIF and content.startswith(PREFIX):
            if len(exif) < MOST_JOINED:
                exif.append(content if not exif else content.removeprefix(PREFIX))
        elif marker not in OTHERS or content.startswith(COLOUR_SPACES.get(marker, ())):
            kept.append(_segment(marker, content))
    if not scans:
        raise ImageError("the image is a JPEG without pixels: it is damaged, or cut off")
    if sum(map(len, kept)) > LARGEST_HEADER:
        raise ImageError(
            f"the image is a JPEG with more than {LARGEST_HEADER} bytes of tables", "one of some kilobytes"
        )
    orientation = orientation_in(b"".join(exif))
    if orientation != 1:
        kept.append(_segment(EXIF, exif_of(orientation)))
    return b"".join([jpeg[:2], *kept, scans])


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


def _without_long_padding(jpeg: bytes, start: int) -> bytes | memoryview:
    """The rest of a file."""
    rest = memoryview(jpeg)[start:]
    return rest if jpeg.find(LONG_PADDING, start) < 0 else ANY_LONG_PADDING.sub(b"\xff", rest)
