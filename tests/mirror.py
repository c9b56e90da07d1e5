"""An https server of files, as a mirror of the published weights is one, with the faults that a test gives it."""

import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Answer(BaseHTTPRequestHandler):
    """One request's handler, which faults get."""

    protocol_version = "HTTP/1.1"
    mirror: "Mirror"

    def do_GET(self) -> None:
        self.mirror.requests.append((self.path, self.headers.get("Range")))
        content = self.mirror.files.get(self.path)
        if self.mirror.faults:
            self.mirror.faults.pop(0)(self)
        elif content is None:
            self.send(404, b"not here")
        else:
            self.send_file(content)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, content: bytes, most: int | None = None, **headers: str) -> None:
        """The file, or the part of it that the Range header asks for; `most`: cut off after so many bytes."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        if self.headers.get("If-Range", self.mirror.etag) != self.mirror.etag:
            start = 0
        headers = {"Content-Type": "application/octet-stream", "ETag": self.mirror.etag, **headers}
        if start >= len(content):
            self.send(416, b"", Content_Range=f"bytes */{len(content)}")
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send_response(206 if start else 200)
        headers["Content-Length"] = str(len(content) - start)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[start : None if most is None else start + most])
        if most is not None:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


Fault = Callable[[Answer], None]


@dataclass
class Mirror:
    """What a running server has, and what it was asked."""

    url: str
    certificate: Path
    files: dict[str, bytes] = field(default_factory=dict)  # by the path of the URL
    faults: list[Fault] = field(default_factory=list)  # of the next requests, one each
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # path and Range of each
    etag: str = '"1"'


@contextmanager
def mirror_with(certificate: Path, key: Path) -> Iterator[Mirror]:
    """Serves files by https on loopback, with a certificate of localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Handler(Answer):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        Handler.mirror = Mirror(f"https://localhost:{server.server_port}", certificate)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield Handler.mirror
        finally:
            server.shutdown()
            thread.join()


def cut(after: int) -> Fault:
    """The connection ends after so many bytes of the file."""
    return lambda answer: answer.send_file(answer.mirror.files[answer.path], most=after)


def status(code: int, **headers: str) -> Fault:
    return lambda answer: answer.send(code, b"no", **headers)


def redirect(target: str, code: int = 302) -> Fault:
    return status(code, Location=target)


def page(content_type: str = "text/html; charset=utf-8") -> Fault:
    """What a portal or an expired link gives: a page, with the status 200."""
    return lambda answer: answer.send(200, b"<!DOCTYPE html><title>Log in</title>", Content_Type=content_type)


def without_place(content_range: str) -> Fault:
    """A part of the file whose header doesn't say which one."""
    return lambda answer: answer.send(206, b"x" * 100, Content_Range=content_range)


def slow(parts: int, pause: float) -> Fault:
    """The whole file in parts, with a pause before each."""

    def send(answer: Answer) -> None:
        content = answer.mirror.files[answer.path]
        answer.send_response(200)
        answer.send_header("Content-Length", str(len(content)))
        answer.end_headers()
        size = -(-len(content) // parts)
        for start in range(0, len(content), size):
            time.sleep(pause)
            answer.wfile.write(content[start : start + size])
            answer.wfile.flush()

    return send


def stalled(after: int, released: threading.Event) -> Fault:
    """Some bytes of the file, and then nothing until the event."""

    def send(answer: Answer) -> None:
        content = answer.mirror.files[answer.path]
        answer.send_response(200)
        answer.send_header("Content-Length", str(len(content)))
        answer.end_headers()
        answer.wfile.write(content[:after])
        answer.wfile.flush()
        released.wait()
        answer.close_connection = True

    return send


def without_length(answer: Answer) -> None:
    """The file, ended only by the end of the connection."""
    answer.send_response(200)
    answer.send_header("Connection", "close")
    answer.end_headers()
    answer.wfile.write(answer.mirror.files[answer.path])
    answer.close_connection = True
