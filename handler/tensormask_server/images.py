"""Reads image files as RGB arrays with Pillow, within limits of time and memory."""

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

# the first bytes of the file formats that the server accepts, by Pillow's names
SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "WEBP": (b"RIFF",),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*"),
}
# the first bytes of other files that people send; in HEIC and AVIF they follow a length of 4 bytes
UNSUPPORTED = {
    "HEIC": re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL),
    "AVIF": re.compile(rb"....ftypavi", re.DOTALL),
    "a video": re.compile(rb"....ftyp", re.DOTALL),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  "),
    "SVG": re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.{,1000}?-->\s*)?<svg", re.DOTALL),
    "PDF": re.compile(rb"%PDF-"),
    "a zip archive": re.compile(rb"PK\x03\x04"),
}
LONGEST_HEAD = 2000  # bytes that are searched for these; searching megabytes would take seconds
# A whole tile of a TIFF is decoded even for a small image. Usual tiles have 256×256 to 1024×1024 pixels.
LARGEST_TILE = 1 << 22
# Each scan decodes the whole image, so a file of a few MB can take hours. Cameras and editors write 1 to 20 scans.
MOST_SCANS = 100
# from EXIF's orientation to the correction; 1 and undefined values need none
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
# a JPEG marker with a length after it; in compressed data, FF stands only before 0 and restart markers
JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")


class ImageError(ValueError):
    """An image can't be read. The message has one line."""


class TooManyPixelsError(ImageError):
    """An image has more pixels than Pillow opens."""


def read_image(source: Path | BinaryIO) -> np.ndarray:
    """Reads an image file of any format that Pillow knows.

    Args:
        source: a file's path, or the file.

    Returns:
        uint8 (H, W, 3), RGB, as `EncodedImage.decoded`.

    Raises:
        ImageError: the file isn't an image, is damaged, or has pixels that can't be converted to 8 bits.
    """
    name = printable(source) if isinstance(source, Path) else "the image"
    with _image_errors(name):
        content = read_regular(source, MOST_IMAGE) if isinstance(source, Path) else source.read()
    return EncodedImage(content, name=name).decoded()


def unsupported_type(content: bytes) -> str:
    """The type of a file that isn't supported, such as HEIC; "" if the type is unknown."""
    head = content[:LONGEST_HEAD]
    return next((name for name, start in UNSUPPORTED.items() if start.match(head)), "")


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
            TooManyPixelsError: the image has more pixels than Pillow opens.
        """
        self._content = content
        self._formats = formats
        self._name = name
        with self._opened() as image:
            width, height = image.size
            _check_work(image, content, name)
        self.height: int = height
        self.width: int = width

    def decoded(self) -> np.ndarray:
        """Decodes the image. It is rotated as its EXIF says, and transparent pixels are white.

        Returns:
            uint8 (H, W, 3), RGB. Of an animation, it is the first image.

        Raises:
            ImageError: the image is damaged, or has pixels that can't be converted to 8 bits.
        """
        with self._opened() as image:
            return np.array(_rgb(_upright(image)))

    @contextmanager
    def _opened(self) -> Iterator[Image.Image]:
        with (
            _image_errors(self._name, self._content),
            Image.open(io.BytesIO(self._content), formats=self._formats) as image,
        ):
            yield image


@contextmanager
def _image_errors(name: str, content: bytes = b"") -> Iterator[None]:
    """Converts the exceptions that Pillow raises within the block to ImageErrors."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of damage that it skips, and of sizes, which our limits check
            warnings.simplefilter("ignore")
            yield
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        file_type = unsupported_type(content)
        found = f"is {file_type}, which isn't supported" if file_type else "has no supported file format, or is damaged"
        raise ImageError(f"{name} {found}") from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, 179 million pixels
        raise TooManyPixelsError(f"{name} has hundreds of millions of pixels") from error
    except OSError as error:
        raise ImageError(f"can't read {name}: {one_line(error.strerror or error, 300)}") from error
    except Exception as error:  # Pillow's decoders raise almost anything for damage: KeyError, zlib.error, …
        raise ImageError(f"can't read {name}: {one_line(error, 300) or type(error).__name__}") from error


def _check_work(image: Image.Image, content: bytes, name: str) -> None:
    """Checks that decoding takes about as much time and memory as the image's size needs.

    Raises:
        ImageError: it takes far more.
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
    """Rotates the image as its EXIF says. ImageOps.exif_transpose would fail if another value of the EXIF is wrong."""
    image.load()
    turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ImageError("the image's pixels are floating-point numbers; expected 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        # 16 bits of grey: Pillow's own conversion clips values above 255 instead of scaling them
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")
