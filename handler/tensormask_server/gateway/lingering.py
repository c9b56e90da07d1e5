"""Reads the rest of a request's body after an early response.

A connection that is closed while bytes still come is reset, and then the client may never see the response.
"""

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

SECONDS = 5.0  # and a client that sends longer may lose its response
MOST_BYTES = 1 << 25


class Lingering:
    """ASGI's receive and send of one request. The connection is closed after a response before the body's end."""

    def __init__(self, scope: Scope, receive: Receive, send: Send):
        headers = Headers(scope=scope)
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self._is_body_read = not has_body
        self._receive = receive
        self._send = send
        self._left = MOST_BYTES

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._is_body_read = True
        return message

    async def send(self, message: Message) -> None:
        if self._is_body_read:
            await self._send(message)
        elif message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
            await self._send(message)
        elif message.get("more_body", False):
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(SECONDS):
                    while not self._is_body_read and self._left > 0:
                        self._left -= len((await self.receive()).get("body", b""))
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
