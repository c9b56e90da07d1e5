"""The client's errors about TLS: at a server that speaks plain HTTP, and with certificates that can't be read."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tensormask_server.client import Client, ClientError, Refused, Unreachable, WrongServer

from tests.certificates import self_signed


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(400, "reached")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server that answers each request with 400."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def error_at(url: str) -> ClientError:
    with pytest.raises(ClientError) as caught:
        Client(url, waits=()).predict(b"image")
    return caught.value


def test_https_to_a_server_that_speaks_http_says_to_use_http() -> None:
    with listening() as port:
        error = error_at(f"https://127.0.0.1:{port}/predictions/x")
    assert isinstance(error, WrongServer)
    assert f"doesn't speak https; use http://127.0.0.1:{port}/predictions/x" in str(error)


def test_a_handshake_that_the_server_ends_says_so() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # without a certificate it can't finish a handshake
    with listening(context) as port:
        error = error_at(f"https://127.0.0.1:{port}/predictions/x")
    assert type(error) is Unreachable
    assert "ended the TLS handshake: " in str(error)
    assert "if it speaks http, use http://" in str(error)


def test_a_certificate_of_ones_own_is_trusted_by_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with listening(context) as port:
        url = f"https://127.0.0.1:{port}/predictions/x"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert isinstance(error_at(url), Refused)
        monkeypatch.delenv("SSL_CERT_FILE")
        assert "to trust your own certificate, set the environment variable SSL_CERT_FILE" in str(error_at(url))
        for path, problem in (
            (tmp_path / "absent.pem", "can't be read: No such file or directory"),
            (key, "holds no certificate"),
        ):
            monkeypatch.setenv("SSL_CERT_FILE", str(path))
            error = error_at(url)
            assert isinstance(error, WrongServer)
            assert f"SSL_CERT_FILE names {path}, which {problem}" in str(error)
            assert "expected a PEM file of certificates" in str(error)
