"""Opens files of images that are too large for one array: JPEG, PNG, and TIFF by its blocks."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin

from tensormask_server.images.errors import ImageError, image_errors
from tensormask_server.images.jpeg import START_OF_SCAN, segments
from tensormask_server.images.large import LargeImage
from tensormask_server.images.options import ImageOptions
from tensormask_server.images.pixels import orientation_of, turned_rgb
from tensormask_server.images.signatures import SIGNATURES
from tensormask_server.images.sixteen_bits import png_unpacker
from tensormask_server.images.tiff import TiffImage
from tensormask_server.images.tiff_blocks import Region

# Pillow's classes; they open an image of any size, and `Image.open` refuses those above 179 million pixels
PLUGINS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
}
# orientations in which the stored columns are upright rows, and in which stored columns or rows run backwards
TURNED_BY_A_QUARTER = (5, 6, 7, 8)
REVERSED_COLUMNS = (2, 3, 7, 8)
REVERSED_ROWS = (3, 4, 6, 7)
EXPECTED = "a JPEG, a PNG of 8 bits, or a TIFF of 8 bits in tiles: gdal_translate -ot Byte -co TILED=YES in.tif out.tif"


def header_of_any_size(content: bytes) -> ImageFile.ImageFile | None:
    """Opens a JPEG or PNG of any size without decoding it; None: it is neither.

    Args:
        content: the file's bytes.
    """
    for kind, plugin in PLUGINS.items():
        if content.startswith(SIGNATURES[kind]):
            return plugin(io.BytesIO(content))
    return None


def large_tiff(image: TiffImage, options: ImageOptions, name: str) -> LargeImage:
    """Opens a TIFF, of which each part is decoded when it is read.

    Args:
        options: of the image.
        name: of the image, for error messages.

    Raises:
        ImageError: its parts can't be read one by one, or its first block is damaged.
    """
    if not image.is_read_by_region:
        raise ImageError("the TIFF is large, and its parts can't be read one by one", EXPECTED)

    def read_region(top: int, left: int, height: int, width: int) -> np.ndarray:
        with image_errors(name):
            return image.region(Region(top, left, height, width), options)

    return LargeImage(image.height, image.width, read_region, image.notes(options))


def large_file(content: bytes, name: str) -> LargeImage:
    """Decodes a JPEG or PNG once, into Pillow's 1 or 4 bytes a pixel. A part is converted when it is read.

    Args:
        content: the file's bytes.
        name: of the image, for error messages.

    Raises:
        ImageError: the image is damaged, or of a kind that takes several times the memory.
    """
    image = header_of_any_size(content)
    if image is None:
        raise ImageError(f"{name} is large, and of a kind that is only read as a whole", EXPECTED)
    scans = sum(segment.marker == START_OF_SCAN for segment in segments(content)) if image.format == "JPEG" else 1
    if scans > 1:  # libjpeg keeps the coefficients of all scans, up to 6 bytes a pixel
        raise ImageError(
            f"{name} is a large progressive JPEG", "a JPEG of one scan: jpegtran -optimize in.jpg > out.jpg"
        )
    if image.mode == "F" or image.mode.startswith("I") or png_unpacker(image).endswith(";16B"):
        raise ImageError(f"{name} is large, and has more than 8 bits a channel", EXPECTED)
    image.load()
    return _turned(image, orientation_of(image), name)


def _turned(image: Image.Image, orientation: int, name: str) -> LargeImage:
    """A loaded image of 8 bits a channel, which is turned part by part.

    Args:
        orientation: as EXIF numbers it.
        name: of the image, for error messages.
    """
    height, width = image.height, image.width  # as stored
    if orientation in TURNED_BY_A_QUARTER:
        height, width = width, height

    def read_region(top: int, left: int, h: int, w: int) -> np.ndarray:
        x, y, across, down = left, top, w, h  # in stored pixels
        if orientation in TURNED_BY_A_QUARTER:
            x, y, across, down = top, left, h, w
        if orientation in REVERSED_COLUMNS:
            x = image.width - x - across
        if orientation in REVERSED_ROWS:
            y = image.height - y - down
        with image_errors(name):  # Pillow warns of large parts, too
            return turned_rgb(image.crop((x, y, x + across, y + down)), orientation)

    return LargeImage(height, width, read_region)
