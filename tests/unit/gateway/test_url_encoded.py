"""The check of forms of the type application/x-www-form-urlencoded."""

import urllib.parse

import pytest
from tensormask_server.gateway.errors import GatewayError
from tensormask_server.gateway.multipart import MOST_PARTS
from tensormask_server.gateway.url_encoded import UrlEncodedCheck


def check(body: bytes, size: int) -> None:
    checking = UrlEncodedCheck()
    for start in range(0, len(body), size):
        checking.feed(body[start : start + size])
    checking.close()


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"image=abc+/=\r\n&format=png",
        urllib.parse.urlencode({"image": bytes(range(256)), "file_name": "ü%"}).encode(),
        "file_name=ü".encode(),
        b"a=%41",
    ],
)
def test_a_form_passes(body: bytes, size: int) -> None:
    check(body, size)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"a=%", "hexadecimal"),
        (b"a=%4", "hexadecimal"),
        (b"a=%zz&b=1", "hexadecimal"),
        (b"a=%%41", "hexadecimal"),
        (b"\x89PNG\x1a\x00", "no form"),
        (b"a&" * MOST_PARTS, "fields"),
        (b"a;" * MOST_PARTS, "fields"),
    ],
)
def test_a_broken_form_is_refused(body: bytes, said: str, size: int) -> None:
    with pytest.raises(GatewayError) as raised:
        check(body, size)
    assert said in raised.value.error
