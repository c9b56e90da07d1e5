"""A port that is in use: the error names the option, and whose the port is."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tensormask_server.torchserve.addresses import AddressError, check_port

LISTEN = """
import socket, sys, time
with socket.create_server(("127.0.0.1", 0)) as taken:
    print(taken.getsockname()[1], flush=True)
    time.sleep(600)
"""
PARENT = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)"
JAVA = "org.pytorch.serve.ModelServer"  # the class that TorchServe's frontend runs


@contextmanager
def listening(*command: str | Path) -> Iterator[tuple[int, psutil.Process]]:
    """A process that prints the port on which it, or a child of it, listens."""
    with subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), psutil.Process(process.pid)
        finally:
            for child in psutil.Process(process.pid).children():
                child.kill()
            process.kill()


def said_of(port: int) -> str:
    with pytest.raises(AddressError) as error:
        check_port("inference_address", f"http://127.0.0.1:{port}")
    text = str(error.value)
    start, end = f"can't listen on http://127.0.0.1:{port}: Address already in use", "; expected a port that no other"
    assert text.startswith(start)
    assert text.endswith("program uses: choose another with --port PORT")
    return text[len(start) : text.index(end)]


def test_another_program_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        own = psutil.Process(os.getpid())
        assert said_of(taken.getsockname()[1]) == f" by {own.name()} (process {own.pid})"


def test_a_torchserve_is_told_from_other_programs() -> None:
    with listening("-c", LISTEN, JAVA) as (port, java):
        stops = f"torchserve --stop or kill {java.pid}"
        assert said_of(port) == f" by a TorchServe (process {java.pid}, which {stops} stops)"


@pytest.mark.parametrize("holder", ["the frontend", "the command"])
def test_our_own_server_is_named_with_the_process_to_stop(holder: str, tmp_path: Path) -> None:
    """Its frontend holds the port for requests, and is a child of the command, which holds the management port."""
    command = tmp_path / "tensormask-server"
    command.write_text(PARENT if holder == "the frontend" else LISTEN)
    with listening(command, "-c", LISTEN, JAVA) as (port, launcher):
        assert said_of(port) == f" by a tensormask-server (process {launcher.pid}, which kill {launcher.pid} stops)"
