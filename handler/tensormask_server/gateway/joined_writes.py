"""Sends the head of a request or a response in one write with the start of its body.

Each write wakes the process at the other end, for which the writer waits where all cores are busy.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import httpcore


class HeldHead:
    """A client's connection as one response sees it. A head waits for the body, at most until the loop's next round."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop):
        """
        Args:
            transport: of the connection.
            loop: in which it is.
        """
        self._transport = transport
        self._loop = loop
        self._is_head = True  # what comes next
        self._held = b""
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Writes the head, or a part of the body."""
        if self._is_head:
            self._is_head = False
            self._held = data
            self._loop.call_soon(self._flush)
        else:
            held, self._held = self._held, b""
            self._transport.write(held + data)

    def close(self) -> None:
        """Closes the connection after all that was written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)


class JoiningBackend(httpcore.AsyncNetworkBackend):
    """Connections to the server behind, of which each joins a request's head and the start of its body."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connects, as httpcore's own backend does."""
        return _Joining(await self._backend.connect_tcp(host, port, timeout, local_address, socket_options))

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await self._backend.sleep(seconds)


class _Joining(httpcore.AsyncNetworkStream):
    """The first write after a read, or of all, waits for the next one, or for the next read."""

    def __init__(self, stream: httpcore.AsyncNetworkStream):
        self._stream = stream
        self._is_head = True  # what is written next
        self._held = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            # as httpcore does: the server may have closed the connection after it has sent its response
            with suppress(httpcore.WriteError):
                await self.write(b"", timeout)
        self._is_head = True
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._is_head:
            self._is_head = False
            self._held = buffer
        else:
            held, self._held = self._held, b""
            await self._stream.write(held + buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
