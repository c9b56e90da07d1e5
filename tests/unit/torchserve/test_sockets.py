"""Another process's connections. A real process responds when the test lets it."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from tensormask_server.torchserve import sockets
from tensormask_server.torchserve.sockets import count_in_hand, refuse_new

from tests.waiting import wait_for

ANSWERS_WHEN_TOLD = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
connection, _ = server.accept()
ahead, _ = server.accept()
print("accepted", flush=True)
connection.recv(9)
sys.stdin.readline()
connection.send(b"response")
sys.stdin.readline()
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", ANSWERS_WHEN_TOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        yield started
        started.kill()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_a_request_is_in_hand_until_its_response(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    place = ("127.0.0.1", int(process.stdout.readline()))
    watched = psutil.Process(process.pid)
    with socket.create_connection(place) as asking, socket.create_connection(place):
        assert process.stdout.readline() == "accepted\n"  # what isn't accepted ends with the listening socket
        time.sleep(0.05)  # the kernel tells times of connecting and asking apart by some milliseconds
        asking.send(b"question")
        assert refuse_new(watched, place[1])
        assert count_in_hand(watched, place[1]) == 1
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(place)
        time.sleep(0.05)
        tell(process)
        assert asking.recv(9) == b"response"
        wait_for(lambda: not count_in_hand(watched, place[1]), "the response to be acknowledged")


def test_if_the_kernel_refuses_all_connections_count(
    process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert process.stdout is not None
    place = ("127.0.0.1", int(process.stdout.readline()))
    watched = psutil.Process(process.pid)
    monkeypatch.setattr(sockets, "PIDFD_GETFD", 1 << 20)  # no such call
    with socket.create_connection(place), socket.create_connection(place):
        assert not refuse_new(watched, place[1])
        wait_for(lambda: count_in_hand(watched, place[1]) == 2, "both connections to be accepted")
        with socket.create_connection(place):
            pass
