"""Images that are too large to be converted to one array of RGB. Their parts are read one by one."""

from collections.abc import Callable

import numpy as np
from PIL import Image

AT_ONCE = 1 << 24  # pixels of a strip in `resized`

# top, left, height and width of a part in pixels of the image, to uint8 (h, w, 3), RGB
ReadRegion = Callable[[int, int, int, int], np.ndarray]


class LargeImage:
    """An image of which any part can be read as an array. Its pixels are those of `EncodedImage.decoded`."""

    def __init__(self, height: int, width: int, read_region: ReadRegion, notes: tuple[str, ...] = ()):
        """
        Args:
            height, width: in pixels.
            read_region: reads a part. It raises ImageError if the part is damaged.
            notes: for the response: short texts in ASCII.
        """
        self.shape = (height, width, 3)
        self.notes = notes
        self._read_region: ReadRegion | None = read_region

    def region(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Reads a part of the image.

        Args:
            top, left, height, width: of the part, in pixels. It is within the image.

        Returns:
            uint8 (h, w, 3), RGB.

        Raises:
            ImageError: the part is damaged.
            ValueError: the image was released.
        """
        if self._read_region is None:
            raise ValueError("the image was released")
        return self._read_region(top, left, height, width)

    def release(self) -> None:
        """Frees the image's pixels. Only `shape` and `notes` can be used afterwards."""
        self._read_region = None

    def resized(self, height: int, width: int) -> np.ndarray:
        """Resizes the image with Pillow's bilinear filter, strip by strip.

        Args:
            height, width: of the result, in pixels.

        Returns:
            uint8 (h, w, 3), RGB. Rows are resized first, then columns. For some shapes Pillow takes the other order,
            and its values differ slightly.

        Raises:
            ImageError: the image is damaged.
        """
        full_height, full_width = self.shape[:2]
        rows = np.empty((full_height, width, 3), np.uint8)  # (H, w, 3)
        step = max(AT_ONCE // full_width, 1)
        for top in range(0, full_height, step):
            strip = self.region(top, 0, min(step, full_height - top), full_width)
            rows[top : top + step] = _resized(strip, len(strip), width)
        return _resized(rows, height, width)


def part_of(image: np.ndarray | LargeImage, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A part of an image.

    Args:
        image: uint8 (H, W, 3), RGB.
        top, left, height, width: of the part, in pixels. It is within the image.

    Returns:
        uint8 (h, w, 3), RGB. Of an array, it is a view.

    Raises:
        ImageError: the part of a large image is damaged.
    """
    if isinstance(image, LargeImage):
        return image.region(top, left, height, width)
    return image[top : top + height, left : left + width]


def all_of(image: np.ndarray | LargeImage) -> np.ndarray:
    """The whole image as one array, uint8 (H, W, 3), RGB."""
    return image.region(0, 0, *image.shape[:2]) if isinstance(image, LargeImage) else image


def _resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
