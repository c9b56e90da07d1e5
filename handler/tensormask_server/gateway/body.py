"""The body of a request as it comes: in pieces, with limits of bytes and time."""

import asyncio
import time
from collections.abc import AsyncIterator
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from tensormask_server.gateway.errors import ClientGoneError, GatewayError
from tensormask_server.gateway.settings import Settings

PIECE = 1 << 16  # bytes; smaller pieces are put together, because TorchServe is slow at many
LEAST_RATE = 10_000  # bytes a second, in each stretch of the idle time


class Body:
    """Reads one request's body. At most two pieces of it are in memory."""

    def __init__(self, scope: Scope, receive: Receive, settings: Settings):
        """
        Args:
            scope: ASGI's.
            receive: ASGI's.
            settings: with the limits.

        Raises:
            GatewayError: the body is too large, as its headers say: 413.
        """
        headers = Headers(scope=scope)
        length = headers.get("content-length")
        self.length = int(length) if length is not None else None  # None: it comes in chunks, or there is none
        self.is_expected = bool(self.length) or "transfer-encoding" in headers
        self._receive = receive
        self._settings = settings
        self._size = 0
        # Since the last look at the rate: seconds for the client, without those for the server behind, and bytes.
        self._recent_seconds, self._recent_bytes = 0.0, 0
        self._held = b""  # the first piece, once it was peeked at
        self._ended = asyncio.Event()
        if self.length is not None and self.length > settings.max_body_bytes:
            raise self._too_large()

    async def peek(self) -> bytes:
        """The first piece, which `pieces` yields as well: PIECE bytes or a little more, or the whole body.

        Raises:
            GatewayError: as for `pieces`.
            ClientGoneError: the client has gone.
        """
        if not self._held:
            self._held = await self._read_piece()
        return self._held

    async def pieces(self) -> AsyncIterator[bytes]:
        """The pieces, none of which is empty.

        Raises:
            GatewayError: the body is too large or comes too slowly: 413 or 408.
            ClientGoneError: the client has gone.
        """
        piece, self._held = self._held, b""
        while piece := piece or await self._read_piece():
            yield piece
            piece = b""

    async def wait_until_gone(self) -> None:
        """Returns when the client has gone after it has sent its whole body. Before that, reading raises the error."""
        if self.is_expected:
            await self._ended.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _read_piece(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while size < PIECE and not self._ended.is_set():
            part = await self._read()
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    async def _read(self) -> bytes:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.idle_seconds):
                message = await self._receive()
        except TimeoutError as error:
            raise self._too_slow() from error
        self._recent_seconds += time.monotonic() - started
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part: bytes = message.get("body", b"")
        self._size += len(part)
        if not message.get("more_body", False):
            self._ended.set()
        if self._size > self._settings.max_body_bytes:
            raise self._too_large()
        self._recent_bytes += len(part)
        if self._recent_seconds > self._settings.idle_seconds and not self._ended.is_set():
            if self._recent_bytes < LEAST_RATE * self._recent_seconds:
                raise self._too_slow()
            self._recent_seconds, self._recent_bytes = 0.0, 0
        return part

    def _too_large(self) -> GatewayError:
        size = f"{self.length} bytes" if self.length is not None else "too many bytes"
        return GatewayError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body has {size}, more than the {self._settings.max_body_bytes} allowed",
            "a smaller image, or an image file in the place of JSON",
        )

    def _too_slow(self) -> GatewayError:
        return GatewayError(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body didn't come: no byte for {self._settings.idle_seconds:g} s, or less than {LEAST_RATE} bytes a "
            "second",
            "the same request again",
        )
