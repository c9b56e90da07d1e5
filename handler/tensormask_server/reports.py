"""A worker's reports to the launcher. They come by a Unix socket in the launcher's private folder, with a secret.

The lines that TorchServe prints hold what clients send, so the launcher can't decide anything by them.
"""

import contextlib
import hmac
import json
import os
import secrets
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

ADDRESS = "TENSORMASK_SERVER_REPORTS"  # environment variables of the workers
SECRET = "TENSORMASK_SERVER_REPORTS_SECRET"
LONGEST = 1000  # characters of a text
CREDENTIALS = struct.Struct("3i")  # a process, a user and a group, as Linux writes them beside a message
SCM_CREDENTIALS = 2  # of Linux; Python's socket module doesn't name it
# topics: the model can't be loaded; the CPU emulates the precision; another precision would be much faster
FAILED, SLOW, FASTER = "failed", "slow", "faster"


@dataclass(frozen=True)
class Report:
    """One report."""

    topic: str  # FAILED, SLOW or FASTER
    text: str
    pid: int = 0  # of the process that sent it, as the kernel says


def report(topic: str, text: str) -> None:
    """Sends a report to the launcher. Does nothing if another program has started TorchServe.

    Args:
        topic: FAILED, SLOW or FASTER.
        text: for people.
    """
    address, secret = os.environ.get(ADDRESS), os.environ.get(SECRET)
    if not address or not secret:
        return
    content = f"{secret}\n{json.dumps([topic, text[:LONGEST]])}".encode()
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
        sending.setblocking(False)
        sending.sendto(content, address)


class Reports:
    """The launcher's end of the socket. Use it as a context manager."""

    def __init__(self, folder: Path):
        """
        Args:
            folder: a private one, for the socket.
        """
        self._path = folder / "reports.sock"
        self._secret = secrets.token_hex(32)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the workers need in their environment."""
        return {ADDRESS: str(self._path), SECRET: self._secret}

    def __enter__(self) -> "Reports":
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(self._path))
        self._socket.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def read(self) -> list[Report]:
        """The reports that have come since the last call, without waiting for more."""
        reports: list[Report] = []
        while True:
            try:
                content, ancillary, _, _ = self._socket.recvmsg(1 << 16, socket.CMSG_SPACE(CREDENTIALS.size))
            except BlockingIOError:
                return reports
            secret, _, report = content.partition(b"\n")
            if hmac.compare_digest(secret, self._secret.encode()):
                pid = next((CREDENTIALS.unpack(data)[0] for _, kind, data in ancillary if kind == SCM_CREDENTIALS), 0)
                topic, text = json.loads(report)
                reports.append(Report(topic, text, pid))
