"""Files in a folder of responses: a planted link can't lead what is read or written there out of the folder."""

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
    """Follows links. For a link to itself this returns the link, where Path.resolve raises an exception."""
    return Path(os.path.realpath(path))


def is_file(path: Path) -> bool:
    """As Path.is_file, which raises an exception for a name that is too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def leads_nowhere(path: Path) -> bool:
    """Whether it is a link to nothing, or to itself."""
    is_link = False
    try:
        is_link = path.is_symlink()
        path.stat()
    except OSError:
        return is_link
    return False


def fitting(name: str, suffix: str) -> str:
    """An image's name with a suffix. A name that is too long for a file is cut, and gets a hash of the whole."""
    if len(os.fsencode(name + suffix)) <= LONGEST_NAME:
        return name + suffix
    end = f"-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{suffix}"
    kept = os.fsencode(name)[: LONGEST_NAME - len(end)]
    return kept.decode(errors="ignore") + end


def write_inside(folder: Path, path: Path, content: bytes) -> None:
    """Writes a file of a folder, whole or not at all, with the folders in between.

    A link in its place is replaced, and not written through.

    Raises:
        OSError: it can't be written, or a link leads out of the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not real(path.parent).is_relative_to(real(folder)):
        raise OSError(errno.EPERM, f"a link leads out of {folder}; remove it, or name another --out", str(path.parent))
    write_whole(path, lambda file: file.write(content))


def read_small(path: Path) -> bytes:
    """Reads an ordinary file of less than LARGEST_SMALL_FILE bytes.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is larger or something else, such as a link, or it can't be read.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        content = file.read(LARGEST_SMALL_FILE) if is_file else b""
    if not is_file or len(content) == LARGEST_SMALL_FILE:
        raise OSError(errno.EINVAL, f"expected a file of less than {LARGEST_SMALL_FILE} bytes", str(path))
    return content


def files_below(folder: Path) -> Iterator[Path]:
    """All files in a folder and its folders, always in the same order. Links to folders aren't followed."""
    waiting = [folder]  # not a recursion: folders can be nested thousands deep
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            if here == folder:
                raise
            continue  # like Path.rglob: leaves out what can't be read
        waiting += [here / entry.name for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)]
        yield from (here / entry.name for entry in entries if not entry.is_dir(follow_symlinks=False))
