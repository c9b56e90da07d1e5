"""Opens, reads and writes only regular files, and reads only up to a limit.

A path from a command line or from another file can name a pipe, which blocks for ever, or an endless device.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

FILE_TYPES = {
    stat.S_IFIFO: "a FIFO (a pipe)",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
}
# files there look regular, but the kernel makes their content while they are read
KERNEL_FOLDERS = ("/proc", "/sys")
# the most bytes of a file, for each type of content
MOST_TEXT = 1 << 20  # class names, properties, certificates, tokens
MOST_IMAGE = 1 << 30  # the largest image that Pillow opens has half of this, uncompressed
MOST_ANNOTATIONS = 1 << 32  # COCO's training set has 0.45 GB
MOST_WEIGHTS = 1 << 32  # the published ones have 0.2 to 0.5 GB
MOST_ARCHIVE = 1 << 33


class RefusedFileError(OSError):
    """A path isn't a regular file's, or the file is too large. `strerror` says what was found and expected."""

    def __init__(self, path: str | os.PathLike[str], reason: str):
        super().__init__(errno.EINVAL, reason, os.fspath(path))


def open_regular(path: str | os.PathLike[str], most: int) -> BufferedReader:
    """Opens a regular file for reading. It refuses any other path at once, without a side effect.

    The open file itself is checked, so nobody can exchange it between the check and the reading.

    Args:
        path: links are followed.
        most: the most bytes that the file may have.

    Raises:
        RefusedFileError: the path isn't a regular file's, or the file has more bytes.
        OSError: the file doesn't exist, or can't be opened.
    """
    _check(path, Path(path).stat(), most)  # before opening, which can have an effect on a device
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check(path, os.fstat(descriptor), most)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str], most: int) -> bytes:
    """Reads the whole content of a regular file.

    Args:
        path, most: as in `open_regular`.

    Raises:
        RefusedFileError, OSError: as `open_regular`, or the file grows while it is read.
    """
    with open_regular(path, most) as file:
        size = os.fstat(file.fileno()).st_size  # a read of `most` bytes would allocate them all
        content = file.read(size + 1)
    if len(content) > size:
        raise RefusedFileError(path, "it grows while it is read; expected a file that is complete; try again later")
    return content


def read_text(path: str | os.PathLike[str], most: int = MOST_TEXT) -> str:
    """Reads the whole content of a regular file as UTF-8, without a byte order mark at its start.

    Args:
        path, most: as in `open_regular`.

    Raises:
        RefusedFileError, OSError: as `read_regular`.
        UnicodeDecodeError: the content isn't UTF-8.
    """
    return read_regular(path, most).decode("utf-8-sig")


def sha256_of(path: str | os.PathLike[str], most: int) -> str:
    """The SHA-256 of a regular file, as 64 hex digits.

    Args:
        path, most: as in `open_regular`.

    Raises:
        RefusedFileError, OSError: as `open_regular`.
    """
    with open_regular(path, most) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, write: Callable[[BinaryIO], object], mode: int = 0o666) -> None:
    """Writes a file completely or not at all: first to a new file beside it, which then takes its place.

    The new file's name is random, and the file must not exist before. So a link that somebody planted there isn't
    followed. A link at `path` itself is replaced and not followed.

    Args:
        write: writes the content to the open file that it is given.
        mode: of the file, less the process's umask.

    Raises:
        OSError: the file can't be written. The new file is removed then, and also after any error of `write`.
    """
    partial = path.with_name(f".{path.name[:100]}.{os.urandom(8).hex()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def _check(path: str | os.PathLike[str], status: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        file_type = FILE_TYPES.get(stat.S_IFMT(status.st_mode), "no file")
        raise RefusedFileError(path, f"it is {file_type}; expected a regular file")
    for folder in KERNEL_FOLDERS:
        if Path(folder).is_mount() and status.st_dev == Path(folder).stat().st_dev:
            raise RefusedFileError(path, f"it is a file of {folder}, made up by the kernel; expected a regular file")
    if status.st_size > most:
        raise RefusedFileError(path, f"it has {status.st_size} bytes; expected at most {most}")
