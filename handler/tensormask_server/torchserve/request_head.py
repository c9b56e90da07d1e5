"""The head of a request, which is its request line and its headers, read up to a limit."""

import io
from http import HTTPStatus

from tensormask_server.torchserve.routes import Refused

LARGEST_HEAD = 1 << 14  # bytes; a whole request of curl's with a token has some 200


class HeadReader(io.BufferedReader):
    """Reads the lines of a request's head, and then its body. By itself, http.server takes 100 lines of 64 KiB each."""

    def __init__(self, raw: io.RawIOBase):
        """
        Args:
            raw: a new connection's bytes.
        """
        super().__init__(raw)
        self._left = LARGEST_HEAD

    def readline(self, size: int | None = -1) -> bytes:
        """Reads a line of the head.

        Args:
            size: the most bytes of it; a negative number or None for the whole line.

        Raises:
            Refused: the head has more than LARGEST_HEAD bytes. The rest isn't read.
        """
        most = self._left + 1
        line = super().readline(most if size is None or size < 0 else min(size, most))
        self._left -= len(line)
        if self._left < 0:
            raise Refused(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"the request line and the headers have more than {LARGEST_HEAD} bytes",
                f"at most {LARGEST_HEAD} bytes",
            )
        return line
