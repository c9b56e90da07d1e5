"""The body of a request: an image as the bytes of a file."""

import zlib
from pathlib import Path

import numpy as np

from tensormask_server.client.errors import BadImage
from tensormask_server.png_writer import png_file
from tensormask_server.printable import printable

MAX_IMAGE_BYTES = 1 << 28  # of a file; the server accepts 64 MiB unless config.properties says otherwise


def image_bytes(image: str | Path | bytes | np.ndarray) -> bytes:
    """Reads or encodes the image file to send.

    Args:
        image: a file's path, such a file's bytes, or uint8 (H, W, 3), RGB.

    Returns:
        The file's bytes. For an array they are a PNG.

    Raises:
        BadImage: the file can't be read, is empty or has more than MAX_IMAGE_BYTES. Or the array has another shape or
            dtype. Or the image is of another type.
    """
    if isinstance(image, np.ndarray):
        return encode_png(image)
    try:
        content = image if isinstance(image, bytes) else _file_bytes(Path(image))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadImage(f"can't read {printable(image)}: {reason}") from error
    except TypeError as error:
        expected = "a path, the bytes of a file, or uint8 (H, W, 3) as numpy.asarray gives it of a PIL image"
        raise BadImage(f"the image is {type(image).__name__}; expected {expected}") from error
    if not content:
        raise BadImage("the image is empty")
    return content


def encode_png(image: np.ndarray) -> bytes:
    """Encodes an image as a PNG, fast and with little compression.

    Args:
        image: uint8 (H, W, 3), RGB.

    Returns:
        The file's bytes.

    Raises:
        BadImage: the image has another shape or dtype.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise BadImage(f"the image is {image.dtype} {image.shape}; expected uint8 (H, W, 3), RGB")
    return png_file(image, zlib.compressobj(1))


def _file_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_IMAGE_BYTES + 1)
    if len(content) > MAX_IMAGE_BYTES:
        raise BadImage(f"{printable(path)} has more than {MAX_IMAGE_BYTES} bytes, more than an image has")
    return content
