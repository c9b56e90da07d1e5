"""Clients that hold memory and connections: large bodies at once, responses nobody reads, requests that never end."""

import contextlib
import io
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from tensormask_server.torchserve.socket_states import ServerConnections

from reference.cases import Case
from tests.served.conftest import Server, launched, request_body
from tests.served.test_faults import paused, taken
from tests.strangers import holding_stranger
from tests.waiting import wait_for

IDLE = 3  # s, the server's --idle-timeout
WAIT = 240  # s, for what takes some
STALLED = 5  # s in which a server takes nothing of a body; a gateway reads none behind a request that waits
LARGE = 40 << 20  # bytes of a body
CLIENTS = 60
HOLDING = 40  # connections whose large bodies together are more than Java may hold
HALVES = 90
WAITING, ROUNDS = 4, 18  # requests that the queue has room for, and how often as many come


@pytest.fixture(scope="module")
def small(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose Java has less memory than its clients want here."""
    folder = tmp_path_factory.mktemp("small")
    with launched(folder, "--archive", archive, "--memory", "3g", "--idle-timeout", IDLE, PATH="") as running:
        yield running


@pytest.fixture
def patient(archive: Path, tmp_path: Path) -> Iterator[Server]:
    """The same with the usual --idle-timeout: nothing but a lack of memory closes connections soon."""
    with launched(tmp_path, "--archive", archive, "--memory", "3g", PATH="", OMP_NUM_THREADS="1") as running:
        yield running


def connected(server: Server, data: bytes, buffer: int | None = None, door: int = 0) -> socket.socket:
    """With what was sent; the door is the port's place among the server's."""
    connection = socket.socket()
    connection.settimeout(WAIT)
    if buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.connect(("127.0.0.1", server.ports[door]))
    connection.sendall(data)
    return connection


def request_head(length: int, path: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
    )
    return head.encode()


def ends(connection: socket.socket) -> bool:
    """Whether the server closes it within WAIT; raises where it doesn't."""
    try:
        while connection.recv(1 << 16):
            pass
    except (ConnectionResetError, BrokenPipeError):
        pass
    return True


@pytest.mark.attack(15, "idle and half-sent connections")
def test_idle_and_half_sent_connections_end_and_a_request_that_waits_does_not(small: Server, case: Case) -> None:
    before = taken(small)
    path = f"/predictions/{small.name}"
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        idle, half_head, half_body, drip = (
            stack.enter_context(connected(small, data))
            for data in (b"", b"POST /pred", request_head(9000, path) + bytes(50), request_head(9000, path))
        )
        with paused(small):
            response = pool.submit(small.post, request_body(case.image))
            wait_for(lambda: taken(small) > before, "a request in TorchServe's hands")
            assert ends(idle)
            while True:
                try:
                    drip.sendall(b" ")
                    time.sleep(0.3)
                except OSError:
                    break
            time.sleep(2 * IDLE)  # the request's connection is quiet for longer than an idle one may be
            assert not response.done()
        assert response.result(WAIT).status == 200
    half_head.close()
    half_body.close()


@pytest.mark.attack(15, "more half-sent requests than can wait")
def test_more_half_sent_requests_than_can_wait_end(small: Server) -> None:
    [worker] = small.worker_pids()
    with ExitStack() as stack:
        halves = [
            stack.enter_context(connected(small, request_head(9000, f"/predictions/{small.name}") + bytes(50)))
            for _ in range(HALVES)
        ]

        def ended() -> int:
            return sum(_is_closed(half) for half in halves)

        wait_for(lambda: ended() >= HALVES // 3, "a third of the half-sent requests closed")
        assert small.post(b"{").status == 400
    assert small.worker_pids() == [worker]


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.attack(3, "large bodies at once")
def test_large_bodies_at_once_get_a_response_or_are_closed_by_the_same_worker(small: Server, case: Case) -> None:
    [worker] = small.worker_pids()
    image = io.BytesIO()
    Image.fromarray(case.image).save(image, "PNG")
    body = image.getvalue() + bytes(LARGE - image.tell())  # what follows a PNG is left alone
    start = threading.Barrier(CLIENTS)

    def ask(_: int) -> str:
        start.wait()
        try:
            with connected(small, request_head(LARGE, f"/predictions/{small.name}")) as connection:
                connection.sendall(body)
                return connection.recv(12)[9:].decode() or "closed"
        except (ConnectionError, BrokenPipeError):
            return "closed"

    with ThreadPoolExecutor(CLIENTS) as pool:
        outcomes = Counter(pool.map(ask, range(CLIENTS)))
    assert set(outcomes) <= {"200", *small.refusals}
    assert outcomes["200"]
    assert small.post(request_body(case.image)).status == 200
    assert small.worker_pids() == [worker]
    assert java_of(worker).memory_info().rss < 3 << 30


def java_of(worker: int) -> psutil.Process:
    [java] = [each for each in psutil.Process(worker).parents() if "org.pytorch.serve.ModelServer" in each.cmdline()]
    return java


def push(connection: socket.socket, size: int) -> None:
    """Sends so many bytes, or as many as the server takes before it closes the connection or reads no further."""
    part = bytes(1 << 20)
    connection.settimeout(STALLED)
    with contextlib.suppress(OSError):
        for _ in range(size // len(part)):
            connection.sendall(part)
    connection.settimeout(WAIT)


def open_ones(connections: list[socket.socket]) -> int:
    return sum(not _is_closed(each) for each in connections)


@pytest.mark.attack(3, "large bodies behind a request that waits")
def test_bodies_behind_a_request_that_waits_cost_no_worker(patient: Server, case: Case) -> None:
    [worker] = patient.worker_pids()
    first = request_body(case.image)
    head = request_head(len(first), f"/predictions/{patient.name}").replace(b"octet-stream", b"json")
    rest = request_head(LARGE + 10, f"/predictions/{patient.name}")
    with ExitStack() as stack:
        for _ in range(ROUNDS):
            with paused(patient), ThreadPoolExecutor(WAITING) as pool:
                behind = [stack.enter_context(connected(patient, head + first + rest)) for _ in range(WAITING)]
                list(pool.map(lambda each: push(each, LARGE), behind))
            assert [each.recv(12)[9:] for each in behind] == [b"200"] * WAITING
        assert patient.post(first).status == 200
        assert patient.worker_pids() == [worker]
        assert java_of(worker).memory_info().rss < 3 << 30


@pytest.mark.attack(3, "large bodies at the metrics port")
def test_bodies_at_the_metrics_port_end_and_cost_no_worker(small: Server, case: Case) -> None:
    [worker] = small.worker_pids()
    with ExitStack() as stack:
        bodies = [
            stack.enter_context(connected(small, request_head(LARGE, "/metrics"), door=2)) for _ in range(CLIENTS)
        ]
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda each: push(each, LARGE - 10), bodies))
        wait_for(lambda: not open_ones(bodies), "all of them closed")
        assert small.post(request_body(case.image)).status == 200
        assert taken(small)
    assert small.worker_pids() == [worker]


@pytest.mark.attack(3, "bytes that another user's server holds at the same port of another address")
def test_what_another_server_on_this_port_holds_closes_nobodys_request(patient: Server) -> None:
    """Java isn't the one that holds them, so no request has to make room."""
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
    image = io.BytesIO()
    Image.fromarray(noise).save(image, "PNG")
    body = image.getvalue()
    assert len(body) > 4 << 20
    with (
        holding_stranger("127.0.0.2", patient.torchserve_port, LARGE, HOLDING),
        connected(patient, request_head(len(body), f"/predictions/{patient.name}")) as slow,
    ):
        for at in range(0, len(body), 1 << 18):
            slow.sendall(body[at : at + (1 << 18)])
            time.sleep(0.3)  # more than one look of the guard
        assert slow.recv(12)[9:] == b"200"


@pytest.mark.attack(3, "responses that nobody reads")
def test_responses_that_nobody_reads_end_and_cost_no_worker(small: Server, case: Case) -> None:
    [worker] = small.worker_pids()
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
    image = io.BytesIO()
    Image.fromarray(noise).save(image, "JPEG", quality=20)
    body = image.getvalue()
    data = request_head(len(body), f"/{small.name}/predict?format=png") + body  # the response has more than 8 MB
    with ExitStack() as stack:
        readers = [stack.enter_context(connected(small, data, buffer=4096)) for _ in range(4)]
        for reader in readers:
            assert reader.recv(12)[9:] == b"200"
        connections = ServerConnections(small.frontend().pid, small.torchserve_port)
        wait_for(lambda: not any(state.waiting for state in connections.states()), "an end of what waits")
        for reader in readers:
            size = 0
            try:
                while part := reader.recv(1 << 20):
                    size += len(part)
            except ConnectionResetError:
                pass
            assert size < 8_000_000
    assert small.post(request_body(case.image)).status == 200
    assert small.worker_pids() == [worker]
