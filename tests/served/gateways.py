"""The command tensormask-gateway for the tests, in front of a running server."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.served.conftest import COVERAGE, Server, free_ports
from tests.waiting import PATIENCE, wait_for

GATEWAY = Path(sys.executable).with_name("tensormask-gateway")


@dataclass(frozen=True)
class RunningGateway:
    """A gateway's address and process."""

    port: int
    process: subprocess.Popen[str]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def records(self) -> list[dict[str, Any]]:
        """The lines of its log of requests."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def record(self, id: str) -> dict[str, Any]:
        """The line of a request, once it is there."""
        return wait_for(lambda: next((each for each in self.records() if each["id"] == id), None), f"the line of {id}")


@contextmanager
def gateway_of(
    server: Server, folder: Path, *arguments: object, upstream: str = "", says: str = "READY"
) -> Iterator[RunningGateway]:
    """tensormask-gateway in front of a server, once it has said READY.

    Args:
        server: behind it.
        folder: for the log of requests.
        arguments: of the command.
        upstream: another URL than the server's.
        says: the start of its first line.
    """
    [port] = free_ports(1)
    log = folder / "requests.jsonl"
    log.touch()
    words = ["-p", port, "--upstream", upstream or f"http://127.0.0.1:{server.torchserve_port}"]
    words += ["--management-port", server.ports[1], "--request-log", log, "--stop-timeout", 5, *arguments]
    process = subprocess.Popen(
        [GATEWAY, *map(str, words)],
        cwd=folder,
        env={"XDG_STATE_HOME": str(server.state), "PATH": "", **COVERAGE},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.startswith(says):
            process.kill()  # or else its output has no end
            pytest.fail(line + process.stdout.read())
        yield RunningGateway(port, process, log)
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)
        process.stdout.close()


def accepted(listening: socket.socket) -> socket.socket:
    """The first connection by which a request comes. The gateway closes those by which it checks the server."""
    while True:
        connection, _ = listening.accept()
        connection.settimeout(PATIENCE)
        if connection.recv(1, socket.MSG_PEEK):
            return connection
        connection.close()
