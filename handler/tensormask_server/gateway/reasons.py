"""Errors in the status line: HTTP's reason phrase, the only part of an error that some clients show to their user."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from tensormask_server.gateway.joined_writes import HeldHead
from tensormask_server.printable import printable

KEY = "reason"  # in ASGI's state of a request, once its response should have a reason of its own
MOST_BYTES = 400


class WithReason:
    """The connection as one response sees it. It writes the reason that stands in the request's state."""

    def __init__(self, transport: asyncio.Transport | HeldHead, state: MutableMapping[str, Any]):
        """
        Args:
            transport: of the connection.
            state: ASGI's, of the request.
        """
        self._transport = transport
        self._state = state
        self.close = transport.close
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Writes the status line and headers, or a part of the body."""
        reason = self._state.pop(KEY, None)
        if reason is not None:  # it is there from before the status line on
            line, rest = data.split(b"\r\n", 1)
            data = b"%s %s\r\n%s" % (line[: len(b"HTTP/1.1 400")], _visible(reason), rest)
        self._transport.write(data)


def _visible(text: str) -> bytes:
    """The text in the characters that every client reads there alike."""
    return printable(text, MOST_BYTES).replace("…", "...").encode("ascii", "replace")
