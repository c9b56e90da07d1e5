"""The client at servers that send too much, too slowly, or no HTTP: it gives up soon, with an error of its own."""

import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tensormask_server import exchange
from tensormask_server.client import Busy, Client, ClientError, Lost, Refused, TooLarge, WrongServer, image_bytes

from tests.unit.client.hostile_servers import (
    HEAD,
    PIXEL,
    dripping,
    endless,
    error_of,
    http,
    response,
    sending,
    talking,
)
from tests.waiting import PATIENCE

pytestmark = pytest.mark.attack(13, "a hostile server")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("999 Odd", Refused),
        ("600 Odd", Refused),
        ("204 No Content", Refused),  # with a length
        ("304 Not Modified", WrongServer),
        ("101 Switching Protocols", Refused),
        ("099 Odd", WrongServer),
        ("1000 Odd", WrongServer),
        ("-1 Odd", WrongServer),
    ],
)
def test_a_status_that_nobody_expects_is_an_error(status: str, expected: type[ClientError]) -> None:
    assert type(error_of(sending(http(b"hello", status)))) is expected


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (HEAD + b"\r\n", bytes(1 << 16)),  # no length, no end
        (HEAD + b"Content-Length: 1000000000000\r\n\r\n", bytes(1 << 16)),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(1 << 16) + b"\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1000),
        (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
            bytes(1 << 16),
        ),  # http.client reads such a chunk to its end
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nE8D4A51000\r\n", bytes(1 << 16)),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"Trailer: x\r\n" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (HEAD, b"X: y\r\n" * 90),
        (HEAD + b"X: ", b"y" * 65536),
        (b"HTTP/1.1 200 ", b"O" * 65536),
    ],
)
def test_what_has_no_end_is_given_up(start: bytes, piece: bytes) -> None:
    error = error_of(endless(start, piece), max_response_bytes=1 << 20)
    assert isinstance(error, TooLarge | WrongServer)


def test_headers_of_megabytes_are_given_up() -> None:
    lines = b"".join(b"X%d: %s\r\n" % (number, b"y" * 60_000) for number in range(90))
    error = error_of(sending(HEAD + lines + b"\r\n{}"))
    assert isinstance(error, TooLarge)
    assert "headers of more than 262144 bytes" in str(error)


def test_a_response_may_have_just_as_many_bytes_as_are_allowed() -> None:
    body = response()
    for limit, is_enough in ((len(body), True), (len(body) - 1, False)):
        with talking(sending(http(body))) as url:
            client = Client(url, waits=(), max_response_bytes=limit)
            if is_enough:
                assert len(client.predict(PIXEL)) == 0
            else:
                with pytest.raises(TooLarge, match=f"more than {limit} bytes; .*max_response_bytes"):
                    client.predict(PIXEL)


def test_a_length_that_does_not_come_takes_no_memory() -> None:
    """In a process that may have little of it."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "from tensormask_server.client import *\n"
        "try: Client(sys.argv[1], waits=()).predict(b'x')\n"
        "except Busy as error: print(error)"
    )
    for start in (b"Content-Length: 200000000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nE8D4A51000\r\n"):
        with talking(sending(HEAD + start + b"{")) as url:
            command = [sys.executable, "-c", code, url]
            result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert "the server ended the connection" in result.stdout, result.stderr


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (HEAD + b"Content-Length: 100000000\r\n\r\n", b" "),
        (b"", b"H"),
        (HEAD, b"X: y\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_what_drips_is_given_up_when_the_time_is_over(start: bytes, piece: bytes) -> None:
    error = error_of(dripping(start, piece), timeout=PATIENCE, total_timeout=0.5)
    assert isinstance(error, Lost)
    assert "no response in 0.5 s in all" in str(error)


def test_a_server_that_takes_the_image_drop_by_drop_is_given_up() -> None:
    def behave(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while not is_over.wait(0.01):
            connection.recv(1)
        connection.close()

    is_over = threading.Event()
    with talking(behave) as url:
        with pytest.raises(Lost, match=r"0\.5 s in all"):
            Client(url, waits=(), timeout=PATIENCE, total_timeout=0.5).request(bytes(100_000_000), "coco")
        is_over.set()


def test_tries_end_with_the_total_time() -> None:
    client = {"waits": (0.1, PATIENCE, PATIENCE), "total_timeout": 60}
    error = error_of(sending(http(b"{}", "503 Busy")), **client)
    assert isinstance(error, Busy)
    assert "2 times" in str(error)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.binary(max_size=200), position=st.integers(0, 200), keep=st.booleans())
@example(content=b"\r\nContent-Type: multipart/mixed; boundary=\r\n", position=15, keep=True)
@example(content=b"\r\nContent-Length: -5\r\n", position=15, keep=True)
def test_any_bytes_are_a_response_or_the_clients_own_error(content: bytes, position: int, keep: bool) -> None:
    whole = http(response(), "200 OK", b"Server-Timing: decode;dur=1")
    sent = whole[:position] + content + (whole[position:] if keep else b"")
    with talking(sending(sent)) as url, suppress(ClientError):
        Client(url, waits=()).predict(PIXEL)


def test_a_file_that_is_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ClientError, match="more than an image has"):
        image_bytes(path)


def test_limits_end_with_the_deadline() -> None:
    with pytest.raises(TimeoutError):
        exchange.Limits(1, time.monotonic() - 1, 1).seconds()
