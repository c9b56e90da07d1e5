"""The folder of one server's logs. Two servers never write to the same files."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from tensormask_server.printable import printable
from tensormask_server.torchserve.folder_lock import locked


class LogFolderError(Exception):
    """A folder can't be used for logs. The message has one line."""


@contextlib.contextmanager
def log_folder(folder: Path, management_port: int) -> Iterator[Path]:
    """Gives a server a folder that no other running server writes its logs to, and makes it if it isn't there.

    The folder is locked as long as it is used. TorchServe's loggers would otherwise mix the lines of two servers, and
    each would rename the other's files.

    Args:
        folder: where the user wants the logs.
        management_port: no two running servers of a machine have the same one.

    Yields:
        `folder`, or `folder/PORT` with the management port while another server uses `folder`.

    Raises:
        LogFolderError: the folder can't be made or written to, belongs to another user, or both folders are in use.
    """
    path, descriptor = _taken(folder, management_port)
    try:
        yield path
    finally:
        os.close(descriptor)


def _taken(folder: Path, management_port: int) -> tuple[Path, int]:
    """The first of the two folders that is free, and the descriptor that holds its lock."""
    both = (folder, folder / str(management_port))
    for path in both:
        try:
            path.mkdir(parents=True, exist_ok=True)
            _check_owner(path)
            return path, _locked(path.resolve())
        except BlockingIOError:
            continue
        except OSError as error:
            raise LogFolderError(f"can't use {printable(path)} as the folder of the logs: {error.strerror}") from error
    raise LogFolderError(
        f"other servers write their logs to {' and '.join(map(printable, both))}; expected a folder that no other "
        "server uses: choose one with --logs DIR"
    )


def _check_owner(folder: Path) -> None:
    """
    Raises:
        OSError: a user other than root and this one owns the folder or the link to it, and could redirect the logs.
    """
    if {folder.lstat().st_uid, folder.stat().st_uid} - {0, os.geteuid()}:
        raise OSError(errno.EPERM, "it belongs to another user; expected one of yours: choose one with --logs DIR")


def _locked(folder: Path) -> int:
    """As `locked`, but it opens the folder without a lock if the file system has none, as some of a network."""
    try:
        return locked(folder)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
