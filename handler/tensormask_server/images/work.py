"""Checks that decoding an image file takes about as much time and memory as its size needs."""

from PIL import Image

from tensormask_server.images.errors import ImageError
from tensormask_server.images.jpeg import MOST_SCANS, has_too_many_scans

# A whole tile of a TIFF is decoded even for a small image. Usual tiles have 256×256 to 1024×1024 pixels.
LARGEST_TILE = 1 << 22
TILE_WIDTH, TILE_LENGTH = 322, 323  # TIFF's tags


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
    if image.format in ("JPEG", "MPO") and has_too_many_scans(content):
        raise ImageError(f"{name} is a progressive JPEG with more than {MOST_SCANS} scans")
