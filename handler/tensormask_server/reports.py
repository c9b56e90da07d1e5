"""What a worker tells the launcher: a Unix datagram socket in the launcher's private folder, and a secret.

TorchServe's printed lines hold what clients send, so that nothing the launcher does may follow from them.
"""

import contextlib
import hmac
import json
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

ADDRESS = "TENSORMASK_SERVER_REPORTS"  # environment variables of the workers
SECRET = "TENSORMASK_SERVER_REPORTS_SECRET"
LONGEST = 1000  # letters of a text
FAILED, SLOW = "failed", "slow"  # the kinds: a model that can't be loaded; a precision that the CPU emulates


@dataclass(frozen=True)
class Report:
    """One datagram."""

    kind: str
    text: str


def report(kind: str, text: str) -> None:
    """Sends one to the launcher; does nothing where another program has started TorchServe."""
    address, secret = os.environ.get(ADDRESS), os.environ.get(SECRET)
    if not address or not secret:
        return
    content = f"{secret}\n{json.dumps([kind, text[:LONGEST]])}".encode()
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
        sending.setblocking(False)
        sending.sendto(content, address)


class Reports:
    """The launcher's end. Use it as a context manager."""

    def __init__(self, folder: Path):
        """
        Args:
            folder: private, for the socket.
        """
        self._path = folder / "reports.sock"
        self._secret = secrets.token_hex(32)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    @property
    def environment(self) -> dict[str, str]:
        """What the workers have to have in theirs."""
        return {ADDRESS: str(self._path), SECRET: self._secret}

    def __enter__(self) -> "Reports":
        self._socket.bind(str(self._path))
        self._socket.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def read(self) -> list[Report]:
        """What has come since the last call, without waiting."""
        found: list[Report] = []
        while True:
            try:
                content = self._socket.recv(1 << 16)
            except BlockingIOError:
                return found
            secret, _, report = content.partition(b"\n")
            if hmac.compare_digest(secret, self._secret.encode()):
                found.append(Report(*json.loads(report)))
