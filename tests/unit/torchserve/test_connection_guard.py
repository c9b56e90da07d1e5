"""Real connections of another process's server: which ones the guard closes, and what it survives."""

import errno
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import psutil
import pytest
from tensormask_server.torchserve import guard, sockets
from tensormask_server.torchserve.guard import ConnectionGuard, guarded
from tensormask_server.torchserve.java_memory import MIB
from tensormask_server.torchserve.judge import Judge
from tensormask_server.torchserve.socket_states import ServerConnections, SocketState

from tests.strangers import holding_stranger
from tests.unit.torchserve.limits import LIMITS

WAIT = 120  # s, for what takes less than one

SERVER = """
import socket, sys, threading
servers = [socket.create_server(("127.0.0.1", 0), backlog=99) for _ in range(2)]
print(*(server.getsockname()[1] for server in servers), flush=True)
def serve(connection):
    try:
        while request := connection.recv(1 << 16):
            if request.endswith(b"."):
                connection.sendall(b"a" * (100 << 20 if request == b"large." else 500))
    except OSError:
        pass
    connection.close()
def accept(server):
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
threading.Thread(target=accept, args=(servers[1],), daemon=True).start()
accept(servers[0])
"""


@pytest.fixture
def server() -> Iterator[tuple[psutil.Process, int, int]]:
    """A process, and its two ports: for requests and for scrapes."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port, metrics_port = map(int, process.stdout.readline().split())
        yield psutil.Process(process.pid), port, metrics_port
        process.kill()


@contextmanager
def asking(port: int, request: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as connection:
        connection.sendall(request)
        yield connection


def is_closed(connection: socket.socket) -> bool:
    """Whether it ends within WAIT, read or not; raises where it doesn't."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_real_connections_that_hold_for_nothing_are_closed(server: tuple[psutil.Process, int, int]) -> None:
    process, port, metrics_port = server
    connections = ServerConnections(process.pid, port)
    lines: list[str] = []
    limits = replace(LIMITS, idle_seconds=1, response_seconds=1000, in_hand=1)
    with (
        ConnectionGuard(process, port, metrics_port, limits, lines.append),
        asking(port, b"large.") as unread,
        asking(port, b"half") as half,
    ):
        time.sleep(0.1)  # the kernel tells their times apart
        with asking(port, b"") as idle, asking(port, b"waits for its response") as live:
            assert is_closed(idle)
            assert is_closed(half)
            end = time.monotonic() + WAIT
            while len(connections.states()) > 1:  # all but the live one
                assert time.monotonic() < end
                time.sleep(0.05)
            live.sendall(b".")
            assert live.recv(500) == b"a" * 500
            unread.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    said = " ".join(lines)
    for reason in ("it was idle", "its response isn't read", "its request didn't come to an end"):
        assert f"closed 1 connection: {reason}" in said


def test_real_scrapes_are_small(server: tuple[psutil.Process, int, int]) -> None:
    process, _, metrics_port = server
    with (
        ConnectionGuard(*server, LIMITS, lambda _: None),
        asking(metrics_port, b"scrape.") as scraper,
        asking(metrics_port, b"") as body,
    ):
        assert scraper.recv(500, socket.MSG_WAITALL) == b"a" * 500
        assert {state.port for state in ServerConnections(process.pid, metrics_port).states()} == {metrics_port}
        with suppress(OSError):
            body.sendall(bytes(1 << 20))
        assert is_closed(body)
        scraper.sendall(b"again.")
        assert scraper.recv(500, socket.MSG_WAITALL) == b"a" * 500
        assert process.is_running()


def test_what_another_server_on_this_port_holds_closes_nobodys_connection(
    server: tuple[psutil.Process, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[float] = []
    to_close = Judge.to_close

    def noted(judge: Judge, states: Iterable[SocketState], now: float) -> dict[bytes, str]:
        judged.append(now)
        return to_close(judge, states, now)

    monkeypatch.setattr(Judge, "to_close", noted)
    limits = replace(LIMITS, held_bytes=4 * MIB)
    with (
        holding_stranger("127.0.0.2", server[1], 8 * MIB),
        asking(server[1], bytes(2 * MIB)) as large,
        ConnectionGuard(*server, limits, lambda _: None),
    ):
        end = time.monotonic() + WAIT
        while len(judged) < 10:
            assert time.monotonic() < end
            time.sleep(0.05)
        large.sendall(b".")
        assert large.recv(500, socket.MSG_WAITALL) == b"a" * 500


def test_the_guard_goes_on_if_nothing_can_be_printed(server: tuple[psutil.Process, int, int]) -> None:
    def broken(_: str) -> None:
        reported.set()
        raise BrokenPipeError

    reported = threading.Event()
    limits = replace(LIMITS, idle_seconds=0.5)
    with ConnectionGuard(*server, limits, broken):
        for _ in range(2):
            with asking(server[1], b"") as idle:
                assert is_closed(idle)
            assert reported.wait(WAIT)


def test_the_guard_goes_on_after_it_could_not_look(
    server: tuple[psutil.Process, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    look = ServerConnections.states

    def failing(connections: ServerConnections) -> list[SocketState]:
        if not reported.is_set():
            raise OSError(errno.ENOBUFS, "no room")
        return look(connections)

    def broken(line: str) -> None:
        assert line == "connections can't be watched now: no room" or reported.is_set()
        reported.set()
        raise OSError(errno.ENOSPC, "disk full")

    reported = threading.Event()
    with ConnectionGuard(*server, replace(LIMITS, idle_seconds=0.5), broken), asking(server[1], b"") as idle:
        monkeypatch.setattr(guard, "REPORTS", 0.1)
        monkeypatch.setattr(ServerConnections, "states", failing)
        assert reported.wait(WAIT)
        assert is_closed(idle)


def test_the_guard_survives_its_server(server: tuple[psutil.Process, int, int]) -> None:
    process = server[0]
    lines: list[str] = []
    with ConnectionGuard(*server, LIMITS, lines.append):
        process.kill()
        process.wait()
        time.sleep(0.5)
    assert not lines


def test_if_the_system_forbids_it_the_guard_says_what_a_proxy_has_to_do(
    server: tuple[psutil.Process, int, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sockets, "PIDFD_GETFD", 1 << 20)  # no such call
    with guarded(*server, LIMITS):
        pass
    assert "let a proxy in front close those without traffic for 60 s" in capsys.readouterr().out
