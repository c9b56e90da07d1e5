"""Picture files of any kind that Pillow opens, as RGB."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


class PictureError(ValueError):
    """A picture that can't be read, in one line."""


def read_picture(source: Path | BinaryIO) -> np.ndarray:
    """Decodes a picture as a person sees it: turned as its EXIF says, what is transparent on white, 8 bits a channel.

    Args:
        source: a file's path, or the file.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        PictureError: it isn't a picture, is damaged, or has pixels that have no plain 8-bit meaning.
    """
    try:
        with Image.open(source) as image:
            return np.array(_rgb(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError as error:
        raise PictureError(f"{source} is not a picture that Pillow knows") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PictureError(f"can't read the picture {source}: {reason}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise PictureError("the picture's pixels are floating-point numbers; expected 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        # 16 bits of grey: Pillow's own conversion clips what is above 255 instead of scaling it
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")
