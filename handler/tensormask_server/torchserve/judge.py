"""Decides which connections to close, from the kernel's state of each.

TorchServe has no time limits for its clients. It holds each request's body while it arrives, and each response until
the client has read it. So a connection is closed when it is idle, when it is too slow, or when the memory that it holds
is needed for others.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tensormask_server.torchserve.connection_history import ConnectionHistory
from tensormask_server.torchserve.guard_limits import SHORT, GuardLimits
from tensormask_server.torchserve.socket_states import SocketState

INTERVAL = 0.2  # seconds between two looks, each of which takes about 1 ms
LEAST_RATE = 10_000  # bytes a second, over all the time that a request arrives or a response is read
LARGE = 1 << 20  # bytes; closing a smaller request frees too little for others
SCRAPE = 1 << 16  # bytes of a request to the metrics port: a scrape has no body


@dataclass
class _Look:
    """The connections at one moment. Each group holds connections that may be closed to make room for others."""

    closed: dict[bytes, str] = field(default_factory=dict)  # from a cookie to the reason
    held: dict[bytes, int] = field(default_factory=dict)  # from a cookie to the bytes that Java may hold for it
    idle: list[tuple[float, SocketState]] = field(default_factory=list)  # seconds, and the connection
    silent: list[tuple[float, SocketState]] = field(default_factory=list)  # seconds without a byte of the request
    arriving: list[tuple[float, SocketState]] = field(default_factory=list)  # the time of the first byte
    responding: list[tuple[float, SocketState]] = field(default_factory=list)  # bytes a second


class Judge:
    """Decides which connections to close. It closes none itself."""

    def __init__(self, limits: GuardLimits, metrics_port: int):
        """
        Args:
            limits: for each connection, and for all of them together.
            metrics_port: requests to it have no body, and get a response at once.
        """
        self._limits = limits
        self._metrics_port = metrics_port
        self._histories: dict[bytes, ConnectionHistory] = {}

    def to_close(self, states: Iterable[SocketState], now: float) -> dict[bytes, str]:
        """Decides from the connections' states now and at the earlier calls.

        Args:
            states: of all connections.
            now: seconds, on a clock that never goes back.

        Returns:
            From the cookie of each connection to close to the reason.
        """
        states = list(states)
        known = self._histories
        self._histories = {each.cookie: known.get(each.cookie) or ConnectionHistory(now) for each in states}
        look = _Look()
        for state in states:
            history = self._histories[state.cookie]
            history.note(state, now)
            if reason := self._judged_by_itself(look, state, history, now):
                look.closed[state.cookie] = reason
        # TorchServe responds in turn, so the requests that are silent for longest can't be in its queue
        look.silent.sort(key=_first, reverse=True)
        surplus = look.silent[: max(0, len(look.silent) - self._limits.in_hand)]
        for quiet, state in surplus:
            if quiet > self._limits.idle_seconds:
                look.closed[state.cookie] = "its request didn't come to an end"
        self._make_room(look, surplus)
        return look.closed

    def _judged_by_itself(self, look: _Look, state: SocketState, history: ConnectionHistory, now: float) -> str:
        """The reason to close this connection whatever the others do, or "". Without one, it may join a group."""
        limits = self._limits
        is_scrape = state.port == self._metrics_port
        body = min(limits.request_bytes, history.carried + history.size)
        look.held[state.cookie] = body
        if is_scrape and body > SCRAPE:
            return "its request is too large for the metrics port"
        if history.responding_at is not None:
            lasting = now - history.responding_at
            rate = (state.acknowledged - history.read) / max(lasting, INTERVAL)
            look.held[state.cookie] += limits.response_bytes if state.is_full else state.waiting
            if now - history.moved > limits.idle_seconds:
                return "its response isn't read"
            if lasting > limits.idle_seconds and rate < LEAST_RATE:
                return "its response is read too slowly"
            if lasting > SHORT or history.size >= LARGE:  # the latter came before the response was read
                look.responding.append((rate, state))
        elif history.requested_at is not None:
            quiet = state.received_before / 1000
            lasting = now - quiet - history.requested_at
            if quiet > (limits.idle_seconds if is_scrape else limits.response_seconds):
                return "its request didn't come to an end"
            if lasting > limits.idle_seconds and history.size < LEAST_RATE * lasting:
                return "its request comes too slowly"
            if quiet > min(SHORT, limits.idle_seconds) and not is_scrape:
                look.silent.append((quiet, state))
            else:
                look.arriving.append((history.requested_at, state))
        else:
            quiet = min(now - history.first, *_idle_times(state))
            look.idle.append((quiet, state))
            if quiet > limits.idle_seconds:
                return "it was idle"
        return ""

    def _make_room(self, look: _Look, surplus: list[tuple[float, SocketState]]) -> None:
        """Closes more connections until the number and the memory of the others are within the limits."""
        limits = self._limits
        open_ones = len(look.held) - len(look.closed)
        total = sum(size for cookie, size in look.held.items() if cookie not in look.closed)
        look.idle.sort(key=_first, reverse=True)
        for _, state in look.idle:
            if open_ones > limits.connections and state.cookie not in look.closed:
                look.closed[state.cookie] = "too many are open, and it was idle"
                open_ones -= 1
                total -= look.held[state.cookie]
        for state, reason in _victims(look, surplus):
            if open_ones <= limits.connections and total <= limits.held_bytes:
                break
            is_of_no_use = open_ones <= limits.connections and not look.held[state.cookie]
            if state.cookie not in look.closed and not is_of_no_use:
                look.closed[state.cookie] = reason
                open_ones -= 1
                total -= look.held[state.cookie]


def _victims(look: _Look, surplus: list[tuple[float, SocketState]]) -> Iterator[tuple[SocketState, str]]:
    """The connections to close if there is no room for all, in this order, each with the reason."""
    for _, state in sorted(look.idle, key=lambda each: -look.held[each[1].cookie]):
        yield state, "memory is short, and it was idle after large requests"
    for _, state in sorted(look.responding, key=_first):
        yield state, "memory is short, and its response is read slowly"
    for _, state in surplus:
        yield state, "memory is short, and its request didn't come to an end"
    for _, state in sorted(look.arriving, key=_first, reverse=True):  # the older ones are nearer to their end
        if look.held[state.cookie] >= LARGE:
            yield state, "memory is short"


def _first(each: tuple[float, SocketState]) -> float:
    return each[0]


def _idle_times(state: SocketState) -> tuple[float, float]:
    """Seconds since the last byte of each direction. They are infinite if nothing was received yet."""
    received = state.received_before / 1000 if state.received else float("inf")
    sent = state.sent_before / 1000 if state.received else float("inf")
    return received, sent
