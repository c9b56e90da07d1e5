"""Servers that send what a test says, and what the client makes of it."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from tensormask_server.client import Client, ClientError

from tests.waiting import PATIENCE

PIXEL = np.zeros((1, 2, 3), np.uint8)
GOOD = {"instances": [], "width": 2, "height": 1, "model": "m", "weights_sha256": "0"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextmanager
def talking(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads a request's headers, and then calls a function with the connection."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection = listener.accept()[0]
                with connection, suppress(OSError):
                    connection.settimeout(PATIENCE)
                    received = b""
                    while b"\r\n\r\n" not in received:
                        received += connection.recv(1 << 16)
                    behave(connection)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1 << 16):  # closed with something unread, it would break off what was sent
                        pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/predictions/x"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE)


def sending(*pieces: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return behave


def endless(start: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)

    return behave


def dripping(start: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    """Never silent for as long as the client would wait for a byte."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)
            time.sleep(0.02)

    return behave


def http(body: bytes, status: str = "200 OK", *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status.encode(), b"Content-Type: application/json", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


def response(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def error_of(behave: Callable[[socket.socket], None], **limits: Any) -> ClientError:
    with talking(behave) as url, pytest.raises(ClientError) as caught:
        Client(url, **{"waits": (), **limits}).predict(PIXEL)
    assert str(caught.value).isprintable()
    assert len(str(caught.value).encode()) <= 1000
    return caught.value
