"""uvicorn's HTTP, with the bounds that it lacks: of a head's bytes and time, of trailers, chunks and connections.

A response may have a reason of its own in its status line.
"""

import asyncio
import json
import socket
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tensormask_server.gateway.joined_writes import HeldHead
from tensormask_server.gateway.reasons import WithReason

MOST_HEAD_BYTES = 1 << 16  # of a request line and headers; the server behind takes fewer
MOST_CHUNKS = 4096  # of less than LEAST_CHUNK bytes on the average
LEAST_CHUNK = 64  # bytes; parsing smaller ones takes much time for little data
MOST_PIPELINED = 8  # requests of a connection that wait for its first one


@dataclass(frozen=True)
class Bounds:
    """What one connection may take, and all together."""

    idle_seconds: float  # for a whole head, and without a byte that the client takes
    connections: int  # at a time; for one more, those on which the client does nothing for longest are closed


class TooManyPipelinedError(Exception):
    """A connection has sent more requests than may wait for its first one."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. It is closed when a request goes beyond a bound."""

    def __init__(self, bounds: Bounds, *arguments: Any, **named: Any):
        """
        Args:
            bounds: of all connections of one server.
            arguments, named: as uvicorn gives them.
        """
        super().__init__(*arguments, **named)
        self._bounds = bounds
        self._late: asyncio.TimerHandle | None = None  # runs while a head isn't whole
        self._last_moved = 0.0  # when the client last sent or read something, as far as `silent_since` needs it
        self._running: RequestResponseCycle | None = None  # the request that has the connection; others wait for it
        self._is_in_head = False
        self._extra_bytes = 0  # of a head that isn't whole yet, and of trailers
        self._chunks = self._body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        own: socket.socket = transport.get_extra_info("socket")
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a response has several writes; none waits
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # the kernel ends a connection whose client reads nothing
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * self._bounds.idle_seconds))
        self._wait_for_head()
        if len(self.connections) > self._bounds.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:  # uvicorn tells the last request only
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether it has no request in hand."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def silent_since(self) -> float | None:
        """When the client last sent or read something, by the loop's clock. None: it waits for its response."""
        has_to_send = self.cycle is not None and self.cycle.more_body and not self.cycle.waiting_for_100_continue
        is_sending = self.is_idle or (has_to_send and not self.flow.read_paused)
        is_for_client = is_sending or self.flow.write_paused
        return self._last_moved if is_for_client else None

    def pause_writing(self) -> None:
        self._last_moved = self.loop.time()  # from now on it has to read
        super().pause_writing()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_in_head:
            self._count(len(data))

    def on_message_begin(self) -> None:
        self._wait_for_head()
        self._is_in_head = True
        self._extra_bytes = self._chunks = self._body_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MOST_PIPELINED:
            raise TooManyPipelinedError  # ends the parsing: `send_400_response`
        self._wait_no_more()
        self._last_moved = self.loop.time()
        self._is_in_head = False
        self._extra_bytes = 0
        super().on_headers_complete()
        if not self.pipeline:
            self._running = self.cycle
        has_body = self.scope["method"] != "HEAD"  # else uvicorn takes the response for complete while its head is held
        transport = HeldHead(self.transport, self.loop) if has_body else self.transport
        self.cycle.transport = WithReason(transport, self.scope["state"])  # type: ignore[assignment]

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header. Trailers, which come after the body, aren't headers: they are dropped."""
        if self._is_in_head:
            super().on_header(name, value)
        else:
            self._count(len(name) + len(value))

    def on_response_complete(self) -> None:
        self._last_moved = self.loop.time()  # the client's turn begins
        following = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        self._running = following

    def on_body(self, body: bytes) -> None:
        self._last_moved = self.loop.time()
        self._chunks += 1
        self._body_bytes += len(body)
        if self._chunks > MOST_CHUNKS and self._body_bytes < LEAST_CHUNK * self._chunks:
            self.transport.abort()
        else:
            super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Answers what isn't HTTP. While a response of the connection is on its way, it only closes it."""
        if not self.is_idle and (self.pipeline or self.cycle.response_started):
            self.transport.close()
            return
        content = json.dumps({"error": msg, "expected": "a request in HTTP/1.1; GET /docs lists the paths"}).encode()
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + content)
        self.transport.close()

    def _make_room(self) -> None:
        """Closes an eighth of the connections: those on which the client does nothing for longest.

        They are idle, or half of a request or of a response has come. If all wait for their responses, this one goes.
        """
        silent = [
            (since, each)
            for each in self.connections
            if isinstance(each, BoundedProtocol) and each is not self and (since := each.silent_since) is not None
        ]
        silent.sort(key=lambda pair: pair[0])
        for each in [each for _, each in silent[: 1 + self._bounds.connections // 8]] or [self]:
            each.transport.abort()
            self.connections.discard(each)  # now, and not when the loop gets to it: more connections come meanwhile

    def _wait_for_head(self) -> None:
        self._wait_no_more()
        self._last_moved = self.loop.time()
        self._late = self.loop.call_later(self._bounds.idle_seconds, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()

    def _count(self, size: int) -> None:
        self._extra_bytes += size
        if self._extra_bytes > MOST_HEAD_BYTES:
            self.transport.abort()
