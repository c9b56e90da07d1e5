"""Closes the connections that TorchServe would keep for ever: idle ones, half-sent requests, answers nobody reads.

A thread reads the kernel's state of each connection every 0.2 s, and closes those that the judge names.
"""

import contextlib
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil

from tensormask_server.printable import say
from tensormask_server.torchserve.guard_limits import GuardLimits
from tensormask_server.torchserve.judge import INTERVAL, Judge
from tensormask_server.torchserve.socket_states import socket_states
from tensormask_server.torchserve.sockets import borrowed

REPORTS = 10.0  # seconds between two lines of one reason


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
