"""Checks the image files of a data set before the first step, all of them in one go."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tensormask_server.images import ImageError, read_image
from tensormask_server.printable import one_line, printable
from tqdm import tqdm

from training.annotations import MOST_NAMES, DataError

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
    path = folder / entry["file_name"]
    try:
        image = read_image(path)
    except (ImageError, OSError) as error:
        raise DataError(one_line(error)) from error
    if image.shape[:2] != (entry["height"], entry["width"]):
        raise DataError(
            f"{printable(path)} has {image.shape[0]}×{image.shape[1]} pixels (height × width, rotated as its EXIF "
            f"says); the annotation file says {entry['height']}×{entry['width']}"
        )
    return image


def check_image_files(entries: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Decodes all images once, in threads.

    Raises:
        DataError: some images are missing, can't be read, or have another size than the annotation file says. The
            message names the first ten.
    """

    def fault(entry: Mapping[str, Any]) -> str | None:
        try:
            read_listed_image(entry, folder)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()) as pool:
        found = pool.map(fault, entries)
        shown = tqdm(found, "checking images", len(entries), leave=False, disable=len(entries) < FEW, unit="image")
        faults = [each for each in shown if each is not None]
    if faults:
        more = f"; and {len(faults) - MOST_NAMES} more" if len(faults) > MOST_NAMES else ""
        raise DataError(
            f"{len(faults)} of the {len(entries)} images can't be used: {'; '.join(faults[:MOST_NAMES])}{more}"
        )
