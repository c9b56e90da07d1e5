"""Reads and writes files in a folder of responses. A planted link can't lead a read or a write out of the folder."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tensormask_server.regular_files import write_whole

LONGEST_NAME = 255  # bytes of a file's name, on most file systems
LARGEST_SMALL_FILE = 1 << 16  # bytes


def real(path: Path) -> Path:
    """Follows links. For a link to itself it returns the link, whereas Path.resolve raises an exception."""
    return Path(os.path.realpath(path))


def is_file(path: Path) -> bool:
    """Whether it is a file. Path.is_file raises an exception for a name that is too long; this returns False."""
    try:
        return path.is_file()
    except OSError:
        return False


def leads_nowhere(path: Path) -> bool:
    """Whether it is a link to a path that doesn't exist, or to itself."""
    is_link = False
    try:
        is_link = path.is_symlink()
        path.stat()
    except OSError:
        return is_link
    return False


def fitting(name: str, suffix: str) -> str:
    """An image's name with a suffix. If that is too long for a file, the name is cut and gets a hash of itself."""
    if len(os.fsencode(name + suffix)) <= LONGEST_NAME:
        return name + suffix
    end = f"-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{suffix}"
    kept = os.fsencode(name)[: LONGEST_NAME - len(end)]
    return kept.decode(errors="ignore") + end


def write_inside(folder: Path, path: Path, content: bytes) -> None:
    """Writes a file in a folder completely or not at all. It makes the folders in between.

    A link at the file's path is replaced, and not followed.

    Args:
        folder: the file must stay inside it.
        path: of the file.

    Raises:
        OSError: the file can't be written, or a link leads out of the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not real(path.parent).is_relative_to(real(folder)):
        raise OSError(errno.EPERM, f"a link leads out of {folder}; remove it, or name another --out", str(path.parent))
    write_whole(path, lambda file: file.write(content))


def read_small(path: Path) -> bytes:
    """Reads an ordinary file of less than LARGEST_SMALL_FILE bytes.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it is larger, it is a link or another special file, or it can't be read.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        content = file.read(LARGEST_SMALL_FILE) if is_file else b""
    if not is_file or len(content) == LARGEST_SMALL_FILE:
        raise OSError(errno.EINVAL, f"expected a file of less than {LARGEST_SMALL_FILE} bytes", str(path))
    return content


def files_below(folder: Path) -> Iterator[Path]:
    """All files in a folder and in its folders, in a fixed order. Links to folders aren't followed."""
    waiting = [folder]  # not a recursion: folders can be nested thousands deep
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            if here == folder:
                raise
            continue  # as Path.rglob, it leaves out folders that can't be read
        waiting += [here / entry.name for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)]
        yield from (here / entry.name for entry in entries if not entry.is_dir(follow_symlinks=False))
