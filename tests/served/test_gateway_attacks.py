"""Clients that want to hold or to fool the gateway: each loses its own connection, and others are answered."""

import contextlib
import json
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.served.conftest import Server
from tests.served.gateways import RunningGateway, accepted, gateway_of
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.attack(17, "clients that hold or fool the gateway")

POST = b"POST /v1/segment HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UNFINISHED = POST + b"Content-Length: 1000\r\n\r\n"
PART = b'--a\r\nContent-Disposition: form-data; name="data"\r\n\r\n\r\n'
MOST = 1 << 20  # bytes of a body, in these tests


@pytest.fixture(scope="module")
def gateway(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """One with little patience."""
    options = ("--idle-timeout", 1, "--max-request-size", MOST)
    with gateway_of(server, tmp_path_factory.mktemp("gateway"), *options) as running:
        yield running


@pytest.fixture(autouse=True)
def others_are_answered(gateway: RunningGateway) -> Iterator[None]:
    yield
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE) as client:
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/segment", content=b"?").status_code == 400


def connect(gateway: RunningGateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE)


def answer(client: socket.socket) -> bytes:
    """All that comes until the gateway closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(1 << 16):
            received += piece
    return received


def error_of(response: bytes) -> dict[str, str]:
    content: dict[str, str] = json.loads(response.partition(b"\r\n\r\n")[2])
    return content


def send_for_ever(client: socket.socket, piece: bytes, most: int = 1 << 28) -> int:
    """How many bytes the gateway takes before it closes the connection."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < most:
            client.sendall(piece)
            sent += len(piece)
    return sent


# --- what never ends ---


@pytest.mark.parametrize(
    "start",
    [b"", b"POST /v1", POST, CHUNKED, CHUNKED + b"5\r\nab", POST + b"Content-Length: 100\r\n\r\nabc"],
    ids=["nothing", "half a line", "half a head", "no chunk", "half a chunk", "half a body"],
)
def test_what_does_not_come_to_an_end_is_closed(gateway: RunningGateway, start: bytes) -> None:
    with connect(gateway) as client:
        client.sendall(start)
        response = answer(client)
    assert not response or response.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400"))


@pytest.mark.parametrize("start", [CHUNKED, POST + b"Content-Length: 1000000\r\n\r\n"], ids=["chunks", "a length"])
def test_a_body_of_a_byte_now_and_then_is_closed(gateway: RunningGateway, start: bytes) -> None:
    with connect(gateway) as client:
        client.sendall(start)
        with contextlib.suppress(ConnectionError):
            while True:
                client.sendall(b"1\r\na\r\n")
                time.sleep(0.2)


def test_a_body_of_chunks_without_end_gets_a_413(gateway: RunningGateway) -> None:
    chunk = b"10000\r\n" + b"?" * 0x10000 + b"\r\n"
    with connect(gateway) as client:
        client.sendall(CHUNKED)
        assert send_for_ever(client, chunk) < 1 << 28
    length = POST + b"Content-Length: %d\r\n\r\n" % (MOST + 1)
    for start in (CHUNKED + chunk * (MOST // 0x10000 + 1), length):
        with connect(gateway) as client:
            client.sendall(start)
            client.shutdown(socket.SHUT_WR)
            response = answer(client)
        assert response.startswith(b"HTTP/1.1 413")
        assert "more than the 1048576 allowed" in error_of(response)["error"]


def test_very_small_chunks_are_closed(gateway: RunningGateway) -> None:
    with connect(gateway) as client:
        client.sendall(CHUNKED)
        assert send_for_ever(client, b"1\r\na\r\n" * 10_000, 1 << 24) < 1 << 24


@pytest.mark.parametrize("piece", [b"a", b"X-A: b\r\n"], ids=["one header", "headers"])
def test_a_head_without_end_is_closed(gateway: RunningGateway, piece: bytes) -> None:
    with connect(gateway) as client:
        client.sendall(POST + b"X: ")
        assert send_for_ever(client, piece * 10_000, 1 << 24) < 1 << 24


def test_trailers_without_end_are_closed(gateway: RunningGateway) -> None:
    with connect(gateway) as client:
        client.sendall(CHUNKED + b"1\r\n?\r\n0\r\n")
        assert send_for_ever(client, b"X-A: b\r\n" * 10_000, 1 << 24) < 1 << 24


@pytest.mark.parametrize(
    ("media_type", "said"),
    [
        (b"multipart/form-data", "parts"),
        (b"Multipart/Form-Data", "parts"),
        # a form for TorchServe, which looks at the beginning
        (b"multipart/form-datax", "'multipart/form-datax'"),
        (b"multipart/form-data, a", "'multipart/form-data, a'"),
        (b"multipart/mixed", "'multipart/mixed'"),
    ],
)
def test_a_form_of_very_many_parts_gets_a_400(gateway: RunningGateway, media_type: bytes, said: str) -> None:
    body = PART * 15_000
    with connect(gateway) as client:
        head = b"Content-Type: %s; boundary=a\r\nContent-Length: %d\r\n\r\n" % (media_type, len(body))
        client.sendall(POST + head + body)
        client.shutdown(socket.SHUT_WR)
        response = answer(client)
    assert response.startswith(b"HTTP/1.1 400")
    assert said in error_of(response)["error"]


# --- what programs read differently ---


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"Content-Length: +5\r\n\r\nabcde",
        b"Content-Length: 5, 5\r\n\r\nabcde",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 0x5\r\n\r\nabcde",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
        b"X: a\r\n folded: b\r\nContent-Length: 0\r\n\r\n",
        b"X\x00: a\r\nContent-Length: 0\r\n\r\n",
        b"X: \x00\r\nContent-Length: 0\r\n\r\n",
        b": a\r\nContent-Length: 0\r\n\r\n",
        b"no colon\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_an_ambiguous_request_is_refused_and_its_connection_closed(gateway: RunningGateway, head: bytes) -> None:
    with connect(gateway) as client:
        client.sendall(POST + head + b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        response = answer(client)
    assert response.startswith((b"HTTP/1.1 400", b"HTTP/1.1 408"))
    assert b"running" not in response.partition(b"}")[2]


def test_a_trailer_is_no_header(gateway: RunningGateway) -> None:
    with connect(gateway) as client:
        client.sendall(CHUNKED + b"1\r\n?\r\n0\r\nContent-Length: 9\r\nX-Request-ID: trailed\r\n\r\n")
        response = answer(client)
    assert response.startswith(b"HTTP/1.1 400")
    assert b"trailed" not in response


@pytest.mark.parametrize(
    "line", [b"hello", b"GET", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0", b"CONNECT a:1 HTTP/1.1"]
)
def test_what_is_not_http_gets_no_more_than_an_error(gateway: RunningGateway, line: bytes) -> None:
    with connect(gateway) as client:
        client.sendall(line + b"\r\nHost: a\r\n\r\n")
        response = answer(client)
    assert not response or response.startswith((b"HTTP/1.1 40", b"HTTP/1.1 505"))


def test_an_upgrade_is_not_made(gateway: RunningGateway) -> None:
    for protocol in (b"websocket", b"h2c"):
        with connect(gateway) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nUpgrade: %s\r\n" % protocol)
            client.sendall(b"Connection: upgrade\r\n\r\n")
            assert answer(client).startswith(b"HTTP/1.1 200")


# --- many ---


@pytest.mark.parametrize(
    "sent",
    [b"", UNFINISHED[:-2], UNFINISHED, UNFINISHED + b"abc"],
    ids=["nothing", "half a head", "a head", "half a body"],
)
def test_ten_thousand_connections_leave_room_for_others(server: Server, tmp_path: Path, sent: bytes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clients: list[socket.socket] = []
    with gateway_of(server, tmp_path, "--idle-timeout", 10_000) as patient:
        try:
            for _ in range(min(10_000, hard - 200)):
                with contextlib.suppress(OSError):
                    clients.append(connect(patient))
                    clients[-1].sendall(sent)
            with httpx.Client(base_url=patient.url, timeout=PATIENCE) as client:
                assert client.get("/readyz").status_code == 200
        finally:
            for each in clients:
                each.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        process = psutil.Process(patient.process.pid)
        wait_for(lambda: process.num_fds() < 200, "the connections' end")


def test_very_many_pipelined_requests_are_closed(server: Server, tmp_path: Path) -> None:
    """Behind the gateway listens a socket that never answers, so all of them wait for the first one."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        upstream = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with gateway_of(server, tmp_path, "--idle-timeout", 10_000, upstream=upstream) as other:
            process = psutil.Process(other.process.pid)
            before = process.memory_info().rss
            for _ in range(20):
                with connect(other) as client:
                    requests = b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n" + b"GET /x HTTP/1.1\r\n\r\n" * 29_000
                    with contextlib.suppress(ConnectionError):
                        client.sendall(requests)
                    assert answer(client) == b""
            assert process.memory_info().rss < before + (1 << 26)
            wait_for(lambda: process.num_fds() < 100, "the end of the connections to the server behind")


def test_a_response_that_nobody_reads_takes_little_memory(server: Server, tmp_path: Path) -> None:
    """Behind the gateway listens a socket that answers for ever."""
    with socket.create_server(("127.0.0.1", 0)) as endless:
        upstream = f"http://127.0.0.1:{endless.getsockname()[1]}"
        with gateway_of(server, tmp_path, "--idle-timeout", 2, upstream=upstream) as other, connect(other) as client:
            before = psutil.Process(other.process.pid).memory_info().rss
            client.sendall(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n")
            connection = accepted(endless)
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
            assert send_for_ever(connection, b"a" * (1 << 20)) < 1 << 28  # until the client's connection is closed
            assert psutil.Process(other.process.pid).memory_info().rss < before + (1 << 26)
