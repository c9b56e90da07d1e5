"""The reason in a response's status line."""

from typing import Any, cast

import pytest
from tensormask_server.gateway.joined_writes import HeldHead
from tensormask_server.gateway.reasons import KEY, WithReason

HEAD = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 1\r\n\r\n"


class Written:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False


def written(state: dict[str, Any]) -> bytes:
    transport = Written()
    connection = WithReason(cast(HeldHead, transport), state)
    for data in (HEAD, b"x", b"\r\n"):
        connection.write(data)
    return transport.data


def test_a_response_without_a_reason_stays_as_it_is() -> None:
    assert written({}) == HEAD + b"x\r\n"


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("the image is damaged; expected …", b"the image is damaged; expected ..."),
        ("model is 'a\r\nX-Other: 1'", rb"model is 'a\r\nX-Other: 1'"),
        ("class Apfelbäume\x1b[2J", b"class Apfelb?ume\\x1b[2J"),
    ],
)
def test_a_reason_stands_on_the_status_line_alone(reason: str, line: bytes) -> None:
    assert written({KEY: reason}) == b"HTTP/1.1 400 " + line + b"\r\ncontent-length: 1\r\n\r\nx\r\n"


def test_a_long_reason_keeps_its_end() -> None:
    line = written({KEY: "found " + "a" * 10_000 + "; expected b"}).partition(b"\r\n")[0]
    assert len(line) < 500
    assert line.endswith(b"; expected b")
