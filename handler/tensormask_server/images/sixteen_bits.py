"""The values of images of more than 8 bits a channel. Of a PNG's colours of 16 bits, Pillow itself keeps the upper 8.

Pillow has unpackers for both byte orders. The one for the other order takes the lower 8 bits.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
from PIL import ImageFile

from tensormask_server.images.depth import ABOVE_12
from tensormask_server.images.options import ImageOptions

LOWER_BITS = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}  # Pillow's names of its unpackers
GREY_AND_ALPHA = "LA;16B"

Opened = Callable[[], AbstractContextManager[ImageFile.ImageFile]]


def png_unpacker(image: ImageFile.ImageFile) -> str:
    """Pillow's name of the unpacker of a PNG that isn't loaded yet; "" for other files."""
    return str(image.tile[0].args) if image.format == "PNG" and image.tile else ""


def values_beyond_8_bits(
    image: ImageFile.ImageFile, unpacker: str, options: ImageOptions, opened: Opened
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The values and transparency of an image of more than 8 bits.

    Args:
        image: loaded.
        unpacker: its `png_unpacker` before it was loaded.
        options: of the image.
        opened: opens the image again.

    Returns:
        The values: (H, W) or (H, W, 3), not turned. None: the pixels have 8 bits, or the upper 8 of 16 are all that the
        options need. And alpha: uint8 (H, W), or None if nothing is transparent.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        if image.mode == "I" and values.min() >= 0:  # Pillow has no mode for unsigned values that may have 32 bits
            values = values.view(np.uint32)
        return values, _alpha_of_key(values[..., None], image)
    if unpacker == GREY_AND_ALPHA:
        pairs = _unpacked_by("RGBA", opened)
        return _joined(pairs[..., 0], pairs[..., 1]), pairs[..., 2]
    if unpacker not in LOWER_BITS:
        return None, None
    upper = np.asarray(image)
    is_keyed = "transparency" in image.info
    if not is_keyed and not _needs_lower(upper[..., :3], options):
        return None, None
    lower = _unpacked_by(LOWER_BITS[unpacker], opened)
    values = _joined(upper[..., :3], lower[..., :3])
    return values, upper[..., 3] if image.mode == "RGBA" else _alpha_of_key(values, image)


def _needs_lower(upper: np.ndarray, options: ImageOptions) -> bool:
    if options.stretch == "auto":
        return bool(upper.max() < ABOVE_12 >> 8)
    return options.stretch != "none"


def _unpacked_by(unpacker: str, opened: Opened) -> np.ndarray:
    """Decodes a PNG with another unpacker: uint8 (H, W, C)."""
    with opened() as image:
        image.tile = [tile._replace(args=unpacker) for tile in image.tile]
        return np.array(image)


def _joined(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    joined: np.ndarray = upper.astype(np.uint16) << 8 | lower
    return joined


def _alpha_of_key(values: np.ndarray, image: ImageFile.ImageFile) -> np.ndarray | None:
    """Alpha of an image in which one value is transparent, as PNG's tRNS chunk says it. Pillow compares 8 bits only."""
    key = image.info.get("transparency")
    if not isinstance(key, int | tuple):
        return None
    return np.where((values == key).all(axis=-1), np.uint8(0), np.uint8(255))
