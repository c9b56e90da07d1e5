"""Hosts as network namespaces on one bridge, as if they were machines on one switch. For root, in a namespace."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import psutil

NAMES = Path("/run/netns")
SWITCH = "10.0.0.1/24"  # where this process itself is


def lay_switch() -> None:
    """Gives this process's own namespace, which should have nothing yet, a bridge with an address."""
    NAMES.mkdir(exist_ok=True)  # where ip keeps the names of the namespaces
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", NAMES], check=True)
    _ip("link set lo up")
    _ip("link add switch type bridge")
    _ip(f"addr add {SWITCH} dev switch")
    _ip("link set switch up")


class Host:
    """A network namespace with one address, and what runs in it."""

    def __init__(self, name: str, address: str):
        self.name = name
        self.address = address
        self._process: subprocess.Popen[str] | None = None
        _ip(f"netns add {name}")
        _ip(f"link add to-{name} type veth peer name eth0 netns {name}")
        _ip(f"link set to-{name} master switch up")
        _ip(f"-n {name} addr add {address}/24 dev eth0")
        _ip(f"-n {name} link set lo up")
        _ip(f"-n {name} link set eth0 up")

    def start(self, command: Sequence[object]) -> IO[str]:
        """Runs a command there; what it prints."""
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        return self._process.stdout

    def stop(self) -> int:
        """Asks the command to end, by SIGTERM, and waits; its exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait()

    def lose_power(self) -> None:
        """No connection is closed: whoever is waiting for a response goes on waiting."""
        _ip(f"link set to-{self.name} down")
        self.end()

    def end(self) -> None:
        """Kills what runs there, if anything does."""
        if self._process is None or self._process.poll() is not None:
            return
        command = psutil.Process(self._process.pid)
        for process in (*command.children(recursive=True), command):
            process.kill()
        self._process.wait()


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)
