"""The management port against pages in a browser, against clients that hold it, and for what it is there for."""

import http.client
import json
import os
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import psutil
import pytest
from tensormask_server.torchserve import relay

from tests.served.conftest import Server, launched, ready, starting
from tests.waiting import wait_for

HERE = "127.0.0.1:{port}"


def requested(server: Server, method: str, path: str, host: str = HERE, **headers: str) -> tuple[int, Any]:
    """A request with just these headers: names with _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", server.ports[1], timeout=300)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": host.format(port=server.ports[1]), **headers}.items():
        if value:
            connection.putheader(name.replace("_", "-"), value.format(port=server.ports[1]))
    connection.endheaders()
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content or b"{}")


SENDERS = {
    "a page of elsewhere": {"Origin": "https://evil.example"},
    "a page without an origin, as from a file or a sandbox": {"Origin": "null"},
    "a page of the inference port": {"Origin": "http://127.0.0.1:8080"},
    "a page whose name leads to 127.0.0.1": {"Host": "evil.example:{port}"},
    "that page, which says so": {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
    "a name that begins as ours": {"Host": "localhost.evil.example"},
    "a name that ends as ours": {"Host": "evil-localhost"},
    "an address that begins as ours": {"Host": "127.0.0.1.evil.example"},
    "another address": {"Host": "192.0.2.1"},
    "all addresses": {"Host": "0.0.0.0:{port}"},
    "no host": {"Host": ""},
    "a browser's fetch from another site": {"Sec_Fetch_Site": "cross-site"},
    "a browser's fetch from another port": {"Sec_Fetch_Site": "same-site"},
}


@pytest.mark.attack(1, "the number of workers changed by a page in a local browser")
@pytest.mark.parametrize("sender", SENDERS)
def test_no_page_changes_anything(server: Server, sender: str) -> None:
    headers = {name.lower(): value for name, value in SENDERS[sender].items()}
    host = headers.pop("host", HERE)
    for method in ("PUT", "GET", "POST", "DELETE", "OPTIONS"):
        status, content = requested(server, method, "/models/tiny?min_worker=2&max_worker=2", host, **headers)
        assert status == 403
        assert set(content) == {"error", "expected"}
    [described] = requested(server, "GET", "/models/tiny")[1]
    assert (described["minWorkers"], described["maxWorkers"]) == (1, 1)


CLOSED = {
    "a registration": ("POST", "/models?url=x.mar", 405),
    "a deletion": ("DELETE", "/models/tiny", 405),
    "another default": ("PUT", "/models/tiny/1.0/set-default", 404),
    "the API's description": ("OPTIONS", "/", 404),
    "the API's description by its path": ("GET", "/api-description", 404),
    "a prediction": ("POST", "/predictions/tiny", 404),
    "the workflows": ("GET", "/workflows", 404),
    "a path above": ("GET", "/models/../workflows", 404),
    "a path above, encoded": ("GET", "/models/%2e%2e/workflows", 404),
    "a whole URL": ("GET", "http://127.0.0.1/models", 404),
    "a line of its own in a name": ("GET", "/models/x%0d%0aState%20change", 404),
    "what asks the worker": ("GET", "/models/tiny?customized=true", 400),
    "an unknown key": ("PUT", "/models/tiny?min_workers=2", 400),
    "a key twice": ("PUT", "/models/tiny?min_worker=1&min_worker=9", 400),
    "no number": ("PUT", "/models/tiny?min_worker=x", 400),
    "a negative number": ("PUT", "/models/tiny?min_worker=-1", 400),
    "too many workers": ("PUT", "/models/tiny?min_worker=1&max_worker=9999", 400),
    "a line of its own in a value": ("PUT", "/models/tiny?min_worker=1%0a", 400),
    "no query": ("PUT", "/models/tiny", 400),
    "very many keys": ("PUT", "/models/tiny?" + "&".join(f"a{n}=1" for n in range(2000)), 400),
    "another token": ("GET", "/token?type=API", 400),
}


@pytest.mark.attack(1, "routes of TorchServe's management that aren't documented")
@pytest.mark.parametrize("name", CLOSED)
def test_other_routes_are_not_passed_on(server: Server, name: str) -> None:
    method, path, expected = CLOSED[name]
    status, content = requested(server, method, path)
    assert status == expected
    assert set(content) == {"error", "expected"}


def test_documented_routes_are_passed_on(server: Server) -> None:
    for host in (HERE, "localhost", "localhost:{port}", "[::1]:{port}", "LOCALHOST"):
        assert requested(server, "GET", "/models", host)[1]["models"][0]["modelName"] == "tiny"
    assert requested(server, "GET", "/models/tiny/1.0")[1][0]["modelVersion"] == "1.0"
    assert requested(server, "GET", "/v1/models/tiny") == (200, {"name": "tiny", "ready": True})
    status, content = requested(server, "PUT", "/models/tiny?min_worker=1&max_worker=1&synchronous=true")
    assert (status, content["status"]) == (200, "Workers scaled to 1 for model: tiny")
    assert requested(server, "GET", "/models/absent")[0] == 404


def test_without_tokens_the_route_of_tokens_says_so(server: Server) -> None:
    status, content = requested(server, "GET", "/token?type=inference")
    assert (status, content["error"]) == (404, "this server has no tokens")
    assert "disable_token_authorization=false" in content["expected"]


@pytest.mark.attack(15, "clients that hold the management port")
def test_a_client_that_holds_a_connection_is_disconnected(server: Server) -> None:
    """For one more connection than it answers at a time, one is closed whose request hasn't come."""
    with ExitStack() as held:
        for _ in range(relay.CONNECTIONS + 20):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", server.ports[1]), timeout=300))
            connection.sendall(b"GET /models HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
            assert requested(server, "GET", "/models")[0] == 200
        assert connection.recv(1) == b""  # nor does the last one stay for ever


@pytest.mark.attack(15, "large heads at the management port, on all its connections")
def test_large_heads_take_no_memory(server: Server) -> None:
    """http.server by itself would put 640 MB of them together."""
    assert server.process is not None
    before = most_resident(server.process.pid)
    with ExitStack() as held:
        connections = []
        for _ in range(relay.CONNECTIONS):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", server.ports[1]), timeout=300))
            connections.append(connection)
            with suppress(ConnectionError):
                connection.sendall(b"GET /models HTTP/1.1\r\nHost: 127.0.0.1\r\n")
                for _ in range(98):
                    connection.sendall(b"X: " + bytes(64_995) + b"\r\n")
        assert requested(server, "GET", "/models")[0] == 200
        for connection in connections:
            with suppress(ConnectionError):
                connection.sendall(b"\r\n")
            response = b""
            with suppress(ConnectionError):
                response = connection.recv(12)
            assert response in (b"", b"HTTP/1.1 431")
    assert most_resident(server.process.pid) < before + (100 << 20)


def most_resident(pid: int) -> int:
    """The most bytes of memory that a process has had so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) << 10


@pytest.mark.attack(15, "changes that TorchServe refuses, before one that it makes")
@pytest.mark.parametrize("path", ["/models/absent?min_worker=1", "/models/tiny/9.9?min_worker=1"])
def test_a_refused_change_does_not_hold_up_the_next_one(server: Server, path: str) -> None:
    assert requested(server, "PUT", path)[0] == 404
    assert requested(server, "PUT", "/models/tiny?min_worker=1&max_worker=1&synchronous=true")[0] == 200


@pytest.mark.attack(1, "broken HTTP at the management port")
@pytest.mark.parametrize(
    "content",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /models\r\n\r\n",
        b"GET /models HTTP/9.9\r\n\r\n",
        b"PUT /models/tiny?min_worker=3 HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil\r\n\r\n",
        b"PUT /models/tiny?min_worker=3 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"PUT /models/tiny?min_worker=3 HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PUT /models/tiny?min_worker=3 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /models HTTP/1.1\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_broken_http_changes_nothing(server: Server, content: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.ports[1]), timeout=300) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        response = b""
        try:
            while part := connection.recv(65536):
                response += part
        except ConnectionResetError:
            pass
    assert b" 200 " not in response
    [described] = requested(server, "GET", "/models/tiny")[1]
    assert (described["minWorkers"], described["maxWorkers"]) == (1, 1)


@pytest.mark.attack(1, "changes of the number of workers while the server starts")
def test_nothing_is_changed_while_the_server_starts(archive: Path, tmp_path: Path) -> None:
    """It would take away workers that are loading, as if they had died."""
    with starting(tmp_path, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as server:
        started = Event()
        statuses: set[int] = set()

        def change() -> None:
            while not started.is_set():
                for number in (3, 1):
                    with suppress(OSError):
                        statuses.add(
                            requested(server, "PUT", f"/models/tiny?min_worker={number}&max_worker={number}")[0]
                        )

        changing = Thread(target=change)
        changing.start()
        try:
            ready(server)
        finally:
            started.set()
            changing.join()
        assert statuses - {200, 202, 409} == {503}  # the others are of the ready server


@pytest.mark.attack(1, "gRPC's ports while the server starts")
def test_no_connection_to_grpc_outlives_the_start(archive: Path, tmp_path: Path) -> None:
    with starting(tmp_path, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as server, ExitStack() as held:

        def others() -> set[int]:
            with suppress(psutil.Error, ValueError):
                found = server.frontend().net_connections("tcp")
                return {each.laddr.port for each in found if each.status == "LISTEN"} - set(server.ports)
            return set()

        ports = wait_for(others, "gRPC's ports", every=0.01)
        connections = []
        for port in ports:
            with suppress(TimeoutError):  # hidden already
                connections.append(held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=1)))
        ready(server)
        for connection in connections:
            connection.settimeout(300)
            with suppress(ConnectionResetError):
                while connection.recv(65536):  # HTTP/2's settings come first
                    pass


@pytest.mark.extensive
@pytest.mark.attack(1, "workers scaled up and down at random")
def test_scaling_at_random_makes_no_more_and_more_workers(archive: Path, tmp_path: Path) -> None:
    """TorchServe loses count of workers that come and go quickly; then the relay passes no further change on."""
    random = Random(0)
    most = max(4, 2 * (os.cpu_count() or 1))
    with launched(tmp_path, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as server:
        for _ in range(30):
            least = random.randint(0, most)
            query = f"min_worker={least}&max_worker={random.randint(least, most)}"
            status, _ = requested(server, "PUT", f"/models/tiny?{query}&synchronous={random.choice(['true', 'false'])}")
            assert status in (200, 202, 409, 500)
            assert len(server.processes()) <= 1 + 2 * most  # Java, and no more than one change has lost
            if status == 409:
                break
        assert server.process is not None
        assert server.process.poll() is None
