"""The images by which the ranges of numbers in 8 bits are chosen."""

from pathlib import Path

import numpy as np

from tensormask_server.image_files import is_image_name
from tensormask_server.images.encoded import read_image
from tensormask_server.printable import printable

MOST_IMAGES = 300  # more change the ranges little, and take long


class CalibrationError(ValueError):
    """A folder's images can't be used for a calibration. The message is one line."""


def calibration_images(folder: Path) -> list[Path]:
    """The image files in a folder, in the order of their names; of more than MOST_IMAGES so many, evenly chosen.

    Raises:
        CalibrationError: there is no such folder, or it has no images.
    """
    if not folder.is_dir():
        raise CalibrationError(f"{printable(folder)} is no folder; expected one of images for the calibration")
    paths = sorted(path for path in folder.iterdir() if path.is_file() and is_image_name(path.name))
    if not paths:
        raise CalibrationError(f"{printable(folder)} has no images; expected 100 to {MOST_IMAGES} for the calibration")
    chosen = np.linspace(0, len(paths) - 1, min(len(paths), MOST_IMAGES)).round().astype(int)
    return [paths[index] for index in chosen]


def read_calibration_image(path: Path) -> np.ndarray:
    """
    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        CalibrationError: the file can't be read as an image.
    """
    try:
        return read_image(path)
    except ValueError as error:
        raise CalibrationError(f"an image of the calibration can't be read: {error}") from error
