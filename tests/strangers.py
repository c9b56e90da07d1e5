"""A stranger's server on this machine, at the same port of another address than ours."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from socket import create_connection

from tests.waiting import PATIENCE

SERVER = """
import os, socket, sys, threading
if os.geteuid() == 0:
    os.setuid(65534)
host, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
server = socket.create_server((host, port), family=family, backlog=99)
print("listens", flush=True)
def read(connection):
    left = size
    while left:
        left -= len(connection.recv(min(left, 1 << 20)))
    connection.sendall(b".")
    connection.recv(1)
while True:
    threading.Thread(target=read, args=(server.accept()[0],), daemon=True).start()
"""


@contextmanager
def holding_stranger(host: str, port: int, size: int, connections: int = 1) -> Iterator[int]:
    """Runs a server of another user, if this one is root, and of another process in any case.

    Args:
        host, port: where it listens.
        size: bytes that each connection has sent to it, and that it has read.
        connections: how many stay open.

    Yields:
        The id of its process.
    """
    words = [sys.executable, "-c", SERVER, host, str(port), str(size)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process, ExitStack() as stack:
        stack.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == "listens\n"
        piece = bytes(min(size, 1 << 20))
        for _ in range(connections):
            client = stack.enter_context(create_connection((host, port), timeout=PATIENCE))
            for _ in range(size // len(piece)):
                client.sendall(piece)
            assert client.recv(1) == b"."
        yield process.pid
