"""Regular files alone, opened and read with a limit.

A path from a command line or from another file can name a pipe, which blocks for ever, or a device without an end.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

KINDS = {
    stat.S_IFIFO: "a FIFO (a pipe)",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
}
# their files look regular, and hold whatever the kernel makes up while they are read
KERNEL_FOLDERS = ("/proc", "/sys")
# bytes of a file, by what is in it
MOST_TEXT = 1 << 20  # class names, properties, certificates, tokens
MOST_IMAGE = 1 << 30  # the largest image that Pillow opens has half of it, uncompressed
MOST_ANNOTATIONS = 1 << 32  # COCO's training set has 0.45 GB
MOST_WEIGHTS = 1 << 32  # the published ones have 0.2 to 0.5 GB
MOST_ARCHIVE = 1 << 33


class RefusedFileError(OSError):
    """A path that names no regular file, or a file that is too large. `strerror` says what was found and expected."""

    def __init__(self, path: str | os.PathLike[str], reason: str):
        super().__init__(errno.EINVAL, reason, os.fspath(path))


def open_regular(path: str | os.PathLike[str], most: int) -> BufferedReader:
    """Opens a file for reading, without waiting and without any effect where it isn't a regular one.

    What was opened is checked, not what the path named before, so it can't be exchanged in between.

    Args:
        path: links are followed.
        most: bytes that the file may have.

    Raises:
        RefusedFileError: it isn't a regular file, or has more bytes.
        OSError: it isn't there, or can't be opened.
    """
    _check(path, Path(path).stat(), most)  # so that not even opening does something to a device
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check(path, os.fstat(descriptor), most)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str], most: int) -> bytes:
    """The whole content.

    Args:
        path, most: as in `open_regular`.

    Raises:
        RefusedFileError, OSError: as `open_regular`; also where the file grows while it is read.
    """
    with open_regular(path, most) as file:
        size = os.fstat(file.fileno()).st_size  # `most` bytes would be taken from memory at once
        content = file.read(size + 1)
    if len(content) > size:
        raise RefusedFileError(path, "it grows while it is read; try again when it is written")
    return content


def read_text(path: str | os.PathLike[str], most: int = MOST_TEXT) -> str:
    """The whole content as UTF-8, without the byte order mark that some editors put at its start.

    Args:
        path, most: as in `open_regular`.

    Raises:
        RefusedFileError, OSError: as `read_regular`.
        UnicodeDecodeError: it isn't UTF-8.
    """
    return read_regular(path, most).decode("utf-8-sig")


def write_whole(path: Path, write: Callable[[BinaryIO], object], mode: int = 0o666) -> None:
    """Puts a file in place whole or not at all, by way of a new file beside it.

    The new file's name can't be foreseen, and it is made by this call alone: a link that somebody planted at it isn't
    followed. A link at `path` itself is replaced, not followed.

    Args:
        write: is given the new file, to write to.
        mode: of the file, less the process's umask.

    Raises:
        OSError: it can't be written; nothing is left beside it. Likewise with whatever `write` raises.
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
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "no file")
        raise RefusedFileError(path, f"it is {kind}; expected a regular file")
    for folder in KERNEL_FOLDERS:
        if Path(folder).is_mount() and status.st_dev == Path(folder).stat().st_dev:
            raise RefusedFileError(path, f"it is a file of {folder}, made up by the kernel; expected a regular file")
    if status.st_size > most:
        raise RefusedFileError(path, f"it has {status.st_size} bytes; expected at most {most}")
