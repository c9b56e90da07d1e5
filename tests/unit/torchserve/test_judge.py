"""Which connections are closed: the decisions by what the kernel says of them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tensormask_server.torchserve.guard_limits import GuardLimits
from tensormask_server.torchserve.java_memory import MIB
from tensormask_server.torchserve.judge import Judge
from tensormask_server.torchserve.socket_states import SocketState

from tests.unit.torchserve.limits import LIMITS

PORT, METRICS_PORT = 8080, 8082


class Kernel:
    """Connections as ServerConnections describes them, on a clock of its own."""

    def __init__(self, limits: GuardLimits = LIMITS):
        self.now = 1000.0
        self._judge = Judge(limits, METRICS_PORT)
        self._states: dict[str, SocketState] = {}
        self._times: dict[str, list[float]] = {}

    def connect(self, *names: str, port: int = PORT) -> None:
        for name in names:
            self._states[name] = SocketState(name.encode(), len(self._states) + 1, port, 0, 1, 0, False, 0, 0)
            self._times[name] = [self.now, self.now]

    def send(self, name: str, size: int) -> None:
        """From the client; a closed connection takes no more."""
        if name not in self._states:
            return
        self._states[name] = replace(self._states[name], received=self._states[name].received + size)
        self._times[name][0] = self.now

    def response(self, name: str, *, read: int = 0, waiting: int = 0, is_full: bool = False) -> None:
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
        kernel.response("used", read=900)
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
    kernel.response("one", read=25)  # HTTP/1.1 100 Continue
    kernel.send("one", 3 * MIB)
    assert not kernel.closed_after(900)


def test_requests_beyond_the_queue_are_half_sent_and_are_the_most_silent() -> None:
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
    assert not kernel.closed_after(600, lambda: kernel.response("slow", read=20_000, waiting=MIB, is_full=True))


def test_clients_that_do_not_read_or_read_a_byte_a_second_are_closed() -> None:
    kernel = Kernel()
    kernel.connect("stopped", "drip")
    for name in ("stopped", "drip"):
        kernel.send(name, 5000)
        kernel.response(name, waiting=MIB, is_full=True)
    closed = kernel.closed_after(70, lambda: kernel.response("drip", read=1, waiting=MIB, is_full=True))
    assert closed == {"stopped": "its response isn't read", "drip": "its response is read too slowly"}


def test_where_memory_is_short_large_requests_that_came_last_go() -> None:
    kernel = Kernel(replace(LIMITS, request_bytes=200 * MIB))
    kernel.connect("old", "middle", "small", "new")
    for name, size in (("old", 190), ("middle", 190), ("new", 60)):
        kernel.send(name, size * MIB)
        assert name == "new" or not kernel.closed_after(0.4)
        kernel.send("small", 100)
    assert kernel.closed_after(1) == {"new": "memory is short"}


def test_where_memory_is_short_unread_responses_go_before_requests() -> None:
    kernel = Kernel()
    names = [f"reader {number}" for number in range(9)]
    kernel.connect(*names, "large")
    kernel.send("large", 30 * MIB)
    closed = {}
    for name in names:
        kernel.send(name, 1000)
        kernel.response(name, waiting=MIB, is_full=True)
        closed |= kernel.closed_after(1)
    closed |= kernel.closed_after(20)
    assert set(closed.values()) == {"memory is short, and its response is read slowly"}
    assert len(closed) == 4  # 5 × 64 MiB and the request's 30 are less than 400


def test_a_body_behind_a_request_that_waits_is_held_after_its_response() -> None:
    kernel = Kernel()
    names = [f"behind {number}" for number in range(12)]
    kernel.connect("small", *names)
    kernel.send("small", 1000)
    for name in names:
        kernel.send(name, 5000)
    assert not kernel.closed_after(1)
    closed = {}
    for name in names:
        kernel.send(name, 50 * MIB)
        kernel.now += 0.05
        kernel.response(name, read=900)
        closed |= kernel.closed_after(0.2)
    assert set(closed.values()) == {"memory is short, and it was idle after large requests"}
    assert len(closed) == 5  # 8 × 50 MiB are 400, and there are the first requests
    for name in names:
        kernel.send(name, 1)
        kernel.now += 0.05
        kernel.response(name, read=900)  # of one more small request
    assert not kernel.closed_after(1)
    kernel.connect("large")
    kernel.send("large", 50 * MIB)
    assert len(kernel.closed_after(1).keys() - {"large"}) == 1


def test_a_body_that_comes_while_a_response_is_not_read_is_held_at_once() -> None:
    kernel = Kernel()
    names = [f"behind {number}" for number in range(12)]
    kernel.connect(*names)
    for name in names:
        kernel.send(name, 5000)
        kernel.response(name, waiting=1000)
    assert not kernel.closed_after(1)
    for name in names:
        kernel.send(name, 50 * MIB)
    closed = kernel.closed_after(0.4)
    assert set(closed.values()) == {"memory is short, and its response is read slowly"}
    assert len(closed) == 5


@pytest.mark.parametrize("waits", [0.05, 0.3, 1.1])
@pytest.mark.parametrize("is_seen", [False, True])
def test_clients_that_use_a_connection_again_and_again_stay(waits: float, is_seen: bool) -> None:
    kernel = Kernel()
    names = [f"client {number}" for number in range(20)]
    kernel.connect(*names)
    for _ in range(30):
        for name in names:
            kernel.send(name, 3 * MIB)
        kernel.now += 0.01
        assert not kernel.closed_after(waits)
        for name in names:
            kernel.response(name, waiting=20_000)
        if is_seen:
            assert not kernel.closed_after(0.2)
        for name in names:
            kernel.response(name, read=20_000)
        kernel.now += 0.01  # and the next request is sent before the guard looks


def test_a_request_right_after_a_response_that_took_long_is_a_new_one() -> None:
    kernel = Kernel()
    kernel.connect("client")
    for _ in range(3):
        kernel.send("client", 5000)
        assert not kernel.closed_after(300)
        kernel.response("client", read=900)
        kernel.now += 0.05


def test_large_and_half_sent_scrapes_end_and_scrapes_stay() -> None:
    kernel = Kernel()
    kernel.connect("body", "slow body", "half", "unused", "scraper", port=METRICS_PORT)
    kernel.connect("waiting 1", "waiting 2", "waiting 3")
    for name in ("waiting 1", "waiting 2", "waiting 3"):
        kernel.send(name, 5000)
    kernel.send("half", 100)
    kernel.send("body", 70_000)
    closed = {}
    for _ in range(10):
        kernel.send("slow body", 20_000)
        kernel.send("scraper", 300)
        kernel.now += 0.05
        kernel.response("scraper", read=20_000)
        closed |= kernel.closed_after(15)
    large = "its request is too large for the metrics port"
    assert closed == {
        "body": large,
        "slow body": large,
        "half": "its request didn't come to an end",
        "unused": "it was idle",
    }


def test_where_too_many_are_open_the_idle_ones_go_first() -> None:
    kernel = Kernel(replace(LIMITS, connections=2))
    kernel.connect("idle")
    kernel.closed_after(1)
    kernel.connect("asking", "idle later")
    kernel.send("asking", 1000)
    assert set(kernel.closed_after(1)) == {"idle"}


def test_idle_connections_to_the_metrics_port_count_as_well() -> None:
    """Java has one limit of file descriptors for both ports."""
    kernel = Kernel(replace(LIMITS, connections=3))
    kernel.connect("asking")
    kernel.send("asking", 1000)
    kernel.connect(*(f"idle {number}" for number in range(10)), port=METRICS_PORT)
    closed = kernel.closed_after(1)
    assert len(closed) == 8
    assert set(closed.values()) == {"too many are open, and it was idle"}
