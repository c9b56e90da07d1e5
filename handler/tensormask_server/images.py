"""Image files of any kind that Pillow opens, as RGB."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from tensormask_server.printable import one_line, printable
from tensormask_server.regular_files import MOST_IMAGE, read_regular

# the first bytes of the kinds of image that strangers' files may be, by Pillow's name
SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "WEBP": (b"RIFF",),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*"),
}
# Beginnings of other files that people send; HEIC and AVIF have theirs after the length of their first part.
OTHER_KINDS = {
    "HEIC": re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL),
    "AVIF": re.compile(rb"....ftypavi", re.DOTALL),
    "a film": re.compile(rb"....ftyp", re.DOTALL),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  "),
    "SVG": re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.{,1000}?-->\s*)?<svg", re.DOTALL),
    "PDF": re.compile(rb"%PDF-"),
    "a zip archive": re.compile(rb"PK\x03\x04"),
}
LONGEST_HEAD = 2000  # bytes in which a kind is looked for: of a stranger's megabytes it would take seconds
# A TIFF's tile is decoded as a whole however small the image is. Usual are 256×256 to 1024×1024.
LARGEST_TILE = 1 << 22
# Each goes over the whole image again: a file of a few MB can ask for hours. Cameras and editors write 1 to 20.
MOST_SCANS = 100
# by EXIF's orientation; 1 and what isn't defined is upright
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TILE_WIDTH, TILE_LENGTH = 322, 323  # TIFF's tags
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
# a marker of JPEG that a length follows; in the compressed data FF stands before 0 and restarts alone
JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")


class ImageError(ValueError):
    """An image that can't be read, in one line."""


class TooManyPixelsError(ImageError):
    """An image that is larger than Pillow opens."""


def read_image(source: Path | BinaryIO) -> np.ndarray:
    """
    Args:
        source: a file's path, or the file.

    Returns:
        As `EncodedImage.decoded`.

    Raises:
        ImageError: it isn't an image, is damaged, or has pixels that have no plain 8-bit meaning.
    """
    name = printable(source) if isinstance(source, Path) else "the image"
    with _faults_told(name):
        content = read_regular(source, MOST_IMAGE) if isinstance(source, Path) else source.read()
    return EncodedImage(content, name=name).decoded()


def other_kind(content: bytes) -> str:
    """Which kind of image that isn't read a file is, as HEIC; "" where that isn't known."""
    head = content[:LONGEST_HEAD]
    return next((kind for kind, start in OTHER_KINDS.items() if start.match(head)), "")


class EncodedImage:
    """An image file of which only the header has been read: what it will be is known before anything is decoded."""

    def __init__(self, content: bytes, kinds: tuple[str, ...] | None = None, name: str = "the image"):
        """
        Args:
            kinds: Pillow's names of the kinds of file that are read; None: all.
            name: for errors.

        Raises:
            ImageError: it isn't an image, or is one that takes far more work than its pixels are worth.
            TooManyPixelsError: it has more pixels than Pillow opens.
        """
        self._content = content
        self._kinds = kinds
        self._name = name
        with self._opened() as image:
            width, height = image.size
            _check_work(image, content, name)
        self.height: int = height
        self.width: int = width

    def decoded(self) -> np.ndarray:
        """The image as a person sees it: turned as its EXIF says, what is transparent on white, 8 bits a channel.

        Returns:
            uint8 (H, W, 3), RGB; of an animation the first image.

        Raises:
            ImageError: it is damaged, or has pixels that have no plain 8-bit meaning.
        """
        with self._opened() as image:
            return np.array(_rgb(_upright(image)))

    @contextmanager
    def _opened(self) -> Iterator[Image.Image]:
        with (
            _faults_told(self._name, self._content),
            Image.open(io.BytesIO(self._content), formats=self._kinds) as image,
        ):
            yield image


@contextmanager
def _faults_told(name: str, content: bytes = b"") -> Iterator[None]:
    """Whatever Pillow says of a file becomes an ImageError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage that it reads over, and of sizes, which are ours to limit
            yield
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        kind = other_kind(content)
        found = f"of a kind that isn't read, {kind}" if kind else "of no kind that is read, or damaged"
        raise ImageError(f"{name} is {found}") from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, 179 million pixels
        raise TooManyPixelsError(f"{name} has hundreds of millions of pixels") from error
    except OSError as error:
        raise ImageError(f"can't read {name}: {one_line(error.strerror or error, 300)}") from error
    except Exception as error:  # damage makes Pillow's decoders raise almost anything: KeyError, zlib.error, …
        raise ImageError(f"can't read {name}: {one_line(error, 300) or type(error).__name__}") from error


def _check_work(image: Image.Image, content: bytes, name: str) -> None:
    """
    Raises:
        ImageError: the file takes far more memory or time than an image of its size.
    """
    width, height = image.size
    if image.format == "TIFF":
        tags = image.getexif()
        tile = (int(tags.get(TILE_LENGTH, 1)), int(tags.get(TILE_WIDTH, 1)))
        if tile[0] * tile[1] > max(LARGEST_TILE, height * width):
            raise ImageError(f"{name}, {height}×{width} pixels, is a TIFF with tiles of {tile[0]}×{tile[1]} pixels")
    if image.format in ("JPEG", "MPO") and _has_too_many_scans(content):
        raise ImageError(f"{name} is a progressive JPEG with more than {MOST_SCANS} scans")


def _has_too_many_scans(jpeg: bytes) -> bool:
    position, scans = 2, 0
    while scans <= MOST_SCANS:
        marker = JPEG_MARKER.search(jpeg, position)
        if marker is None or marker[1][0] == END_OF_IMAGE:
            return False
        scans += marker[1][0] == START_OF_SCAN
        position = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return True


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says. ImageOps.exif_transpose writes the EXIF anew, and fails where another value is wrong."""
    image.load()
    turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ImageError("the image's pixels are floating-point numbers; expected 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        # 16 bits of grey: Pillow's own conversion clips what is above 255 instead of scaling it
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")
