"""Bodies that a route has to read whole, because an image stands somewhere in their JSON. All together have a limit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Protocol

from tensormask_server.gateway.errors import GatewayError

LARGEST_BODIES = 4  # as many of the largest size may be in memory at a time


class InPieces(Protocol):
    """The `Body` of a request, or what else comes in pieces."""

    def pieces(self) -> AsyncIterator[bytes]:
        """The pieces, none of which is empty."""
        ...


class WholeBodies:
    """The bodies that one gateway has in memory."""

    def __init__(self, most_bytes: int):
        """
        Args:
            most_bytes: of all bodies together.
        """
        self._most_bytes = most_bytes
        self._held_bytes = 0

    @asynccontextmanager
    async def read(self, body: InPieces) -> AsyncIterator[bytes]:
        """Reads a body. Its bytes count until the context ends.

        Args:
            body: of a request; nothing of it has been read but by `peek`. Or an image that is fetched for a request.

        Raises:
            GatewayError: the bodies in memory and this one have too many bytes: 503. Or as for the body's `pieces`.
            ClientGoneError: the client has gone.
        """
        own_bytes = 0
        pieces = []
        try:
            async for piece in body.pieces():
                if self._held_bytes + len(piece) > self._most_bytes:
                    raise GatewayError(
                        HTTPStatus.SERVICE_UNAVAILABLE,
                        f"the requests in hand have {self._most_bytes} bytes, which is as much as is kept",
                        "the same request again in a moment, or fewer at a time",
                        {"Retry-After": "1"},
                    )
                self._held_bytes += len(piece)
                own_bytes += len(piece)
                pieces.append(piece)
            whole = b"".join(pieces)
            pieces.clear()
            yield whole
        finally:
            self._held_bytes -= own_bytes
