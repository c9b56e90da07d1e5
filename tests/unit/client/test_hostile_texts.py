"""What a hostile server says is shown and logged in one short line, without control sequences for a terminal."""

import json

import pytest
from tensormask_server.client import ClientError, Refused

from tests.unit.client.hostile_servers import endless, error_of, http, sending

pytestmark = pytest.mark.attack(13, "a hostile server")

ESCAPES = "\x1b]0;owned\x07\x1b[2J\r\nINFO forged \u202e\u2028 line\x00"


@pytest.mark.parametrize("status", [200, 204, 206, 302, 400, 401, 403, 404, 413, 418, 500, 502, 503, 504, 507, 999])
@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"error": ESCAPES * 1000, "expected": ESCAPES * 1000}).encode(),
        json.dumps({"type": "InvalidKeyException", "message": ESCAPES * 1000}).encode(),
        json.dumps({"error": [[ESCAPES]], "message": {"a": 1}, "expected": 7, "type": []}).encode(),
        ESCAPES.encode() * 10_000,
        b'{"error":' * 7_000,
        b"\xff\x1b" * 30_000,
        b"",
    ],
    ids=["ours", "TorchServe's", "types", "text", "nested", "bytes", "empty"],
)
def test_what_a_server_says_is_shown_in_one_short_line(status: int, body: bytes) -> None:
    error = error_of(sending(http(body, f"{status} {ESCAPES.splitlines()[0]}")))
    if isinstance(error, Refused):
        assert (error.error + error.expected).isprintable()
        assert len((error.error + error.expected).encode()) <= 1000


@pytest.mark.parametrize("line", [b"\x1b[2J" * 100, b"HTTP/9.9 \x1b", b"HTTP/1.1 abc", b"SSH-2.0-x", b"\0" * 100])
def test_what_is_no_http_is_shown_in_one_short_line(line: bytes) -> None:
    assert isinstance(error_of(sending(line + b"\r\n\r\n")), ClientError)


def test_what_is_logged_is_one_short_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tensormask_server.client")
    said = json.dumps({"message": ESCAPES * 1000}).encode()
    error_of(sending(http(said, "503 Busy")), waits=(0.0,))
    [record] = caplog.records
    assert record.getMessage().isprintable()
    assert len(record.getMessage().encode()) < 1100


def test_an_error_of_many_bytes_is_not_read_to_its_end() -> None:
    error = error_of(endless(b"HTTP/1.1 500 Error\r\n\r\n", b"sorry " * 10_000))
    assert isinstance(error, Refused)
    assert str(error).startswith("500 sorry sorry")
