"""Reads a folder of images as the frames of a video, in the order of their names: frame2 before frame10."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tensormask_server.image_files import READABLE, is_image_name
from tensormask_server.printable import printable
from tensormask_server.video.errors import VideoError
from tensormask_server.video.frames import Colours, Damage, Frame, Source

# Pillow's names of the formats of these files. Others may run a program, as Ghostscript for EPS.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")


def open_image_folder(folder: Path, rate: int) -> Source:
    """Finds the images of a folder and reads the first one that isn't damaged.

    Args:
        folder: its images are the frames. Folders in it aren't read.
        rate: frames a second.

    Raises:
        VideoError: there are no images, or none can be read.
        OSError: the folder can't be read.
    """
    files = sorted((path for path in folder.iterdir() if _is_frame(path)), key=_natural)
    if not files:
        raise VideoError(f"{printable(folder)} has no frames; expected images that end in {' '.join(READABLE)}")
    first = next((pixels for file in files if (pixels := _pixels(file)) is not None), None)
    if first is None:
        raise VideoError(
            f"none of the {len(files)} images in {printable(folder)} can be read; expected frames of a video"
        )
    height, width, _ = first.shape
    sizes = "\n".join(f"{file.name} {file.stat().st_size}" for file in files)
    return Source(
        path=folder,
        width=width,
        height=height,
        rate=Fraction(rate),
        time_base=Fraction(1, rate),
        start=Fraction(0),
        expected=len(files),
        pixel_shape=Fraction(1),
        colours=Colours(),
        fingerprint=hashlib.sha256(sizes.encode(errors="surrogateescape")).hexdigest(),
        duration=len(files) / rate,
        has_sound=False,
        read=lambda damage: _frames(files, damage),
    )


def _frames(files: Sequence[Path], damage: Damage) -> Iterator[Frame]:
    for index, file in enumerate(files):
        pixels = _pixels(file)
        if pixels is None:
            damage.frames.append(printable(file.name))
        else:
            yield Frame(index, index, 1, pixels)


def _pixels(file: Path) -> np.ndarray | None:
    """An image file, upright: uint8 (H, W, 3), RGB. None: it can't be read."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.mode.startswith(("I", "F")):
                expected = "expected 8 bits a channel, as the frames of a video have"
                raise VideoError(f"{printable(file)} has more than 8 bits a channel; {expected}")
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for damaged files
        return None


def _is_frame(path: Path) -> bool:
    return path.is_file() and is_image_name(path.name)


def _natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by their value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", path.name)]
