"""The client at hostile servers: each ends in the client's own error, soon, in little memory and in one line."""

import gzip
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tensormask_server import exchange
from tensormask_server.client import (
    Busy,
    Client,
    ClientError,
    Lost,
    Refused,
    TooLarge,
    Unreachable,
    WrongServer,
    WrongToken,
    image_bytes,
)
from tensormask_server.instances import ResponseTooLarge, decode_mask, read_instances

pytestmark = pytest.mark.attack(13, "a hostile server")

PIXEL = np.zeros((1, 2, 3), np.uint8)
GOOD = {"instances": [], "width": 2, "height": 1, "model": "m", "weights_sha256": "0"}
INSTANCE = {
    "category_id": 1,
    "category_name": "ant",
    "bbox": [0, 0, 1, 1],
    "score": 0.5,
    "segmentation": {"size": [1, 2], "counts": "02"},
}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PATIENCE = 120  # seconds until a test gives up
ESCAPES = "\x1b]0;owned\x07\x1b[2J\r\nINFO forged \u202e\u2028 line\x00"


@contextmanager
def talking(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads a request's headers, and then calls a function with the connection."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection = listener.accept()[0]
                with connection, suppress(OSError):
                    connection.settimeout(PATIENCE)
                    received = b""
                    while b"\r\n\r\n" not in received:
                        received += connection.recv(1 << 16)
                    behave(connection)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1 << 16):  # closed with something unread, it would break off what was sent
                        pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/predictions/x"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE)


def sending(*pieces: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return behave


def endless(start: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)

    return behave


def dripping(start: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    """Never silent for as long as the client would wait for a byte."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)
            time.sleep(0.02)

    return behave


def http(body: bytes, status: str = "200 OK", *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status.encode(), b"Content-Type: application/json", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


def response(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def error_of(behave: Callable[[socket.socket], None], **limits: Any) -> ClientError:
    with talking(behave) as url, pytest.raises(ClientError) as caught:
        Client(url, **{"waits": (), **limits}).predict(PIXEL)
    assert str(caught.value).isprintable()
    assert len(str(caught.value).encode()) <= 1000
    return caught.value


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("999 Odd", Refused),
        ("600 Odd", Refused),
        ("204 No Content", Refused),  # with a length
        ("304 Not Modified", WrongServer),
        ("101 Switching Protocols", Refused),
        ("099 Odd", WrongServer),
        ("1000 Odd", WrongServer),
        ("-1 Odd", WrongServer),
    ],
)
def test_a_status_that_nobody_expects_is_an_error(status: str, expected: type[ClientError]) -> None:
    assert type(error_of(sending(http(b"hello", status)))) is expected


# --- bytes and time ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (HEAD + b"\r\n", bytes(1 << 16)),  # no length, no end
        (HEAD + b"Content-Length: 1000000000000\r\n\r\n", bytes(1 << 16)),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(1 << 16) + b"\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1000),
        (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
            bytes(1 << 16),
        ),  # http.client reads such a chunk to its end
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nE8D4A51000\r\n", bytes(1 << 16)),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"Trailer: x\r\n" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (HEAD, b"X: y\r\n" * 90),
        (HEAD + b"X: ", b"y" * 65536),
        (b"HTTP/1.1 200 ", b"O" * 65536),
    ],
)
def test_what_has_no_end_is_given_up(start: bytes, piece: bytes) -> None:
    error = error_of(endless(start, piece), max_response_bytes=1 << 20)
    assert isinstance(error, TooLarge | WrongServer)


def test_headers_of_megabytes_are_given_up() -> None:
    lines = b"".join(b"X%d: %s\r\n" % (number, b"y" * 60_000) for number in range(90))
    error = error_of(sending(HEAD + lines + b"\r\n{}"))
    assert isinstance(error, TooLarge)
    assert "headers of more than 262144 bytes" in str(error)


def test_a_response_may_have_just_as_many_bytes_as_are_allowed() -> None:
    body = response()
    for limit, is_enough in ((len(body), True), (len(body) - 1, False)):
        with talking(sending(http(body))) as url:
            client = Client(url, waits=(), max_response_bytes=limit)
            if is_enough:
                assert len(client.predict(PIXEL)) == 0
            else:
                with pytest.raises(TooLarge, match=f"more than {limit} bytes; .*max_response_bytes"):
                    client.predict(PIXEL)


def test_a_length_that_does_not_come_takes_no_memory() -> None:
    """In a process that may have little of it."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "from tensormask_server.client import *\n"
        "try: Client(sys.argv[1], waits=()).predict(b'x')\n"
        "except Busy as error: print(error)"
    )
    for start in (b"Content-Length: 200000000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nE8D4A51000\r\n"):
        with talking(sending(HEAD + start + b"{")) as url:
            command = [sys.executable, "-c", code, url]
            result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert "the server ended the connection" in result.stdout, result.stderr


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (HEAD + b"Content-Length: 100000000\r\n\r\n", b" "),
        (b"", b"H"),
        (HEAD, b"X: y\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_what_drips_is_given_up_when_the_time_is_over(start: bytes, piece: bytes) -> None:
    error = error_of(dripping(start, piece), timeout=PATIENCE, total_timeout=0.5)
    assert isinstance(error, Lost)
    assert "no response in 0.5 s in all" in str(error)


def test_a_server_that_takes_the_image_drop_by_drop_is_given_up() -> None:
    def behave(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while not is_over.wait(0.01):
            connection.recv(1)
        connection.close()

    is_over = threading.Event()
    with talking(behave) as url:
        with pytest.raises(Lost, match=r"0\.5 s in all"):
            Client(url, waits=(), timeout=PATIENCE, total_timeout=0.5).request(bytes(100_000_000), "coco")
        is_over.set()


def test_tries_end_with_the_total_time() -> None:
    client = {"waits": (0.1, PATIENCE, PATIENCE), "total_timeout": 60}
    error = error_of(sending(http(b"{}", "503 Busy")), **client)
    assert isinstance(error, Busy)
    assert "2 times" in str(error)


# --- what a response says ---------------------------------------------------------------------------------------------

WRONG = [
    b"",
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000,
    b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b"9" * 100_000,
    b"1e999999",
    b'"\xff\xfe"',
    b"\xff\xfe" + "{}".encode("utf-16-le"),
    gzip.compress(response()),
    b"null",
    response(instances=None),
    response(instances={}),
    response(instances="ab"),
    response(instances=[None]),
    response(instances=[[]]),
    response(height=0),
    response(height=-1, width=-2),
    response(height=True),
    response(height=1.0),
    response(height="1"),
    response(height=None),
    response(height=10**400),
    response(model=1),
    response(model=None),
    response(weights_sha256=[]),
    *(
        response(instances=[{**INSTANCE, **change}]).replace(b"Infinity", b"1e400")
        for change in (
            {"bbox": [0, 0, 1]},
            {"bbox": [0, 0, 1, float("inf")]},
            {"bbox": [0, 0, 1, float("nan")]},
            {"bbox": [0, 0, 1, 1e300]},
            {"bbox": [0, 0, 1, 10**400]},
            {"bbox": [0, 0, 1, "1"]},
            {"bbox": [0, 0, 1, [1]]},
            {"bbox": "0011"},
            {"bbox": {"0": 1}},
            {"bbox": None},
            {"score": float("inf")},
            {"score": float("-inf")},
            {"score": "0.5"},
            {"score": True},
            {"score": None},
            {"score": [0.5]},
            {"category_id": 10**30},
            {"category_id": 1e400},
            {"category_id": 1.5},
            {"category_id": "1"},
            {"category_name": 1},
            {"category_name": None},
            {"category_name": ["ant"]},
            {"segmentation": None},
            {"segmentation": "02"},
            {"segmentation": []},
            {"segmentation": {}},
            {"segmentation": {"size": [1, 2]}},
            {"segmentation": {"size": [2, 1], "counts": "02"}},
            {"segmentation": {"size": None, "counts": "02"}},
            {"segmentation": {"size": [1, 2], "counts": [0, 2]}},
            {"segmentation": {"size": [1, 2], "counts": None}},
            {"segmentation": {"size": [1, 2], "counts": ""}},
            {"segmentation": {"size": [1, 2], "counts": "\ud800"}},
            {"segmentation": {"size": [1, 2], "counts": "o" * 100_000}},
        )
    ),
]


@pytest.mark.parametrize("body", WRONG, ids=range(len(WRONG)))
def test_a_response_of_another_form_is_taken_for_another_servers(body: bytes) -> None:
    assert isinstance(error_of(sending(http(body))), WrongServer)


def test_the_instance_that_the_wrong_ones_are_made_of_is_right() -> None:
    with talking(sending(http(response(instances=[INSTANCE])))) as url:
        instances = Client(url, waits=()).predict(PIXEL)
    assert (instances.names, instances.scores.tolist(), instances.boxes.tolist()) == (("ant",), [0.5], [[0, 0, 1, 1]])
    assert instances.masks is not None
    assert instances.masks.tolist() == [[[True, True]]]


@pytest.mark.parametrize(
    ("height", "width", "count"), [(10**6, 10**6, 1), (10**12, 10**12, 1), (40_000, 41_944, 1), (1000, 1000, 1678)]
)
def test_the_masks_size_is_checked_before_memory_is_taken(height: int, width: int, count: int) -> None:
    segmentation = {"size": [height, width], "counts": "0"}
    body = response(instances=[{**INSTANCE, "segmentation": segmentation}] * count, height=height, width=width)
    with (
        talking(sending(http(body))) as url,
        pytest.raises(TooLarge, match=r"at most 1677721600 pixels.*max_mask_pixels"),
    ):
        Client(url, waits=()).predict(b"an image")


def test_masks_of_another_size_than_the_image_sent_are_another_servers() -> None:
    error = error_of(sending(http(response(height=2))))
    assert isinstance(error, WrongServer)
    assert "2×2 pixels for an image of 1×2" in str(error)


@pytest.mark.parametrize(
    "body", [b"[" + b"[]," * 2_000_000 + b"[]]", b"[" + b'"",' * 2_000_000 + b'""]', b"[" * 2_000_000]
)
def test_json_that_would_take_many_times_its_size_is_not_read(body: bytes) -> None:
    with pytest.raises(ResponseTooLarge, match="expected at most 1000000"):
        read_instances(body, "")


def test_brackets_and_commas_in_texts_are_no_values() -> None:
    body = response(model=r'[{,"\\' * 1_000_000)
    assert read_instances(body, "").model == r'[{,"\\' * 1_000_000


def run_length(value: int) -> str:
    """As COCO writes a length, of any size."""
    groups = []
    while True:
        group, value = value & 31, value >> 5
        if (value == 0 and not group & 16) or (value == -1 and group & 16):
            return "".join(chr(48 + each + 32) for each in groups) + chr(48 + group)
        groups.append(group)


@pytest.mark.parametrize(
    "lengths",
    [
        [2**31],
        [2**32 + 4],
        [2**33, 2**33],
        [2**63],
        [2**64 + 4],
        [2**64, 4],
        [4, 2**62, 2**62, 2**62, 2**62],
        [0, 2**33] * 1000,
        [-4, 8],
        [10**12],
        [5],
        [4, 0, 0, 1],
    ],
)
def test_run_lengths_that_overflow_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError):
        decode_mask("".join(map(run_length, lengths)), 2, 2)


def test_run_lengths_of_the_right_sum_are_read() -> None:
    assert decode_mask(run_length(1) + run_length(3), 2, 2).tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize(("height", "width"), [(2**17, 2**17), (-(2**17), -(2**17)), (10**12, 10**12), (-2, -2)])
def test_a_mask_of_a_size_that_none_has_is_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError):
        decode_mask(run_length(2**33) * 2 if height * width > 4 else run_length(4), height, width)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["02", 10**12, 1e308]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*INSTANCE, "size", "counts"]), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    of_response=st.dictionaries(st.sampled_from([*GOOD]), values),
    of_instance=st.dictionaries(st.sampled_from([*INSTANCE]), values),
)
def test_any_change_of_a_response_is_read_or_is_a_value_error(
    of_response: dict[str, object], of_instance: dict[str, object]
) -> None:
    with suppress(ValueError):
        read_instances(response(**{"instances": [{**INSTANCE, **of_instance}], **of_response}), "")


@pytest.mark.parametrize(
    ("header", "timing"),
    [
        ("decode;dur=1.5, network;dur=20", {"decode": 1.5, "network": 20.0}),
        ("cache;desc=HIT, network;dur=20, ;dur=3, x;dur=, y;dur=1e400, z;dur=nan, v;dur=-1", {"network": 20.0}),
        ("a;dur=" + "9" * 5000, {}),
        (";" * 60000, {}),
    ],
)
def test_timing_that_is_not_ours_is_left_out(header: str, timing: dict[str, float]) -> None:
    assert read_instances(response(), header).timing == timing


# --- what a server says -----------------------------------------------------------------------------------------------


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


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.binary(max_size=200), position=st.integers(0, 200), keep=st.booleans())
@example(content=b"\r\nContent-Type: multipart/mixed; boundary=\r\n", position=15, keep=True)
@example(content=b"\r\nContent-Length: -5\r\n", position=15, keep=True)
def test_any_bytes_are_a_response_or_the_clients_own_error(content: bytes, position: int, keep: bool) -> None:
    whole = http(response(), "200 OK", b"Server-Timing: decode;dur=1")
    sent = whole[:position] + content + (whole[position:] if keep else b"")
    with talking(sending(sent)) as url, suppress(ClientError):
        Client(url, waits=()).predict(PIXEL)


# --- where requests go ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("other", ["file:///etc/passwd", "{url}", "//127.0.0.1/", "gopher://127.0.0.1/"])
def test_a_redirect_is_not_followed_and_the_token_goes_nowhere(status: int, other: str) -> None:
    reached: list[bytes] = []

    def elsewhere(connection: socket.socket) -> None:
        reached.append(connection.recv(1 << 16, socket.MSG_DONTWAIT))

    with talking(elsewhere) as url:
        location = b"Location: " + other.format(url=url).encode()
        with talking(sending(http(b"", f"{status} Moved", location))) as first, pytest.raises(WrongServer):
            Client(first, token="secret", waits=()).predict(PIXEL)
    assert reached == []


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/x",
        "http://",
        "http://host:0/",
        "http://host:99999/",
        "http://[::1/",
        "http://ho st/",
        "http://host\r\nX: y/",
        "http://\x1b[2J/",
        "http://host/\x1b",
        "http://user:password@host/",
        "http://user@host/",
    ],
)
def test_a_url_of_another_form_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(Unreachable) as caught:
        Client(url)
    assert "expected http://HOST:8080/predictions/MODEL" in str(caught.value)
    assert str(caught.value).isprintable()
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("token", ["a\r\nX: y", "a b", "", "é", "x" * 10_000])
def test_a_token_that_no_header_can_hold_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(WrongToken) as caught:
        Client("http://127.0.0.1:9", token=token)
    assert "expected one word" in str(caught.value)
    assert token == "" or token not in str(caught.value)


def test_a_client_does_not_show_its_token() -> None:
    assert "secret" not in repr(Client("http://127.0.0.1:9", token="secret"))


def test_a_file_that_is_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ClientError, match="more than an image has"):
        image_bytes(path)


def test_limits_end_with_the_deadline() -> None:
    with pytest.raises(TimeoutError):
        exchange.Limits(1, time.monotonic() - 1, 1).seconds()
