"""Checks the folder for temporary files, in which the processes that make batches need sockets."""

import os
import tempfile
from multiprocessing.connection import Listener

from tensormask_server.printable import printable

# of the bytes that a socket's path may have, what remains beside the names that multiprocessing adds
MOST_BYTES = 107 - len("/pymp-12345678/listener-12345678")


class TemporaryFolderError(OSError):
    """The folder for temporary files can't be used. The message is one line."""


def check_temporary_folder() -> None:
    """Makes a socket as the processes of a data loader do. Where theirs can't be made, their reader waits for ever.

    Raises:
        TemporaryFolderError: no socket can be made there, mostly as the folder's path is too long.
    """
    try:
        Listener(family="AF_UNIX").close()
    except OSError as error:
        folder = tempfile.gettempdir()
        raise TemporaryFolderError(
            f"TMPDIR is {printable(folder)}, of {len(os.fsencode(folder))} bytes; the processes that read images can't "
            f"make a socket there: {error.strerror or error}; expected a folder of at most {MOST_BYTES} bytes that can "
            "be written; set TMPDIR=/tmp, or give --workers 0"
        ) from error
