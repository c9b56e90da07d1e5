"""A gateway in front of what isn't our server: each response of it is passed on, or becomes a clear 502."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.served.conftest import Server
from tests.served.gateways import RunningGateway, gateway_of
from tests.waiting import PATIENCE

pytestmark = pytest.mark.attack(17, "a server behind the gateway whose responses HTTP doesn't allow")

PATHS = ("/ping", "/predictions/tiny", "/v1/segment", "/model/")  # each reads a response in its own way


class StrangeServer:
    """Answers each request with the bytes of `response`, and then closes the connection."""

    def __init__(self) -> None:
        self.response = b""
        self.closing = threading.Lock()  # held from a response's first byte until its connection is closed
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self.respond, args=(self.listener.accept()[0],), daemon=True).start()

    def respond(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE)
            received = b""
            while b"\r\n\r\n" not in received:
                if not (piece := connection.recv(1 << 16)):
                    return  # it has only looked whether the server is there
                received += piece
            with self.closing:
                connection.sendall(self.response)
                connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):  # closed with something unread, it would break off what was sent
                pass


@pytest.fixture(scope="module")
def strange() -> Iterator[StrangeServer]:
    server = StrangeServer()
    with server.listener:
        threading.Thread(target=server.serve, daemon=True).start()
        yield server
        server.listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def gateway(
    server: Server, strange: StrangeServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """It knows the names of the models from a real server, and sends its requests to the strange one."""
    with gateway_of(server, tmp_path_factory.mktemp("gateway"), upstream=strange.url) as running:
        yield running
        running.process.terminate()
        assert running.process.stdout is not None
        assert "Traceback" not in running.process.stdout.read()


@pytest.fixture(scope="module")
def http(gateway: RunningGateway, strange: StrangeServer) -> Iterator[httpx.Client]:
    """Between two requests the gateway can see that the connection of the first one is closed."""

    def wait(_: httpx.Response) -> None:
        with strange.closing:
            pass

    with httpx.Client(base_url=gateway.url, timeout=PATIENCE, event_hooks={"response": [wait]}) as client:
        yield client


def raw(status: str, *lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status.encode(), *lines, b"", body])


TWO = b"Content-Length: 2"


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (raw("999 Odd", TWO, body=b"hi"), 502),
        (raw("600 Odd", TWO, body=b"hi"), 502),
        (raw("099 Odd", TWO, body=b"hi"), 502),
        (raw("101 Switching Protocols", b"Upgrade: x", b"Connection: upgrade"), 502),
        (raw("200 OK", b"X: a\x01b", TWO, body=b"hi"), 502),
        (raw("200 OK", b"X: " + b"a" * (1 << 18), TWO, body=b"hi"), 502),
        (b"no HTTP\r\n\r\n", 502),
        (b"", 502),
        (raw("204 No Content", b"Content-Length: 5", body=b"hello"), 204),
        (raw("304 Not Modified", b"Content-Length: 5"), 304),
        (raw("299 Odd", TWO, body=b"hi"), 299),
        (raw("200 OK", TWO, b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n"), 200),
        (raw("103 Early Hints", b"Link: </a>", body=raw("200 OK", TWO, body=b"hi")), 200),
    ],
    ids=lambda value: str(value[:24]) if isinstance(value, bytes) else None,
)
def test_a_strange_response_is_passed_on_or_becomes_a_502(
    response: bytes, status: int, strange: StrangeServer, http: httpx.Client
) -> None:
    strange.response = response
    for path in PATHS:
        answer = http.get(path) if path == "/ping" else http.post(path, content=b"{}")
        assert answer.status_code == status, path
        if status == 502:
            assert set(answer.json()) == {"error", "expected"}
    assert http.get("/healthz").status_code == 200


def test_a_status_that_only_a_proxy_has_becomes_a_502(strange: StrangeServer, http: httpx.Client) -> None:
    """Paths of TorchServe pass it on; the gateway's own explain it."""
    strange.response = raw("520 Odd", TWO, body=b"hi")
    assert http.post("/predictions/tiny", content=b"{}").status_code == 520
    for path in ("/v1/segment", "/model/"):
        answer = http.post(path, content=b"{}")
        assert (answer.status_code, answer.json()["error"]) == (502, "the server sent the status 520")


@pytest.mark.parametrize(
    ("said", "body", "status"),
    [
        ("200 OK", b"<p>hi</p>", 502),
        ("200 OK", b"[1]", 502),
        ("200 OK", b"{}", 502),
        ("200 OK", b'{"shapes": 1}', 502),
        ("200 OK", b"[" * 100_000, 502),
        ("299 Odd", b"{}", 502),
        ("400 Bad Request", b'{"error": "no image", "expected": "one"}', 400),
        ("400 Bad Request", b'{"error": "no image"}', 502),
        ("400 Bad Request", b'{"error": 1, "expected": 2}', 502),
        ("520 Odd", b'{"error": "no image", "expected": "one"}', 502),
    ],
)
def test_a_result_that_the_gateway_reads_itself_is_checked(
    said: str, body: bytes, status: int, strange: StrangeServer, http: httpx.Client
) -> None:
    worker = b"X-Instance-Count: 0"  # as our server's workers have it
    strange.response = raw(said, worker, b"Content-Length: %d" % len(body), body=body)
    answer = http.post("/v1/predict", json={"model": "tiny", "image": "data:image/png;base64,AAAA"})
    assert answer.status_code == status
    assert answer.json()["success"] is False


@pytest.mark.parametrize(
    "response",
    [
        raw("200 OK", b"Content-Length: 9", body=b"hi"),
        raw("200 OK", b"Transfer-Encoding: chunked", body=b"2\r\nhi\r\nzz"),
    ],
    ids=["too short", "no chunk"],
)
def test_a_response_that_breaks_off_is_not_taken_for_whole(
    response: bytes, strange: StrangeServer, gateway: RunningGateway, http: httpx.Client
) -> None:
    strange.response = response
    id = f"broken-{len(response)}"
    with pytest.raises(httpx.RemoteProtocolError):
        http.post("/v1/segment", content=b"{}", headers={"X-Request-ID": id})
    assert gateway.record(id)["ended"] == "server gone"


def test_a_server_that_reads_no_further_makes_a_503(server: Server, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with (
            gateway_of(server, tmp_path, "--idle-timeout", 1, upstream=url) as other,
            httpx.Client(base_url=other.url, timeout=PATIENCE) as client,
        ):
            answer = client.post("/v1/segment", content=bytes(30_000_000))
    assert (answer.status_code, answer.json()["error"]) == (503, "the server takes no more of the body")
    assert answer.headers["Retry-After"]
