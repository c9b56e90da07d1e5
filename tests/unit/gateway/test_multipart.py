"""Forms as clients write them pass in pieces of any size, and what readers disagree on is refused."""

import io
import uuid

import httpx
import pytest
import requests
from tensormask_server.gateway.errors import GatewayError
from tensormask_server.gateway.multipart import MOST_HEADER_BYTES, MOST_PARTS, MultipartCheck

IMAGE = bytes(range(256)) * 20 + b"\r\n--\r\n\r\n"
PART = b'Content-Disposition: form-data; name="data"; filename="a.png"\r\nContent-Type: image/png'


def check(boundary: bytes, body: bytes, size: int) -> None:
    checking = MultipartCheck(boundary)
    for start in range(0, len(body), size):
        checking.feed(body[start : start + size])
    checking.close()


def form(*parts: bytes) -> bytes:
    return b"".join(b"--abc\r\n" + part + b"\r\n\r\n" + IMAGE + b"\r\n" for part in parts) + b"--abc--\r\n"


def of_httpx() -> tuple[bytes, bytes]:
    made = httpx.Request("POST", "http://a", files={"data": ("ü.png", io.BytesIO(IMAGE))}, data={"format": "png"})
    return made.headers["content-type"].encode(), made.read()


def of_requests() -> tuple[bytes, bytes]:
    files = [("data", ("a.png", IMAGE, "image/png")), ("data", ("b.png", IMAGE))]
    made = requests.Request("POST", "http://a", files=files, data={"format": "png"}).prepare()
    return made.headers["Content-Type"].encode(), made.body


@pytest.mark.parametrize("made", [of_httpx, of_requests])
@pytest.mark.parametrize("size", [1, 7, 100, 1 << 16])
def test_forms_of_clients_pass(made: object, size: int) -> None:
    content_type, body = made()
    check(content_type.partition(b"boundary=")[2], body, size)


@pytest.mark.parametrize("size", [1, 2, 3, 1 << 16])
def test_parts_without_data_and_without_a_last_line_end_pass(size: int) -> None:
    check(b"abc", b"--abc\r\n" + PART + b"\r\n\r\n\r\n--abc--", size)
    check(b"abc", b"--abc--\r\n", size)


BROKEN = {
    "no end": (form(PART).removesuffix(b"--\r\n"), "last boundary"),
    "cut": (form(PART)[:300], "last boundary"),
    "empty": (b"", "last boundary"),
    "another boundary": (form(PART).replace(b"--abc", b"--abd"), "doesn't begin"),
    "a preamble": (b"hello\r\n" + form(PART), "doesn't begin"),
    "an epilogue": (form(PART) + b"GET / HTTP/1.1\r\n", "follows"),
    "line feeds only": (form(PART).replace(b"\r\n", b"\n"), "within a line"),
    "a boundary within a line": (form(PART).replace(IMAGE, b"x--abc\r\n"), "within a line"),
    "a longer boundary": (form(PART).replace(IMAGE, b"\r\n--abcd\r\n"), "within a line"),
    "no name": (form(b"Content-Disposition: form-data"), "Content-Disposition"),
    "no disposition": (form(b"Content-Type: image/png"), "Content-Disposition"),
    "another disposition": (form(b'Content-Disposition: attachment; name="data"'), "Content-Disposition"),
    "no headers": (b"--abc\r\n\r\n\r\n--abc--", "header"),
    "a folded header": (form(PART + b";\r\n charset=utf-8"), "header"),
    "a header twice": (form(PART + b"\r\ncontent-type: text/plain"), "twice"),
    "a form in a form": (form(PART.replace(b"image/png", b"multipart/mixed; boundary=x")), "form itself"),
    "an unknown charset": (form(PART + b"; charset=x - W-9000"), "charset"),
    "an unknown encoding": (form(PART + b"\r\nContent-Transfer-Encoding: base64"), "Content-Transfer-Encoding"),
    "a length in words": (form(PART + b"\r\nContent-Length: ten"), "Content-Length"),
    "a null in a header": (form(PART + b"\x00"), "header"),
    "long headers": (form(PART + b"\r\nX: " + b"a" * MOST_HEADER_BYTES), "headers of more than"),
    "many headers": (form(PART + b"".join(b"\r\nX-%d: a" % number for number in range(16))), "more than 16 headers"),
    "many parameters": (form(PART.replace(b"form-data;", b"form-data;" + b"a=b;" * 400)), "more than 300 semicolons"),
    "endless headers": (b"--abc\r\n" + b"a: b\r\n" * MOST_HEADER_BYTES, "headers of more than"),
    "very many parts": (form(*[PART] * (MOST_PARTS + 1)), "parts"),
}


@pytest.mark.parametrize("size", [1, 1000, 1 << 16])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_form_is_refused(name: str, size: int) -> None:
    body, said = BROKEN[name]
    with pytest.raises(GatewayError) as raised:
        check(b"abc", body, max(size, len(body) // 20_000))
    assert said in raised.value.error
    assert raised.value.status == 400
    assert raised.value.expected


def test_a_check_holds_little_of_a_large_part() -> None:
    checking = MultipartCheck(uuid.uuid4().hex.encode())
    boundary = checking._delimiter
    checking.feed(boundary + b"\r\n" + PART + b"\r\n\r\n")
    for _ in range(100):
        checking.feed(b"\r\n-" * 20_000)
        assert len(checking._buffer) < 100


def test_a_check_holds_nothing_of_line_ends_after_the_form() -> None:
    checking = MultipartCheck(b"abc")
    checking.feed(form(PART))
    for _ in range(100):
        checking.feed(b"\r\n" * 1000)
    checking.close()
    assert not checking._buffer
