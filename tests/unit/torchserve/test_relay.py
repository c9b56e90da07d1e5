"""The management port: how much of a request it reads, before TorchServe listens behind it."""

import io
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensormask_server.torchserve.relay import ManagementRelay
from tensormask_server.torchserve.request_head import LARGEST_HEAD, HeadReader
from tensormask_server.torchserve.routes import Refused

WAIT = 120  # s, for what takes less than one
LINE = b"GET /models HTTP/1.1\r\nHost: 127.0.0.1\r\n"


class Counted(io.RawIOBase):
    """Bytes, as from a connection, with the number of those that were read."""

    def __init__(self, content: bytes):
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._content.readinto(buffer)

    @property
    def count(self) -> int:
        return self._content.tell()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[ManagementRelay]:
    with ManagementRelay(("127.0.0.1", 0), tmp_path / "absent", 4, lambda _: 0, has_tokens=False) as relay:
        yield relay


def response_to(relay: ManagementRelay, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", relay.server_port), timeout=WAIT) as connection:
        connection.sendall(request)
        response = b""
        try:
            while part := connection.recv(1 << 16):
                response += part
        except ConnectionResetError:
            pass
    return response


@pytest.mark.parametrize("size", [1, 100, LARGEST_HEAD - 1, LARGEST_HEAD, 65_000, 1 << 20])
def test_a_large_head_is_not_read_to_its_end(size: int) -> None:
    """Of lines that http.server would read one after the other."""
    line = bytes(size - 1) + b"\n"
    connection = Counted(line * (1 + (1 << 20) // size))
    reader = HeadReader(connection)
    taken = 0
    with pytest.raises(Refused) as caught:
        while True:
            taken += len(reader.readline(65_537))
    assert caught.value.status == 431
    assert taken <= LARGEST_HEAD
    assert connection.count <= LARGEST_HEAD + io.DEFAULT_BUFFER_SIZE


def test_a_body_does_not_count() -> None:
    head = b"a" * (LARGEST_HEAD - 1) + b"\n"
    reader = HeadReader(Counted(head + bytes(65_536)))
    assert reader.readline() == head
    assert reader.read(65_536) == bytes(65_536)


@pytest.mark.parametrize(("size", "status"), [(LARGEST_HEAD, b"503"), (LARGEST_HEAD + 1, b"431")])
def test_a_head_may_have_so_many_bytes(relay: ManagementRelay, size: int, status: bytes) -> None:
    """A request of the largest size is passed on, to where nobody listens yet."""
    start, end = LINE + b"X: ", b"\r\n\r\n"
    response = response_to(relay, start + b"x" * (size - len(start) - len(end)) + end)
    assert response.split()[1] == status
    if status == b"431":
        assert b'"expected": "at most 16384 bytes"' in response


def test_a_long_request_line_is_refused(relay: ManagementRelay) -> None:
    response = response_to(relay, b"GET /" + b"x" * LARGEST_HEAD)
    assert response.split()[:2] == [b"HTTP/1.1", b"431"]
