"""The folder of one server's logs. Two servers never write to the same files."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tensormask_server.printable import printable, say
from tensormask_server.torchserve.folder_lock import locked
from tensormask_server.torchserve.private_folder import state_folders
from tensormask_server.torchserve.trusted_folders import trusted_folder

LOGS = Path("logs")


class LogFolderError(Exception):
    """A folder can't be used for logs. The message has one line."""


@contextlib.contextmanager
def log_folder(folder: Path | None, management_port: int) -> Iterator[Path]:
    """Gives a server a folder that no other running server writes its logs to, and makes it if it isn't there.

    The folder is locked as long as it is used. TorchServe's loggers would otherwise mix the lines of two servers, and
    each would rename the other's files.

    Args:
        folder: where the user wants the logs. None: `logs` in the current folder. Where that can't be used, it is
            `logs` in the user's folder for the state of programs, or else a new folder for temporary files.
        management_port: no two running servers of a machine have the same one.

    Yields:
        `folder`, or `folder/PORT` with the management port while another server uses `folder`. If links lead there, it
        is the path without them.

    Raises:
        LogFolderError: the folder can't be made or written to, another user could lead the logs elsewhere, or both
            folders are in use.
    """
    path, descriptor = _default_taken(management_port) if folder is None else _taken(folder, management_port)
    try:
        yield path
    finally:
        os.close(descriptor)


def _default_taken(management_port: int) -> tuple[Path, int]:
    """As `_taken`, where the user wants no folder. It says so if it isn't the usual one."""
    try:
        return _taken(LOGS, management_port)
    except LogFolderError as error:
        reason = error
    for folder in state_folders():
        with contextlib.suppress(LogFolderError):
            taken = _taken(folder / LOGS, management_port)
            break
    else:
        try:
            made = Path(tempfile.mkdtemp(prefix="tensormask-server-logs-"))
        except OSError:
            raise reason from None
        taken = made, _locked(made)
    say(f"Logs:  in {printable(taken[0])}; {reason}")
    return taken


def _taken(folder: Path, management_port: int) -> tuple[Path, int]:
    """The first of the two folders that is free, and the descriptor that holds its lock."""
    both = (folder, folder / str(management_port))
    for path in both:
        try:
            found = trusted_folder(path)
            return path if path.absolute() == found else found, _locked(found)
        except BlockingIOError:
            continue
        except OSError as error:
            example = "~/tensormask-logs" if os.geteuid() else "/var/log/tensormask-server"
            raise LogFolderError(
                f"can't use {printable(path)} as the folder of the logs: {error.strerror}; expected a folder of yours "
                f"that no other user can replace or write to: choose one with --logs DIR, such as {example}"
            ) from error
    raise LogFolderError(
        f"other servers write their logs to {' and '.join(map(printable, both))}; expected a folder that no other "
        "server uses: choose one with --logs DIR"
    )


def _locked(folder: Path) -> int:
    """As `locked`, but it opens the folder without a lock if the file system has none, as some of a network."""
    try:
        return locked(folder)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
