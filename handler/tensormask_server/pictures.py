"""Picture files of any kind that Pillow opens, as RGB."""

import struct
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


class PictureError(ValueError):
    """A picture that can't be read, in one line."""


class TooManyPixelsError(PictureError):
    """A picture that is larger than the caller takes."""


def read_picture(
    source: Path | BinaryIO, max_pixels: int | None = None, kinds: tuple[str, ...] | None = None
) -> np.ndarray:
    """Decodes a picture as a person sees it: turned as its EXIF says, what is transparent on white, 8 bits a channel.

    Args:
        source: a file's path, or the file.
        max_pixels: the largest H·W, checked before anything is decoded.
        kinds: Pillow's names of the kinds of file that are read; None: all.

    Returns:
        uint8 (H, W, 3), RGB; of an animation the first picture.

    Raises:
        PictureError: it isn't a picture, is damaged, or has pixels that have no plain 8-bit meaning.
        TooManyPixelsError: it is larger than max_pixels.
    """
    name = str(source) if isinstance(source, Path) else "the picture"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a limit of our own stands below
            image = Image.open(source, formats=kinds)
        with image:
            width, height = image.size
            if max_pixels is not None and height * width > max_pixels:
                raise TooManyPixelsError(f"{name} has {height}×{width} = {height * width} pixels")
            return np.array(_rgb(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError as error:
        raise PictureError(f"{name} is not a picture that Pillow knows, or is damaged") from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, 179 million pixels
        raise TooManyPixelsError(f"{name} has hundreds of millions of pixels") from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        if isinstance(error, PictureError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise PictureError(f"can't read {name}: {reason}") from error


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
