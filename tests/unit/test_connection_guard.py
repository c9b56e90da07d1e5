"""Which connections are closed: the decisions by what the kernel says, and real ones of another process's server."""

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import psutil
import pytest
from tensormask_server import connections
from tensormask_server.connection_guard import ConnectionGuard, GuardLimits, Judge, guard_limits, guarded
from tensormask_server.java_memory import MIB, JavaMemory, ServedModel
from tensormask_server.socket_states import SocketState, socket_states

LIMITS = GuardLimits(
    idle_seconds=60, answer_seconds=1000, in_hand=3, held_bytes=400 * MIB, answer_bytes=64 * MIB, connections=50
)
WAIT = 120  # s, for what takes less than one


class Kernel:
    """Connections as socket_states describes them, on a clock of its own."""

    def __init__(self, limits: GuardLimits = LIMITS):
        self.now = 1000.0
        self._judge = Judge(limits)
        self._states: dict[str, SocketState] = {}
        self._times: dict[str, list[float]] = {}

    def connect(self, *names: str) -> None:
        for name in names:
            self._states[name] = SocketState(name.encode(), len(self._states) + 1, 0, 1, 0, False, 0, 0)
            self._times[name] = [self.now, self.now]

    def send(self, name: str, size: int) -> None:
        """From the client; a closed connection takes no more."""
        if name not in self._states:
            return
        self._states[name] = replace(self._states[name], received=self._states[name].received + size)
        self._times[name][0] = self.now

    def answer(self, name: str, *, read: int = 0, waiting: int = 0, is_full: bool = False) -> None:
        """From the server; so many bytes more have been read, and so many are in the kernel."""
        if name not in self._states:
            return
        state = self._states[name]
        self._states[name] = replace(state, acknowledged=state.acknowledged + read, waiting=waiting, is_full=is_full)
        if read:
            self._times[name][1] = self.now

    def closed_after(self, seconds: float, each: Callable[[], None] = lambda: None) -> dict[str, str]:
        """What is to be closed within this time, with the reasons, and is gone afterwards."""
        closed = {}
        end = self.now + seconds
        while self.now < end:
            self.now += 0.2
            each()
            states = []
            for name, state in self._states.items():
                received, sent = (int(1000 * (self.now - then)) for then in self._times[name])
                states.append(replace(state, received_before=received, sent_before=sent))
            for cookie, reason in self._judge.to_close(states, self.now).items():
                closed[cookie.decode()] = reason
                del self._states[cookie.decode()]
        return closed


def test_idle_connections_are_closed_and_used_ones_stay() -> None:
    kernel = Kernel()
    kernel.connect("unused", "used")
    closed = {}
    for _ in range(10):
        kernel.send("used", 5000)
        closed |= kernel.closed_after(5)
        kernel.answer("used", read=900)
        closed |= kernel.closed_after(10)
    assert closed == {"unused": "it was idle"}
    assert kernel.closed_after(45) == {}
    assert kernel.closed_after(20) == {"used": "it was idle"}


def test_a_request_may_wait_as_long_as_the_queue_can_take() -> None:
    kernel = Kernel()
    kernel.connect("one", "two", "three")
    for name in ("one", "two", "three"):
        kernel.send(name, 40 * MIB)
    assert not kernel.closed_after(990)
    assert kernel.closed_after(20) == dict.fromkeys(("one", "two", "three"), "its request didn't come to an end")


def test_the_body_after_a_continue_is_a_request_in_hand() -> None:
    kernel = Kernel()
    kernel.connect("one")
    kernel.send("one", 200)
    kernel.closed_after(0.2)
    kernel.answer("one", read=25)  # HTTP/1.1 100 Continue
    kernel.send("one", 3 * MIB)
    assert not kernel.closed_after(900)


def test_more_unanswered_requests_than_the_queue_has_are_half_sent_and_those_are_the_longest() -> None:
    kernel = Kernel()
    for number in range(10):
        kernel.connect(f"half {number}")
        kernel.send(f"half {number}", 1000)
        kernel.closed_after(1)
    kernel.connect("live 1", "live 2", "live 3")
    for name in ("live 1", "live 2", "live 3"):
        kernel.send(name, 1000)
    assert set(kernel.closed_after(500)) == {f"half {number}" for number in range(10)}


@pytest.mark.parametrize("interval", [0.2, 1, 3, 50])
def test_a_byte_now_and_then_is_no_request(interval: float) -> None:
    kernel = Kernel()
    kernel.connect("drip")
    kernel.send("drip", 500)
    last = kernel.now

    def drip() -> None:
        nonlocal last
        if kernel.now >= last + interval:
            last = kernel.now
            kernel.send("drip", 1)

    assert kernel.closed_after(150, drip) == {"drip": "its request comes too slowly"}


def test_a_slow_but_steady_upload_and_download_pass() -> None:
    kernel = Kernel()
    kernel.connect("slow")
    assert not kernel.closed_after(600, lambda: kernel.send("slow", 20_000))
    assert not kernel.closed_after(600, lambda: kernel.answer("slow", read=20_000, waiting=MIB, is_full=True))


def test_who_does_not_read_and_who_reads_a_byte_a_second_are_closed() -> None:
    kernel = Kernel()
    kernel.connect("stopped", "drip")
    for name in ("stopped", "drip"):
        kernel.send(name, 5000)
        kernel.answer(name, waiting=MIB, is_full=True)
    closed = kernel.closed_after(70, lambda: kernel.answer("drip", read=1, waiting=MIB, is_full=True))
    assert closed == {"stopped": "its answer isn't read", "drip": "its answer is read too slowly"}


def test_where_memory_is_short_large_requests_that_came_last_go() -> None:
    kernel = Kernel()
    kernel.connect("old", "middle", "small", "new")
    for name, size in (("old", 190), ("middle", 190), ("new", 60)):
        kernel.send(name, size * MIB)
        assert name == "new" or not kernel.closed_after(0.4)
        kernel.send("small", 100)
    assert kernel.closed_after(1) == {"new": "memory is short"}


def test_where_memory_is_short_unread_answers_go_before_requests() -> None:
    kernel = Kernel()
    names = [f"reader {number}" for number in range(9)]
    kernel.connect(*names, "large")
    kernel.send("large", 30 * MIB)
    closed = {}
    for name in names:
        kernel.send(name, 1000)
        kernel.answer(name, waiting=MIB, is_full=True)
        closed |= kernel.closed_after(1)
    closed |= kernel.closed_after(20)
    assert set(closed.values()) == {"memory is short, and its answer is read slowly"}
    assert len(closed) == 4  # 5 × 64 MiB and the request's 30 are less than 400


def test_where_too_many_are_open_the_idle_ones_go_first() -> None:
    kernel = Kernel(replace(LIMITS, connections=2))
    kernel.connect("idle")
    kernel.closed_after(1)
    kernel.connect("asking", "idle later")
    kernel.send("asking", 1000)
    assert set(kernel.closed_after(1)) == {"idle"}


def test_the_limits_follow_from_the_queue() -> None:
    memory = JavaMemory({}, queue=10, held_bytes=500 * MIB, answer_bytes=64 * MIB)
    limits = guard_limits(memory, ServedModel(workers=2, batch_size=1, response_timeout=100), 60, files=20_000)
    assert limits.answer_seconds >= 100 * (10 / 2 + 1)
    assert 10 + 2 <= limits.in_hand <= 20
    assert guard_limits(memory, ServedModel(), 60, files=256).connections == 128
    with pytest.raises(ValueError, match="idle_seconds is 0; expected more than 0"):
        replace(limits, idle_seconds=0)


SERVER = """
import socket, sys, threading
server = socket.create_server(("127.0.0.1", 0), backlog=99)
print(server.getsockname()[1], flush=True)
def serve(connection):
    try:
        while request := connection.recv(1 << 16):
            if request.endswith(b"."):
                connection.sendall(b"a" * (100 << 20 if request == b"large." else 500))
    except OSError:
        pass
    connection.close()
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


@pytest.fixture
def server() -> Iterator[tuple[psutil.Process, int]]:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield psutil.Process(process.pid), int(process.stdout.readline())
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


def test_real_connections_that_hold_for_nothing_are_closed(server: tuple[psutil.Process, int]) -> None:
    process, port = server
    lines: list[str] = []
    limits = replace(LIMITS, idle_seconds=1, answer_seconds=1000, in_hand=1)
    with (
        ConnectionGuard(process, port, limits, lines.append),
        asking(port, b"large.") as unread,
        asking(port, b"half") as half,
    ):
        time.sleep(0.1)  # the kernel tells their times apart
        with asking(port, b"") as idle, asking(port, b"waits for its answer") as live:
            assert is_closed(idle)
            assert is_closed(half)
            end = time.monotonic() + WAIT
            while len(socket_states(port)) > 1:  # all but the live one
                assert time.monotonic() < end
                time.sleep(0.05)
            live.sendall(b".")
            assert live.recv(500) == b"a" * 500
            unread.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    said = " ".join(lines)
    for reason in ("it was idle", "its answer isn't read", "its request didn't come to an end"):
        assert f"closed 1 connection: {reason}" in said


def test_the_guard_survives_its_server(server: tuple[psutil.Process, int]) -> None:
    process, port = server
    lines: list[str] = []
    with ConnectionGuard(process, port, LIMITS, lines.append):
        process.kill()
        process.wait()
        time.sleep(0.5)
    assert not lines


def test_where_the_system_forbids_it_the_proxy_is_told_what_to_do(
    server: tuple[psutil.Process, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connections, "PIDFD_GETFD", 1 << 20)  # no such call
    with guarded(*server, LIMITS):
        pass
    assert "let a proxy in front close those on which nothing moves for 60 s" in capsys.readouterr().out
