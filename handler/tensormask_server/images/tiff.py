"""Reads TIFF and BigTIFF: the full page, its bands, depths and planes, as a whole or a region of it."""

import numpy as np
from PIL import Image

from tensormask_server.images import tiff_tags
from tensormask_server.images.depth import eight_bits
from tensormask_server.images.options import ImageOptions
from tensormask_server.images.pixels import turned_rgb
from tensormask_server.images.tiff_blocks import Region, open_region, read_samples
from tensormask_server.images.tiff_layout import LARGEST_TILE, MOST_BYTES, layout_of
from tensormask_server.images.tiff_meaning import WHITE_IS_ZERO, meaning_of
from tensormask_server.images.tiff_pages import full_page

# Pixels of a row of blocks. A strip of the image costs at least one such row, however few rows of pixels it has.
LARGEST_ROW = 1 << 27


class TiffImage:
    """A TIFF or BigTIFF. Only its tags are read at first, so that the size is known before the image is decoded."""

    def __init__(self, content: bytes):
        """
        Args:
            content: a file for which `signatures.is_tiff` holds.

        Raises:
            ImageError: the file is damaged, or of a kind that isn't read. The message has the cause and what to do.
        """
        self._page, self._notes = full_page(content)
        self._layout = layout_of(self._page)
        self._meaning = meaning_of(self._layout)
        self._orientation = self._page.number(tiff_tags.ORIENTATION, 1)
        self.height: int = self._layout.height
        self.width: int = self._layout.width

    @property
    def is_read_by_region(self) -> bool:
        """Whether `region` reads a part of the image at the cost of that part."""
        layout = self._layout
        is_in_parts = layout.block_height * layout.block_width <= LARGEST_TILE
        is_in_parts &= layout.block_bytes <= MOST_BYTES * LARGEST_TILE
        is_in_parts &= layout.block_height * layout.width <= LARGEST_ROW
        return layout.bits <= 8 and layout.kind == "u" and self._orientation == 1 and is_in_parts

    def decoded(self, options: ImageOptions) -> tuple[np.ndarray, tuple[str, ...]]:
        """Decodes the image. It is turned as its tag says, and transparent pixels are white.

        Args:
            options: of the image.

        Returns:
            uint8 (H, W, 3), RGB, and notes for the response.

        Raises:
            ImageError: the image is damaged, or its values can't be converted to 8 bits.
        """
        return self._decoded(Region(0, 0, self.height, self.width), options)

    def region(self, region: Region, options: ImageOptions) -> np.ndarray:
        """Decodes a part of an image for which `is_read_by_region` holds.

        Args:
            region: within the image.
            options: of the image.

        Returns:
            uint8 (h, w, 3), RGB.

        Raises:
            ImageError: this part of the image is damaged.
        """
        return self._decoded(region, options)[0]

    def notes(self, options: ImageOptions) -> tuple[str, ...]:
        """The notes for the response on an image for which `is_read_by_region` holds. It decodes the first block.

        Raises:
            ImageError: this block is damaged.
        """
        return self._decoded(Region(0, 0, 1, 1), options)[1]

    def _decoded(self, region: Region, options: ImageOptions) -> tuple[np.ndarray, tuple[str, ...]]:
        notes = self._notes + self._meaning.notes
        if self._meaning.is_pillows:
            image = open_region(self._page, self._layout, region, self._meaning.photometric)
        else:
            image, depth_notes = self._from_samples(region, options)
            notes += depth_notes
            if (self._layout.counts == 0).any():
                notes += ("the TIFF leaves out some of its blocks; they are 0",)
        return turned_rgb(image, self._orientation), notes

    def _from_samples(self, region: Region, options: ImageOptions) -> tuple[Image.Image, tuple[str, ...]]:
        """The region as an image of 8 bits, and notes."""
        meaning = self._meaning
        numbers = [*range(meaning.colours), *([] if meaning.alpha is None else [meaning.alpha])]
        samples = read_samples(self._page, self._layout, region, numbers)
        values, alpha = samples[..., : meaning.colours], samples[..., meaning.colours :]
        notes: tuple[str, ...] = ()
        if values.dtype != np.uint8:
            if options.stretch != "none":
                notes += _fill_missing(values, self._page.text(tiff_tags.NO_DATA))
            values, depth_notes = eight_bits(values, options)
            notes += depth_notes
        if meaning.photometric == WHITE_IS_ZERO:
            values = 255 - values
        if meaning.colours == 1:
            values = np.broadcast_to(values, (*values.shape[:2], 3))
        if alpha.dtype not in (np.uint8, np.uint16) or meaning.alpha is None:
            ignored = () if meaning.alpha is None else ("the TIFF's transparency was ignored",)
            return Image.fromarray(np.ascontiguousarray(values)), notes + ignored
        opaque = alpha if alpha.dtype == np.uint8 else (alpha >> 8).astype(np.uint8)
        layer = np.concatenate([values, opaque], axis=2)
        mode = "RGBa" if meaning.is_premultiplied else "RGBA"
        return Image.frombytes(mode, (region.width, region.height), layer.tobytes()).convert("RGBA"), notes


def _fill_missing(values: np.ndarray, no_data: str) -> tuple[str, ...]:
    """Replaces the value that stands for missing pixels by the smallest other value, so that the range is the image's.

    Args:
        values: changed in place.
        no_data: GDAL's text of the value; "" if there is none.

    Returns:
        Notes for the response.
    """
    try:
        with np.errstate(over="ignore"):
            value = np.float32(no_data) if values.dtype.kind == "f" else int(float(no_data))
    except (ValueError, OverflowError):
        return ()
    missing = values == value
    if not missing.any() or missing.all():
        return ()
    largest = np.inf if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    values[missing] = values.min(where=~missing, initial=largest)
    return (f"the value {float(no_data):g} stands for missing pixels; they are black",)
