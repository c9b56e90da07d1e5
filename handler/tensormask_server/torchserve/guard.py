"""Closes connections that TorchServe would keep for ever: idle ones, half-sent requests, and unread responses.

A thread reads the kernel's state of each connection every 0.2 s, and closes those that the judge names.
"""

import contextlib
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import psutil

from tensormask_server.printable import say
from tensormask_server.torchserve.guard_limits import GuardLimits
from tensormask_server.torchserve.judge import INTERVAL, Judge
from tensormask_server.torchserve.socket_states import ServerConnections
from tensormask_server.torchserve.sockets import borrowed, descriptors_of_sockets

REPORTS = 10.0  # seconds between two reports


@contextlib.contextmanager
def guarded(process: psutil.Process, port: int, metrics_port: int, limits: GuardLimits) -> Iterator[None]:
    """Guards a server's connections for the time of the context manager.

    If the system doesn't allow that, it prints what a proxy in front has to do instead.

    Args:
        process, port, metrics_port, limits: as for ConnectionGuard.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(ConnectionGuard(process, port, metrics_port, limits, say))
        except OSError as error:
            say(
                f"connections have no time limits here, as this system doesn't allow pidfd_getfd or sock_diag "
                f"({error.strerror or error}): let a proxy in front close those without traffic for "
                f"{limits.idle_seconds:g} s, hold back requests until they are whole, and read responses at once"
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
            process: the server's.
            port: where the server listens for requests.
            metrics_port: where it listens for Prometheus.
            limits: for each connection, and for all of them together.
            report: is called with lines for people, which say what was closed and why.
        """
        self._process = process
        self._connections = ServerConnections(process.pid, port, metrics_port)
        self._judge = Judge(limits, metrics_port)
        self._report = report
        self._counts: Counter[str] = Counter()  # of closed connections by reason, not reported yet
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="connection-guard", daemon=True)

    def __enter__(self) -> "ConnectionGuard":
        """Starts the thread.

        Raises:
            OSError: the system doesn't let this process reach the other process's sockets.
        """
        for own in _reached(self._process.pid, list(descriptors_of_sockets(self._process.pid))[:1]).values():
            own.close()
        self._connections.states()
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
                states = self._connections.states()
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
            with own, contextlib.suppress(OSError):  # the client has closed it just now
                own.shutdown(socket.SHUT_RDWR)
                self._counts[reasons[inode]] += 1

    def _say_counts(self) -> None:
        for reason, count in self._counts.items():
            self._say(f"closed {count} {'connection' if count == 1 else 'connections'}: {reason}")
        self._counts.clear()

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # if nothing can be printed, it goes on watching
            self._report(line)


def _reached(pid: int, inodes: Iterable[int]) -> dict[int, socket.socket]:
    """Borrows another process's sockets. Those that are closed already are left out.

    Returns:
        From an inode to its socket.

    Raises:
        OSError: the system doesn't allow it.
    """
    descriptors = descriptors_of_sockets(pid)
    reached = {}
    for inode in descriptors.keys() & set(inodes):
        own = borrowed(pid, descriptors[inode])
        if own is not None and os.fstat(own).st_ino == inode:  # and not a new file of this number
            reached[inode] = socket.socket(fileno=own)
        elif own is not None:
            os.close(own)
    return reached
