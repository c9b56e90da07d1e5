"""Checks that decoding an image file takes about as much time and memory as its size needs."""

import re

from PIL import Image

from tensormask_server.images.errors import ImageError

# A whole tile of a TIFF is decoded even for a small image. Usual tiles have 256×256 to 1024×1024 pixels.
LARGEST_TILE = 1 << 22
# Each scan decodes the whole image, so a file of a few MB can take hours. Cameras and editors write 1 to 20 scans.
MOST_SCANS = 100
TILE_WIDTH, TILE_LENGTH = 322, 323  # TIFF's tags
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
# a JPEG marker with a length after it; in compressed data, FF stands only before 0 and restart markers
JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")


def check_work(image: Image.Image, content: bytes, name: str) -> None:
    """Checks that decoding takes about as much time and memory as the image's size needs.

    Args:
        image: opened, not decoded.
        content: the file's bytes.
        name: of the image, for error messages.

    Raises:
        ImageError: it takes far more.
    """
    width, height = image.size
    if image.format == "TIFF":
        tags = image.getexif()
        tile = (int(tags.get(TILE_LENGTH, 1)), int(tags.get(TILE_WIDTH, 1)))
        if tile[0] * tile[1] > max(LARGEST_TILE, height * width):
            raise ImageError(f"{name}, {height}×{width} pixels, is a TIFF with tiles of {tile[0]}×{tile[1]} pixels")
    if image.format in ("JPEG", "MPO") and _has_too_many_scans(content):
        raise ImageError(f"{name} is a progressive JPEG with more than {MOST_SCANS} scans")


def _has_too_many_scans(jpeg: bytes) -> bool:
    position, scans = 2, 0
    while scans <= MOST_SCANS:
        marker = JPEG_MARKER.search(jpeg, position)
        if marker is None or marker[1][0] == END_OF_IMAGE:
            return False
        scans += marker[1][0] == START_OF_SCAN
        position = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return True
