"""Downloads by the proxy that the environment names."""

import base64
import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tensormask_server.models.cache import fetch

from tests.mirror import Mirror
from tests.unit.models.wanted_files import CONTENT, error_of, wanted


class Proxy(http.server.BaseHTTPRequestHandler):
    """A forward proxy: it connects a client to the host that it names, if the password is right."""

    def do_CONNECT(self) -> None:
        if self.headers.get("Proxy-Authorization") != f"Basic {base64.b64encode(b'me:secret').decode()}":
            self.send_error(407)
            return
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=copy, args=(there, self.connection))
            back.start()
            copy(self.connection, there)
            back.join()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while content := source.recv(1 << 16):
            target.sendall(content)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@contextmanager
def proxied() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_environments_proxy_is_used(mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "elsewhere.example")
    with proxied() as port:
        monkeypatch.setenv("https_proxy", f"http://me:wrong@127.0.0.1:{port}")
        error = error_of(wanted(mirror, cache))
        assert "407" in error
        assert f"by the proxy 127.0.0.1:{port} of the environment" in error
        assert "wrong" not in error
        assert mirror.requests == []
        monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{port}")
        assert fetch(wanted(mirror, cache)).read_bytes() == CONTENT
