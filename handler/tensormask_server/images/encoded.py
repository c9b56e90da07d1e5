"""Reads image files as RGB arrays with Pillow, within limits of time and memory."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile

from tensormask_server.images import bmp, gif, jpeg_header, png, webp
from tensormask_server.images.depth import Notes
from tensormask_server.images.errors import ImageError, TooManyPixelsError, image_errors
from tensormask_server.images.heif import HeifImage
from tensormask_server.images.jpeg import END, check_scans, lacks_end, note_on_missing
from tensormask_server.images.large import LargeImage
from tensormask_server.images.large_files import header_of_any_size, large_file, large_tiff
from tensormask_server.images.options import DEFAULT_IMAGE_OPTIONS, ImageOptions
from tensormask_server.images.pixels import upright_rgb
from tensormask_server.images.signatures import SIGNATURES, is_heif, is_tiff
from tensormask_server.images.tiff import TiffImage
from tensormask_server.printable import printable
from tensormask_server.regular_files import MOST_IMAGE, read_regular

# Pillow doesn't see the other parts of these files: reading them can take far more time and memory than the pixels do
ONLY_PIXELS: dict[str, Callable[[bytes], bytes]] = {
    "JPEG": jpeg_header.only_pixels,
    "PNG": png.only_pixels,
    "GIF": gif.only_pixels,
    "WEBP": webp.only_pixels,
    "BMP": bmp.only_pixels,
}


def read_image(source: Path | BinaryIO, options: ImageOptions = DEFAULT_IMAGE_OPTIONS) -> np.ndarray:
    """Reads an image file of any format that Pillow knows.

    Args:
        source: a file's path, or the file.
        options: how it is decoded.

    Returns:
        uint8 (H, W, 3), RGB, as `EncodedImage.decoded`.

    Raises:
        ImageError: the file isn't an image, is damaged, or has pixels that can't be converted to 8 bits.
    """
    name = printable(source) if isinstance(source, Path) else "the image"
    with image_errors(name):
        content = read_regular(source, MOST_IMAGE) if isinstance(source, Path) else source.read()
    return EncodedImage(content, name=name).decoded(options).pixels


@dataclass(frozen=True)
class DecodedImage:
    """An image's pixels, and what a reader of the response should know of how they were made."""

    pixels: np.ndarray  # uint8 (H, W, 3), RGB
    notes: tuple[str, ...] = ()  # short texts in ASCII


class EncodedImage:
    """An image file. Only its header is read at first, so that the size is known before the image is decoded."""

    def __init__(self, content: bytes, formats: tuple[str, ...] | None = None, name: str = "the image"):
        """
        Args:
            content: the file's bytes.
            formats: the accepted file formats, by Pillow's names. None: all that Pillow knows.
            name: of the image, for error messages.

        Raises:
            ImageError: the file isn't an image, or decoding it takes far more time or memory than its size needs.
            TooManyPixelsError: the image has more pixels than Pillow opens, and is neither JPEG, PNG nor TIFF.
        """
        self._formats = formats
        self._name = name
        self._lacks_end = False
        with image_errors(name, content):
            for kind, only_pixels in ONLY_PIXELS.items():
                if content.startswith(SIGNATURES[kind]):
                    content = only_pixels(content)
            if content.startswith(SIGNATURES["JPEG"]):
                check_scans(content, name)
                self._lacks_end = lacks_end(content)
                content += END if self._lacks_end else b""
            self._content = content
            self._tiff = TiffImage(content) if is_tiff(content) else None
            self._heif = HeifImage(content) if is_heif(content) else None
        own = self._tiff or self._heif
        if own is not None:
            width, height = own.width, own.height
        else:
            width, height = self._size()
        self.height: int = height
        self.width: int = width

    def decoded(self, options: ImageOptions = DEFAULT_IMAGE_OPTIONS) -> DecodedImage:
        """Decodes the image. It is rotated as its EXIF says, and transparent pixels are white.

        Args:
            options: how it is decoded.

        Returns:
            The image's pixels. Of an animation, it is the first image.

        Raises:
            ImageError: the image is damaged, or has pixels that can't be converted to 8 bits.
            TooManyPixelsError: the image has more pixels than Pillow opens.
        """
        notes: Notes = ()
        with image_errors(self._name):
            if self._tiff is not None:
                return DecodedImage(*self._tiff.decoded(options))
            if self._heif is not None:
                return DecodedImage(self._heif.decoded())
            if self._lacks_end:
                notes = (note_on_missing(self._content, self._name),)
            pixels, notes_on_depth = upright_rgb(self._opened, options)
        return DecodedImage(pixels, notes + notes_on_depth)

    def large(self, options: ImageOptions = DEFAULT_IMAGE_OPTIONS) -> LargeImage:
        """Opens the image so that its parts can be read, without an array of all its pixels.

        Args:
            options: how it is decoded.

        Returns:
            The image, as upright and opaque as `decoded` makes it.

        Raises:
            ImageError: the image is damaged, or of a kind that takes more memory.
        """
        with image_errors(self._name):
            if self._lacks_end:
                raise ImageError(f"{self._name} is a large JPEG without its end", "the complete file")
            if self._tiff is not None:
                return large_tiff(self._tiff, options, self._name)
            return large_file(self._content, self._name)

    def _size(self) -> tuple[int, int]:
        """The width and height in pixels. Whoever decodes the image checks them first."""
        try:
            with self._opened() as image:
                return image.size
        except TooManyPixelsError:
            with image_errors(self._name, self._content):
                header = header_of_any_size(self._content)
            if header is None:
                raise
            with header:
                return header.size

    @contextmanager
    def _opened(self) -> Iterator[ImageFile.ImageFile]:
        with (
            image_errors(self._name, self._content),
            Image.open(io.BytesIO(self._content), formats=self._formats) as image,
        ):
            yield image
