"""Where the client sends requests and its token: to the URL that it was given, and nowhere else."""

import socket

import pytest
from tensormask_server.client import Client, Unreachable, WrongServer, WrongToken

from tests.unit.client.hostile_servers import PIXEL, http, sending, talking

pytestmark = pytest.mark.attack(13, "a hostile server")


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
    assert "expected http://HOST:8080/MODEL/predict" in str(caught.value)
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
