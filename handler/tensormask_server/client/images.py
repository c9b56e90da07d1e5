"""The body of a request: an image as the bytes of a file."""

import struct
import zlib
from pathlib import Path

import numpy as np

from tensormask_server.client.errors import BadImage
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
    height, width = image.shape[:2]
    # a row's first byte is its filter; 2 stands for differences to the row above
    rows = np.full((height, 1 + 3 * width), 2, np.uint8)
    rows[:, 1:] = np.diff(image.reshape(height, -1), axis=0, prepend=np.zeros((1, 3 * width), np.uint8))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, colour type 2: RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _file_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_IMAGE_BYTES + 1)
    if len(content) > MAX_IMAGE_BYTES:
        raise BadImage(f"{printable(path)} has more than {MAX_IMAGE_BYTES} bytes, more than an image has")
    return content
