"""Checks the image files of a data set before the first step, all of them in one go."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tensormask_server.images.encoded import EncodedImage
from tensormask_server.images.errors import ImageError
from tensormask_server.printable import one_line, printable
from tensormask_server.regular_files import MOST_IMAGE, read_regular
from tqdm import tqdm

from training.annotations import MOST_NAMES, DataError
from training.first_few import first_few

MOST_THREADS = 8  # each holds one decoded image
FEW = 1000  # images; so many are checked within seconds, so no bar is shown


def read_listed_image(entry: Mapping[str, Any], folder: Path) -> np.ndarray:
    """Reads the image of an entry of an annotation file.

    Args:
        entry: with "file_name", and with "height" and "width" in pixels.
        folder: with the images.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        DataError: the image is missing, can't be read, or hasn't the size that its annotations are for.
    """
    fault, image = _read(entry, folder)
    if image is None:
        raise DataError(f"an image of {printable(folder)} can't be used: {fault}")
    return image


def check_image_files(entries: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Decodes all images once, in threads.

    Raises:
        DataError: some images are missing, can't be read, or have another size than the annotation file says. The
            message names the first ten.
    """
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda entry: _read(entry, folder)[0], entries)
        shown = tqdm(found, "checking images", len(entries), leave=False, disable=len(entries) < FEW, unit="image")
        faults = [fault for fault in shown if fault]
    if faults:
        raise DataError(
            f"{len(faults)} of the {len(entries)} images of {printable(folder)} can't be used: "
            f"{first_few(faults, MOST_NAMES, '; ')}"
        )


def _read(entry: Mapping[str, Any], folder: Path) -> tuple[str, np.ndarray | None]:
    """What is wrong with an image, and the image; "" if nothing is wrong, and None if something is."""
    name = printable(entry["file_name"], 80)
    try:
        image = EncodedImage(read_regular(folder / entry["file_name"], MOST_IMAGE), name=name).decoded().pixels
    except FileNotFoundError:
        return f"{name} is missing", None
    except ImageError as error:
        return one_line(error, 200), None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        return f"can't read {name}: {one_line(getattr(error, 'strerror', None) or error, 100)}", None
    if image.shape[:2] != (entry["height"], entry["width"]):
        return (
            f"{name} has {image.shape[0]}×{image.shape[1]} pixels (height × width, rotated as its EXIF says), and the "
            f"annotation file says {entry['height']}×{entry['width']}"
        ), None
    return "", image
