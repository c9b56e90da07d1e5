"""A server that passes so many requests on and holds the next, so that a client can be killed just then."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.waiting import PATIENCE


@contextmanager
def gate(url: str, passing: int) -> Iterator[str]:
    """The URL of a server that passes the first requests on to `url`, and doesn't respond to further ones."""
    is_open = threading.Semaphore(passing)
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not is_open.acquire(blocking=False):
                ended.wait()
                return
            headers = {name: value for name, value in self.headers.items() if name not in ("Host", "Connection")}
            request = urllib.request.Request(url, body, headers)
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                body = response.read()
                self.send_response(response.status)
                for name, value in response.headers.items():
                    if name.lower() not in ("connection", "content-length"):
                        self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Prints nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{urlsplit(url).path}"
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
