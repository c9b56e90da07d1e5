"""Locks on folders. A lock ends with the process that holds it, even if that is killed."""

import fcntl
import os
import time
from pathlib import Path


def lock(descriptor: int, seconds: float) -> None:
    """Locks an open folder.

    Args:
        descriptor: of the folder.
        seconds: how long to wait for another process's lock.

    Raises:
        BlockingIOError: another process still held the lock after that time.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def locked(path: Path) -> int:
    """Opens and locks a folder without waiting. A link is not followed.

    Returns:
        The descriptor that holds the lock until it is closed. Child processes don't inherit it.

    Raises:
        BlockingIOError: another process holds the lock.
        OSError: the folder can't be opened, or its file system has no locks.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        lock(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
