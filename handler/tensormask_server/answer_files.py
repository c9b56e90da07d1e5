"""The files of a folder of answers: what is read and written there can't be led outside of it by a planted link."""

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LONGEST_NAME = 255  # bytes of a file's name, on most file systems
LARGEST_SMALL_FILE = 1 << 16  # bytes


def real(path: Path) -> Path:
    """Where links lead. Path.resolve raises an exception for a link to itself; this gives the link."""
    return Path(os.path.realpath(path))


def is_file(path: Path) -> bool:
    """Path.is_file raises an exception for a name that is too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def leads_nowhere(path: Path) -> bool:
    """Whether it is a link to what isn't there, or to itself."""
    is_link = False
    try:
        is_link = path.is_symlink()
        path.stat()
    except OSError:
        return is_link
    return False


def fitting(name: str, suffix: str) -> str:
    """An image's name with a suffix; where a file's name can't be that long, cut, and with a hash of what is cut."""
    if len(os.fsencode(name + suffix)) <= LONGEST_NAME:
        return name + suffix
    end = f"-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{suffix}"
    kept = os.fsencode(name)[: LONGEST_NAME - len(end)]
    return kept.decode(errors="ignore") + end


def write_whole(path: Path, content: bytes, folder: Path) -> None:
    """So that a file that is there is whole, whenever this is killed; its folders are made.

    A link in its place is replaced, and not written through.

    Args:
        folder: that the file has to be in.

    Raises:
        OSError: it can't be written, or a link leads out of the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not real(path.parent).is_relative_to(real(folder)):
        raise OSError(errno.EPERM, f"a link leads out of {folder}; remove it, or name another --out", str(path.parent))
    # of a name that can't be guessed, and new: nobody can have put a link there
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def read_small(path: Path) -> bytes:
    """
    Raises:
        FileNotFoundError: there is none.
        OSError: it isn't an ordinary file of less than LARGEST_SMALL_FILE; a link isn't one. Or it can't be read.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        content = file.read(LARGEST_SMALL_FILE) if is_file else b""
    if not is_file or len(content) == LARGEST_SMALL_FILE:
        raise OSError(errno.EINVAL, f"expected a file of less than {LARGEST_SMALL_FILE} bytes", str(path))
    return content


def files_below(folder: Path) -> Iterator[Path]:
    """Everything in a folder and its folders that isn't a folder, in one order. Links to folders aren't followed."""
    waiting = [folder]  # not a recursion: folders may lie in one another thousands deep
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            if here == folder:
                raise
            continue  # as Path.rglob, leaves out what can't be read
        waiting += [here / entry.name for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)]
        yield from (here / entry.name for entry in entries if not entry.is_dir(follow_symlinks=False))
