"""Closes the connections that TorchServe would keep for ever: idle ones, half-sent requests, answers nobody reads.

TorchServe has no time limits for its clients. It also holds each body while it arrives, and each answer until it is
read. So the guard looks at the kernel's state of each connection, and closes those that hold memory for nothing.
"""

import contextlib
import math
import os
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tensormask_server.connections import borrowed
from tensormask_server.java_memory import DEFAULT_SIZE, JavaMemory, ServedModel
from tensormask_server.printable import say
from tensormask_server.socket_states import SocketState, socket_states

INTERVAL = 0.2  # seconds between two looks, each of which takes about 1 ms
LEAST_RATE = 10_000  # bytes a second, over all the time that a request arrives or an answer is read
SHORT = 5.0  # seconds that an answer, or an unanswered request, has even where memory is short
MOST_FILES = 65536  # file descriptors that are asked for
OTHER_FILES = 300  # file descriptors of Java's that are no connections
MOST_CONNECTIONS = 4096  # each takes some KiB of Java's memory, and a moment of each look
MORE_WORKERS = 8  # that the management API may have added
LARGE = 1 << 20  # bytes: a smaller request that is cut leaves no room for others
SCRAPE = 1 << 16  # bytes of a request to the metrics port: a scrape has no body
REPORTS = 10.0  # seconds between two lines of one reason
CONTINUE = 100  # bytes: "HTTP/1.1 100 Continue" is shorter, and every answer longer


@dataclass(frozen=True)
class GuardLimits:
    """What a connection may take."""

    idle_seconds: float  # without anything that moves, where nothing is in hand
    answer_seconds: float  # from a request's last byte to its answer: the longest that the queue can take
    in_hand: int  # requests that the queue and the workers hold at most: more can't be waiting for an answer
    held_bytes: int  # of requests and unread answers together
    request_bytes: int  # of one request that TorchServe puts together, at most
    answer_bytes: int  # of one answer, at most
    connections: int  # at a time

    def __post_init__(self) -> None:
        if self.idle_seconds <= 0:
            raise ValueError(f"idle_seconds is {self.idle_seconds}; expected more than 0")


@dataclass
class _Seen:
    """What was seen of one connection so far; times on the guard's clock, in seconds."""

    first: float
    answered: int = 0  # bytes received when the last answer was seen
    carried: int = 0  # the most bytes that came before one answer: all but a few may belong to the next request
    read: int = 1  # acknowledged bytes when the present request began; 1 stands for the SYN
    asked_at: float | None = None  # when the first byte of the present request was seen
    answering_at: float | None = None  # when the answer began
    moved: float = 0.0  # when the peer took something
    acknowledged: int = 0
    received: int = 0
    waiting: int = 0
    was_full: bool = False

    @property
    def size(self) -> int:
        """Bytes received since the last answer was seen."""
        return self.received - self.answered

    def take_as_answered(self, received: int) -> None:
        """Counts the first so many received bytes as answered.

        The kernel doesn't say where a request ends. A client may have sent one request, or a small one and most of the
        next one's body. So these bytes stay counted until the connection closes, though not for each request anew.
        """
        self.carried = max(self.carried, received - self.answered)
        self.answered = received


class Judge:
    """Says which connections are to be closed; it touches none."""

    def __init__(self, limits: GuardLimits, metrics_port: int):
        """
        Args:
            limits: for each connection, and all of them.
            metrics_port: where requests have no body, and are answered at once.
        """
        self._limits = limits
        self._metrics_port = metrics_port
        self._seen: dict[bytes, _Seen] = {}

    def to_close(self, states: Iterable[SocketState], now: float) -> dict[bytes, str]:
        """
        Args:
            states: all connections, each time.
            now: seconds, on a clock that never goes back.

        Returns:
            the cookies of those to close, each with the reason.
        """
        limits = self._limits
        states = list(states)
        self._seen = {each.cookie: self._seen.get(each.cookie) or _Seen(now) for each in states}
        closed: dict[bytes, str] = {}
        idle: list[tuple[float, SocketState]] = []  # with the seconds
        silent: list[tuple[float, SocketState]] = []
        arriving: list[tuple[float, SocketState]] = []
        answering: list[tuple[float, SocketState]] = []  # with bytes a second
        held: dict[bytes, int] = {}
        for state in states:
            seen = self._seen[state.cookie]
            _note(seen, state, now)
            is_scrape = state.port == self._metrics_port
            body = min(limits.request_bytes, seen.carried + seen.size)
            held[state.cookie] = body
            if is_scrape and body > SCRAPE:
                closed[state.cookie] = "its request is too large for the metrics port"
            elif seen.answering_at is not None:
                lasting = now - seen.answering_at
                rate = (state.acknowledged - seen.read) / max(lasting, INTERVAL)
                held[state.cookie] += limits.answer_bytes if state.is_full else state.waiting
                stalled = now - seen.moved
                if stalled > limits.idle_seconds:
                    closed[state.cookie] = "its answer isn't read"
                elif lasting > limits.idle_seconds and rate < LEAST_RATE:
                    closed[state.cookie] = "its answer is read too slowly"
                elif lasting > SHORT or seen.size >= LARGE:  # the latter came before the answer was read
                    answering.append((rate, state))
            elif seen.asked_at is not None:
                quiet = state.received_before / 1000
                lasting = now - quiet - seen.asked_at
                if quiet > (limits.idle_seconds if is_scrape else limits.answer_seconds):
                    closed[state.cookie] = "its request didn't come to an end"
                elif lasting > limits.idle_seconds and seen.size < LEAST_RATE * lasting:
                    closed[state.cookie] = "its request comes too slowly"
                elif quiet > min(SHORT, limits.idle_seconds) and not is_scrape:
                    silent.append((quiet, state))
                else:
                    arriving.append((seen.asked_at, state))
            else:
                quiet = min(now - seen.first, *_idle_times(state))
                idle.append((quiet, state))
                if quiet > limits.idle_seconds:
                    closed[state.cookie] = "it was idle"
        silent.sort(key=lambda each: -each[0])  # TorchServe answers in turn: the longest ones can't be in its queue
        surplus = silent[: max(0, len(silent) - limits.in_hand)]
        for quiet, state in surplus:
            if quiet > limits.idle_seconds:
                closed[state.cookie] = "its request didn't come to an end"
        open_ones = len(states) - len(closed)
        total = sum(size for cookie, size in held.items() if cookie not in closed)
        newest = sorted(arriving, key=_first, reverse=True)  # the older ones are nearer to their end
        idle.sort(key=lambda each: -each[0])
        for _, state in idle:
            if open_ones > limits.connections and state.cookie not in closed:
                closed[state.cookie] = "too many are open, and it was idle"
                open_ones -= 1
                total -= held[state.cookie]
        largest = sorted(idle, key=lambda each: -held[each[1].cookie])
        victims = [
            *((state, "memory is short, and it was idle after large requests") for _, state in largest),
            *((state, "memory is short, and its answer is read slowly") for _, state in sorted(answering, key=_first)),
            *((state, "memory is short, and its request didn't come to an end") for _, state in surplus),
            *((state, "memory is short") for _, state in newest if held[state.cookie] >= LARGE),
        ]
        for state, reason in victims:
            if open_ones <= limits.connections and total <= limits.held_bytes:
                break
            if state.cookie in closed or (open_ones <= limits.connections and not held[state.cookie]):
                continue
            closed[state.cookie] = reason
            open_ones -= 1
            total -= held[state.cookie]
        return closed


def _first(each: tuple[float, SocketState]) -> float:
    return each[0]


def _idle_times(state: SocketState) -> tuple[float, float]:
    """Seconds since the last byte of either direction; the time of being open where there was none."""
    received = state.received_before / 1000 if state.received else float("inf")
    sent = state.sent_before / 1000 if state.received else float("inf")
    return received, sent


def _note(seen: _Seen, state: SocketState, now: float) -> None:
    """Whether the connection is idle, a request arrives or waits on it, or an answer is being read."""
    before = seen.received
    kernel_had = seen.acknowledged + seen.waiting  # of all answers, at the last look
    was_full, seen.was_full = seen.was_full, state.is_full
    if state.acknowledged != seen.acknowledged:
        seen.moved = now
    seen.acknowledged, seen.received, seen.waiting = state.acknowledged, state.received, state.waiting
    if seen.size and seen.asked_at is None:
        seen.asked_at = now
    if state.waiting:
        is_next = not was_full and state.acknowledged >= kernel_had  # the client has read the answer before
        if seen.answering_at is None or is_next:
            seen.take_as_answered(state.received)
            seen.answering_at = seen.moved = now
            seen.read = state.acknowledged
        return
    read = state.acknowledged - seen.read
    was_answered = read > 0 and state.sent_before < state.received_before
    was_answered |= read > CONTINUE and state.sent_before == state.received_before
    if seen.answering_at is not None:
        seen.answering_at = None
        was_answered &= was_full or state.acknowledged > kernel_had  # by one more answer than the one that was read
        seen.asked_at = now if seen.size and not was_answered else None
        seen.read = state.acknowledged
    elif seen.asked_at is not None and not was_answered and read > CONTINUE:  # the next request has come since
        seen.take_as_answered(before)
        seen.asked_at = now if seen.size else None
        seen.read = state.acknowledged
    if was_answered and seen.size:
        seen.take_as_answered(state.received)
        seen.asked_at = None
    if seen.asked_at is None:
        seen.read = state.acknowledged


def guard_limits(memory: JavaMemory, model: ServedModel, idle_seconds: float, files: int) -> GuardLimits:
    """The limits that follow from a server's settings.

    Args:
        memory: how Java's is shared.
        model: what is served.
        idle_seconds: how long nothing may move on a connection.
        files: how many file descriptors Java may have.
    """
    parallel = model.workers * model.batch_size
    batches = 1 + math.ceil(memory.queue / parallel)
    return GuardLimits(
        idle_seconds=idle_seconds,
        answer_seconds=max(idle_seconds, batches * model.response_timeout + SHORT),
        in_hand=memory.queue + (model.workers + MORE_WORKERS) * model.batch_size,
        held_bytes=memory.held_bytes,
        request_bytes=int(memory.properties.get("max_request_size", DEFAULT_SIZE)),
        answer_bytes=memory.answer_bytes,
        connections=min(MOST_CONNECTIONS, max(files // 2, files - OTHER_FILES)),
    )


def raise_file_limit() -> int:
    """Raises the limit of file descriptors as far as the system lets it; Java inherits it.

    Returns:
        the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


@contextlib.contextmanager
def guarded(process: psutil.Process, port: int, metrics_port: int, limits: GuardLimits) -> Iterator[None]:
    """A ConnectionGuard for a while; where the system doesn't let it work it says what a proxy has to do."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(ConnectionGuard(process, port, metrics_port, limits, say))
        except OSError as error:
            say(
                f"connections have no time limits here, as this system doesn't allow pidfd_getfd or sock_diag "
                f"({error.strerror or error}): let a proxy in front close those on which nothing moves for "
                f"{limits.idle_seconds:g} s, hold back requests until they are whole, and read answers at once"
            )
        yield


class ConnectionGuard:
    """A thread that closes connections of another process's server. Use it as a context manager."""

    def __init__(
        self,
        process: psutil.Process,
        port: int,
        metrics_port: int,
        limits: GuardLimits,
        report: Callable[[str], None],
    ):
        """
        Args:
            process: whose server it is.
            port: where that listens for requests.
            metrics_port: where it listens for scrapes.
            limits: for each connection, and all of them.
            report: takes lines for people: what was closed and why.
        """
        self._process = process
        self._ports = (port, metrics_port)
        self._judge = Judge(limits, metrics_port)
        self._report = report
        self._counts: Counter[str] = Counter()  # of closed connections by reason, not reported yet
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="connection-guard", daemon=True)

    def __enter__(self) -> "ConnectionGuard":
        """
        Raises:
            OSError: the system doesn't let this process reach the other's sockets.
        """
        for _, inode in _sockets(self._process.pid)[:1]:
            for own in _reached(self._process.pid, {inode}).values():
                own.close()
        socket_states(*self._ports)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._say_counts()

    def _watch(self) -> None:
        said = -REPORTS
        while not self._stopped.wait(INTERVAL):
            try:
                states = socket_states(*self._ports)
                reasons = self._judge.to_close(states, time.monotonic())
                if reasons:
                    self._close({each.inode: reasons[each.cookie] for each in states if each.cookie in reasons})
            except OSError as error:
                if not self._process.is_running():
                    return
                self._say(f"connections can't be watched now: {error.strerror or error}")
                self._stopped.wait(REPORTS)
            if self._counts and time.monotonic() > said + REPORTS:
                self._say_counts()
                said = time.monotonic()

    def _close(self, reasons: dict[int, str]) -> None:
        for inode, own in _reached(self._process.pid, reasons.keys()).items():
            with own, contextlib.suppress(OSError):  # its peer was faster
                own.shutdown(socket.SHUT_RDWR)
                self._counts[reasons[inode]] += 1

    def _say_counts(self) -> None:
        for reason, count in self._counts.items():
            self._say(f"closed {count} {'connection' if count == 1 else 'connections'}: {reason}")
        self._counts.clear()

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # the watching goes on where nobody can be told
            self._report(line)


def _sockets(pid: int) -> list[tuple[int, int]]:
    """A process's file descriptors of sockets, with their inodes."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = str(entry.readlink())
            if target.startswith("socket:["):
                found.append((int(entry.name), int(target[8:-1])))
    return found


def _reached(pid: int, inodes: Iterable[int]) -> dict[int, socket.socket]:
    """That process's own sockets, by their inodes.

    Raises:
        OSError: they can't be reached.
    """
    wanted = set(inodes) - {0}
    reached = {}
    for number, inode in _sockets(pid):
        if inode in wanted:
            own = borrowed(pid, number)
            if own is not None and os.fstat(own).st_ino == inode:  # not one that took the number just now
                reached[inode] = socket.socket(fileno=own)
            elif own is not None:
                os.close(own)
    return reached
