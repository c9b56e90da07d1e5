"""Sends one HTTP request and reads its response, with limits of bytes and time that hold whatever the server sends."""

import io
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from typing import cast

HEAD_BYTES = 1 << 18  # of the status line and the headers; ours have less than 1 kB
ERROR_BYTES = 1 << 16  # of the body of an error response; only a sentence of it is shown
PIECE = 1 << 16  # bytes that are sent or read before the time is checked again


class TooManyBytes(Exception):
    """The response has more bytes than the limits allow. The message has one line."""


@dataclass(frozen=True)
class Limits:
    """The limits of one request and its response."""

    silence: float  # seconds without a byte
    deadline: float  # of time.monotonic()
    body_bytes: int  # of a response with the status 200

    def seconds(self) -> float:
        """How many seconds to wait for the next byte.

        Raises:
            TimeoutError: the deadline has passed.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return min(self.silence, left)


@dataclass(frozen=True)
class RawResponse:
    """A server's response as it came. Redirects aren't followed."""

    status: int
    reason: str
    headers: Message
    body: bytes  # where the status isn't 200, its first ERROR_BYTES


def exchange(
    connection: HTTPConnection, method: str, target: str, body: bytes, headers: Mapping[str, bytes], limits: Limits
) -> RawResponse:
    """Sends a request and reads its response.

    Args:
        connection: connected; the caller closes it.
        target: path and query of the URL.
        body: the whole body of the request.
        headers: the request's headers, except Content-Length.
        limits: of time, and of the response's size.

    Raises:
        TooManyBytes: the response has more bytes than allowed.
        TimeoutError: no byte came for `limits.silence` seconds, or the response wasn't complete at `limits.deadline`.
        HTTPException, ValueError: the server doesn't speak HTTP.
        OSError: the connection ended.
    """
    sock: socket.socket = connection.sock

    def pieces() -> Iterator[memoryview]:
        for start in range(0, len(body), PIECE):
            sock.settimeout(limits.seconds())
            yield memoryview(body)[start : start + PIECE]

    sock.settimeout(limits.seconds())
    with suppress(BrokenPipeError, ConnectionResetError):  # a server that closes early may have sent an error first
        connection.request(method, target, pieces(), {**headers, "Content-Length": b"%d" % len(body)})
    received = _Received(sock, limits)
    # HTTPResponse only calls makefile() of a socket
    response = HTTPResponse(cast(socket.socket, received), method=method)
    try:
        response.begin()
        is_good = response.status == 200
        received.allow_body(limits.body_bytes if is_good else ERROR_BYTES)
        content = _read(response, limits.body_bytes if is_good else None)
        return RawResponse(response.status, response.reason, response.headers, content)
    finally:
        response.close()


def _read(response: HTTPResponse, most: int | None) -> bytes:
    """Reads a body.

    Args:
        most: the most bytes that the body may have. None: the first ERROR_BYTES are read and the rest is ignored.
    """
    # in pieces, because http.client would allocate as much as the header says before it comes
    content = bytearray()
    while piece := response.read(PIECE):
        content += piece
        if most is None and len(content) >= ERROR_BYTES:
            return bytes(content[:ERROR_BYTES])
        if most is not None and len(content) > most:
            raise TooManyBytes(f"a response of more than {most} bytes")
    if response.length:  # read() would raise this itself; read(PIECE) doesn't
        raise IncompleteRead(bytes(content[:PIECE]), response.length)
    return bytes(content)


class _Received(io.RawIOBase):
    """A socket's bytes, counted and timed before http.client gets them.

    http.client has no limit of its own on "100 Continue" responses, on trailers, or on a chunk of a negative size.
    """

    def __init__(self, sock: socket.socket, limits: Limits):
        self._socket = sock
        self._limits = limits
        self._left = HEAD_BYTES
        self._limit = f"headers of more than {HEAD_BYTES} bytes"

    def allow_body(self, size: int) -> None:
        """Allows a body of `size` bytes from now on, and as many bytes again for the frames of its chunks."""
        self._left += 2 * size
        self._limit = f"a response of more than {size} bytes, with its chunks' frames"

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, PIECE)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        self._socket.settimeout(self._limits.seconds())
        count = self._socket.recv_into(cast(bytearray, buffer))
        self._left -= count
        if self._left < 0:
            raise TooManyBytes(self._limit)
        return count
