"""The errors of image files, and how Pillow's exceptions become one."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from tensormask_server.images.other_files import other_file
from tensormask_server.printable import one_line


class ImageError(ValueError):
    """An image can't be read. The message has one line."""

    def __init__(self, found: str, expected: str = ""):
        """
        Args:
            found: what is wrong with the image.
            expected: what would be accepted, or what to do. "": any image that can be read.
        """
        super().__init__(f"{found}; expected {expected}" if expected else found)
        self.found = found
        self.expected = expected


class TooManyPixelsError(ImageError):
    """An image has more pixels than Pillow opens."""


@contextmanager
def image_errors(name: str, content: bytes = b"") -> Iterator[None]:
    """Converts the exceptions that Pillow raises within the block to ImageErrors.

    Args:
        name: of the image, for error messages.
        content: the file's bytes, which tell what it is if it can't be read.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of damage that it skips, and of sizes, which our limits check
            warnings.simplefilter("ignore")
            yield
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        other = other_file(content)
        if other is not None:
            raise ImageError(f"{name} is {other.name}, which isn't supported", other.expected) from error
        raise ImageError(f"{name} has no supported file format, or is damaged") from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, 179 million pixels
        raise TooManyPixelsError(f"{name} has hundreds of millions of pixels") from error
    except OSError as error:
        raise ImageError(f"can't read {name}: {one_line(error.strerror or error, 300)}") from error
    except Exception as error:  # Pillow's decoders raise almost anything for damage: KeyError, zlib.error, …
        raise ImageError(f"can't read {name}: {one_line(error, 300) or type(error).__name__}") from error
