"""JPEGs that end without their last marker, as cameras leave them when they are switched off.

libjpeg and OpenCV read such a file and leave grey what is missing. Here a file is read if little is missing. A file
that was cut far before its end is an error. Source: ITU-T T.81, annex B (markers), section G.1 (progressive scans).
"""

import io
import random
import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from PIL import Image, ImageChops

from tensormask_server.images.errors import ImageError

END = b"\xff\xd9"
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
# A marker with a length after it. In compressed data, FF stands only before 0 and restart markers. Behind the reserved
# markers 02 to BF libjpeg goes on at once, so a length there would hide what it reads.
MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # the markers of the frames that libjpeg decodes
# Each scan decodes the whole image, so a file of a few MB can take hours. Cameras and editors write 1 to 20 scans.
MOST_SCANS = 100
MOST_SEGMENTS = 20_000  # of up to 64 kB each
COEFFICIENTS = 64  # of a block
MOST_COMPONENTS = 4  # of a scan, and of the images that libjpeg converts to RGB
SCAN_LENGTHS = [4 + 2 * components for components in range(1, MOST_COMPONENTS + 1)]  # of a scan's segment
MOST_MISSING = 0.25  # of the rows
# Stands for missing data: pixels that depend on it differ from those of a file that just ends. The first byte is 0,
# because the file may end between an FF and its 0. Any of the restart markers may be the next one.
PIECE = random.Random(0).randbytes(1024).replace(b"\xff", b"\x7f")
JUNK = b"\0" + PIECE + b"".join(b"\xff" + bytes([0xD0 + number]) + PIECE for number in range(8))


class Segment(NamedTuple):
    """A marker of a JPEG, and what belongs to it."""

    marker: int  # its second byte
    content: bytes  # behind the marker and the length
    start: int  # of the marker in the file


def segments(jpeg: bytes) -> Iterator[Segment]:
    """The markers of a JPEG up to the end of the image, without restart markers.

    Args:
        jpeg: the file's bytes.

    Yields:
        A marker with its segment. The last marker is END_OF_IMAGE if the file has it.

    Raises:
        ImageError: there are far more segments than any writer makes.
    """
    position = 2
    for _ in range(MOST_SEGMENTS):
        marker = MARKER.search(jpeg, position)
        if marker is None:
            return
        length = int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
        yield Segment(marker[1][0], jpeg[marker.end() + 2 : marker.end() + length], marker.start())
        if marker[1][0] == END_OF_IMAGE:
            return
        position = marker.end() + length
    raise ImageError(f"the image is a JPEG of more than {MOST_SEGMENTS} segments", "a JPEG that an image editor wrote")


def check_scans(jpeg: bytes, name: str) -> None:
    """Checks that decoding a JPEG takes about as much time as its size needs.

    Args:
        jpeg: the file's bytes.
        name: of the image, for error messages.

    Raises:
        ImageError: it has more than MOST_SCANS scans.
    """
    scans = (segment for segment in segments(jpeg) if segment.marker == START_OF_SCAN)
    if next(islice(scans, MOST_SCANS, None), None) is not None:
        raise ImageError(f"{name} is a progressive JPEG with more than {MOST_SCANS} scans")


def lacks_end(jpeg: bytes) -> bool:
    """Whether a JPEG has the beginning of its last scan, and no marker of its end.

    Args:
        jpeg: the file's bytes. It may be damaged.

    Raises:
        ImageError: as `segments`.
    """
    to_come: set[tuple[int, int]] | None = None  # each component's coefficients of which a scan hasn't begun
    for marker, content, _ in segments(jpeg):
        if marker == END_OF_IMAGE:
            return False
        if marker in FRAMES and to_come is None:
            components = content[6 : 6 + 3 * MOST_COMPONENTS : 3]
            to_come = {(component, k) for component in components for k in range(COEFFICIENTS)}
        if marker == START_OF_SCAN and to_come and len(content) in SCAN_LENGTHS:
            first, last, bits = content[-3:]
            if bits & 15 == 0:  # the scan has their last bit
                to_come -= {(component, k) for component in content[1:-3:2] for k in range(first, last + 1)}
    return to_come is not None and not to_come


def note_on_missing(jpeg: bytes, name: str) -> str:
    """Says how much of a JPEG without its end is missing.

    Args:
        jpeg: the file's bytes, with END added.
        name: of the image, for error messages.

    Returns:
        A note for the response.

    Raises:
        ImageError: more than MOST_MISSING of its rows are missing.
    """
    with Image.open(io.BytesIO(jpeg)) as image, Image.open(io.BytesIO(jpeg[:-2] + JUNK + END)) as other:
        difference = ImageChops.difference(image, other).getbbox()
        height = image.height
    if difference is None:
        return "the JPEG has no end-of-image marker; its pixels are complete"
    missing = height - difference[1]
    if missing > MOST_MISSING * height:
        raise ImageError(f"can't read {name}: the JPEG is cut off, and {missing} of its {height} rows are missing")
    return f"the JPEG is cut off: of its last {missing} rows of {height}, what is missing is grey"
