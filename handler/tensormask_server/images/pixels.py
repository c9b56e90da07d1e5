"""Decoded images of Pillow to upright RGB of 8 bits: orientation, transparency, depth."""

import numpy as np
from PIL import Image

from tensormask_server.images.depth import Notes, eight_bits
from tensormask_server.images.exif import orientation_in
from tensormask_server.images.options import ImageOptions
from tensormask_server.images.sixteen_bits import Opened, png_unpacker, values_beyond_8_bits

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


def upright_rgb(opened: Opened, options: ImageOptions) -> tuple[np.ndarray, Notes]:
    """Decodes an image, and turns it as its EXIF says. Transparent pixels become white.

    Args:
        opened: opens the image with Pillow.
        options: of the image.

    Returns:
        uint8 (H, W, 3), RGB, and notes on what was done: short texts in ASCII for the response.

    Raises:
        ImageError: its values can't be converted to 8 bits.
    """
    with opened() as file:
        unpacker = png_unpacker(file)
        file.load()
        orientation = orientation_of(file)
        values, alpha = values_beyond_8_bits(file, unpacker, options, opened)
        image: Image.Image = file
        notes: Notes = ()
        if values is not None:
            pixels, notes = eight_bits(values, options)
            image = Image.fromarray(pixels)
            if alpha is not None:
                image.putalpha(Image.fromarray(alpha))
        return turned_rgb(image, orientation), notes


def turned_rgb(image: Image.Image, orientation: int = 1) -> np.ndarray:
    """Converts an image of 8 bits a channel to upright RGB. Transparent pixels become white.

    Args:
        image: in any mode of Pillow's with 8 bits a channel.
        orientation: as EXIF and TIFF number them. Undefined numbers turn nothing.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    turn = TURNS.get(orientation)
    if turn is not None:
        image = image.transpose(turn)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.array(image.convert("RGB"))


def orientation_of(image: Image.Image) -> int:
    """The orientation of a loaded image, by EXIF alone, as OpenCV and browsers use it: 1 to 8.

    XMP and a PNG's raw profiles may hold an orientation, too, and Pillow's own `getexif` uses these.
    """
    return orientation_in(image.info.get("exif", b""))
