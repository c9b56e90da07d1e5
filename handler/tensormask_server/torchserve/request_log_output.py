"""Where the workers write their log of requests: a file, or a FIFO whose lines the launcher prints."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tensormask_server.printable import printable
from tensormask_server.request_log import VARIABLE, check_log_file

STDOUT = "-"
PIECE = 1 << 16  # bytes that are read at once
END_SECONDS = 5  # for the last lines, where nobody reads stdout


class RequestLogError(Exception):
    """The log of requests can't be written. The message has one line."""


@contextlib.contextmanager
def request_log_output(target: str, folder: Path) -> Iterator[dict[str, str]]:
    """Prepares the log of requests.

    Args:
        target: a file's path, or "-" for stdout. "": there is no log.
        folder: a private one, for the FIFO.

    Yields:
        The variables that the workers need in their environment.

    Raises:
        RequestLogError: the file can't be used.
    """
    if not target:
        yield {}
    elif target == STDOUT:
        path = folder / "requests.fifo"
        os.mkfifo(path, 0o600)
        with _printed(path):
            yield {VARIABLE: str(path)}
    else:
        path = Path(target).absolute()
        try:
            check_log_file(path)
        except OSError as error:
            raise RequestLogError(
                f"can't write the log of requests to {printable(path)}: {error.strerror}; expected a file of yours, "
                "and no link: choose one with --request-log FILE, or - for stdout"
            ) from error
        yield {VARIABLE: str(path)}


@contextlib.contextmanager
def _printed(fifo: Path) -> Iterator[None]:
    """Prints what comes through a FIFO. Its content decides nothing."""
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    writing = os.open(fifo, os.O_WRONLY | os.O_CLOEXEC)  # so that the FIFO doesn't end while no worker has it open
    os.set_blocking(reading, True)
    thread = threading.Thread(target=_print, args=(reading,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.close(writing)
        thread.join(END_SECONDS)


def _print(descriptor: int) -> None:
    rest = b""
    with os.fdopen(descriptor, "rb", buffering=0) as fifo:
        while piece := fifo.read(PIECE):
            lines, end, rest_of_piece = piece.rpartition(b"\n")
            if end:
                with contextlib.suppress(OSError):  # nobody reads stdout any more
                    sys.stdout.write((rest + lines + end).decode("ascii", "replace"))
                    sys.stdout.flush()
                rest = b""
            rest += rest_of_piece
