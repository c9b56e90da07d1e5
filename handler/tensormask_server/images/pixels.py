"""Decoded images of Pillow to upright RGB of 8 bits: orientation, transparency, depth."""

import numpy as np
from PIL import ExifTags, Image

from tensormask_server.images.depth import eight_bits
from tensormask_server.images.options import ImageOptions

# from EXIF's orientation to the correction; 1 and undefined values need none
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright_rgb(image: Image.Image, options: ImageOptions) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decodes an opened image, and turns it as its EXIF says. Transparent pixels become white.

    Args:
        image: opened by Pillow.
        options: of the image.

    Returns:
        uint8 (H, W, 3), RGB, and notes on what was done: short texts in ASCII for the response.

    Raises:
        ImageError: its values can't be converted to 8 bits.
    """
    rgb, notes = _rgb(_upright(image), options)
    return np.array(rgb), notes


def _upright(image: Image.Image) -> Image.Image:
    """Rotates the image as its EXIF says. ImageOps.exif_transpose would fail if another value of the EXIF is wrong."""
    image.load()
    turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image, options: ImageOptions) -> tuple[Image.Image, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if image.mode == "F" or image.mode.startswith("I"):
        # Pillow's own conversion clips values above 255 instead of scaling them
        grey, notes = eight_bits(np.asarray(image), options)
        image = Image.fromarray(grey)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB"), notes
