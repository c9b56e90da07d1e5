"""Reads AVIF with Pillow, and HEIC with pi-heif where it is installed. Sizes are checked before anything is decoded."""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from tensormask_server.extras import missing_extra
from tensormask_server.images.av1_sizes import CodedFrames, coded_frames
from tensormask_server.images.errors import ImageError
from tensormask_server.images.heif_boxes import Item, items, without_metadata, without_movie
from tensormask_server.images.options import DEFAULT_IMAGE_OPTIONS
from tensormask_server.images.pixels import turned_rgb, upright_rgb

AV1, HEVC = "av01", "hvc1"
TONE_MAP = "tmap"  # an image of high dynamic range, made of a grid and a gain map; decoders leave it out
SMALL_IMAGE = 1 << 22  # pixels that a decoder may take for any file
ROUNDING = 4  # from a frame's size to the largest of as many bits: up to 2 in each direction
MOST_LAYERS = 8  # of as many pixels as the image: colours, transparency, a gain map, a depth map, and their rounding
MOST_FRAMES = 16  # of one item; an image in layers has up to 4
MOST_UNITS = 20_000  # of all items together; each has a few
WITHOUT_DECODER = (
    "a JPEG or PNG (heif-convert photo.heic photo.jpg), or on the server: "
    "pip install 'tensormask-segmentation-server[heic]'"
)


class HeifImage:
    """An AVIF or HEIC. Only its boxes are read at first, so that the size is known before the image is decoded.

    Its boxes irot and imir say how it is turned and mirrored. Its EXIF turns nothing.
    """

    def __init__(self, content: bytes):
        """
        Args:
            content: a file for which `signatures.is_heif` holds.

        Raises:
            ImageError: the file is damaged, nothing here decodes it, or decoding it takes far more time or memory than
                its size needs.
        """
        found = items(content)
        types = {item.type for item in found.values()}
        content = without_metadata(content)
        if HEVC in types:
            heic = _opened_heic(content)
            self.width, self.height = heic.size
            self._decode = partial(_decoded_heic, heic)
        elif AV1 in types:
            opened = partial(_opened_avif, without_movie(content))
            with opened() as image:
                self.width, self.height = image.size
            self._decode = partial(_decoded_avif, opened)
        else:
            raise ImageError("the image is HEIF in a codec that isn't read", "AVIF, HEIC, JPEG or PNG")
        _check_work(found, self.height * self.width)

    def decoded(self) -> np.ndarray:
        """Decodes the image. Transparent pixels are white.

        Returns:
            uint8 (H, W, 3), RGB.

        Raises:
            ImageError: the image is damaged.
        """
        return self._decode()


@contextmanager
def _opened_avif(content: bytes) -> Iterator[ImageFile.ImageFile]:
    with Image.open(io.BytesIO(content), formats=("AVIF",)) as image:
        yield image


def _decoded_avif(opened: Callable[[], AbstractContextManager[ImageFile.ImageFile]]) -> np.ndarray:
    # Pillow makes an orientation in EXIF of irot and imir
    return upright_rgb(opened, DEFAULT_IMAGE_OPTIONS)[0]


def _opened_heic(content: bytes) -> Any:
    if missing_extra("heic"):
        raise ImageError("the image is HEIC, and pi-heif isn't installed on the server", WITHOUT_DECODER)
    import pi_heif

    # the other images of a file aren't even opened
    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    file = pi_heif.open_heif(content)
    return file[file.primary_index]


def _decoded_heic(heic: Any) -> np.ndarray:
    image = heic.to_pillow()  # turned by libheif; values of 10 and 12 bits become 8
    return turned_rgb(image)


def _check_work(found: Mapping[int, Item], pixels: int) -> None:
    """Checks that decoding takes about as much time and memory as the image's size needs.

    Args:
        found: the items of the file.
        pixels: of the image.
    """
    uses = Counter(part for item in found.values() for part in item.parts)
    allowed = max(pixels, SMALL_IMAGE)
    decoded = units = 0
    for number, item in found.items():
        if item.type in (AV1, HEVC):
            coded = _coded(item, MOST_UNITS - units)
            units += coded.units
            largest = max(item.pixels, coded.pixels)
            decoded += largest * max(1, uses[number])
            if largest > ROUNDING * allowed:
                raise ImageError(f"the image has {pixels} pixels, and a part of it is coded with {largest}")
        elif item.type != TONE_MAP and any(found[part].parts for part in item.parts if part in found):
            raise ImageError("the image is made of parts that are themselves made of parts", "one grid of tiles")
    if decoded > MOST_LAYERS * allowed:
        raise ImageError(f"the image has {pixels} pixels, and its parts together have {decoded}")


def _coded(item: Item, most_units: int) -> CodedFrames:
    """What decoding AV1 takes at most. It is 0 for HEVC, which libheif checks itself."""
    if item.type != AV1:
        return CodedFrames(0, 0, 0)
    try:
        coded = coded_frames(item.content, most_units)
    except ValueError as error:
        raise ImageError(f"the image is damaged: {error}") from error
    if coded.frames > MOST_FRAMES:
        raise ImageError(f"the image has a part of {coded.frames} coded frames", f"at most {MOST_FRAMES}")
    return coded
