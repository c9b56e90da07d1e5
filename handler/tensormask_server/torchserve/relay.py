"""The management port: a small relay to TorchServe's own management API, which listens on a private Unix socket.

TorchServe's API also registers workflows, which are code. It responds to any page in a browser on this machine. The
relay passes on only the documented routes, and no request from a page of another origin.
"""

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit

from tensormask_server.torchserve.request_head import HeadReader
from tensormask_server.torchserve.routes import ROUTES, Refused, check_sender, checked_target
from tensormask_server.torchserve.unix_http import UnixConnection

CONNECTIONS = 100  # at a time; for one more, the oldest connection without a whole request is closed
POLL_SECONDS = 0.1  # in which the relay sees that it has to end
ARRIVAL_SECONDS = 5  # in which a whole request has to arrive
READ_SECONDS = 30  # in which TorchServe has to send a response, and a client has to read it
SCALING_SECONDS = 600  # with synchronous=true, the response to a scaling comes when the workers are ready
TURN_SECONDS = 60  # in which a change may wait for the one before it
SETTLING_SECONDS = 120  # after which a change counts as done, even if the workers aren't ready
LARGEST_BODY = 1 << 16  # bytes of a request's body, which is ignored
LARGEST_RESPONSE = 1 << 24  # bytes


class ManagementRelay(ThreadingMixIn, HTTPServer):
    """Listens from the moment it is made. It responds while it is used as a context manager.

    Changes are passed on one after the other, each when the workers of the change before it are ready. None is passed
    on before `takes_changes` is set. TorchServe can lose count of workers that come and go quickly; then none is
    passed on either.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTIONS

    def __init__(
        self,
        address: tuple[str, int],
        upstream: Path,
        most_workers: int,
        worker_processes: Callable[[str], int],
        *,
        has_tokens: bool,
    ):
        """
        Args:
            address: a loopback host, and the port.
            upstream: TorchServe's Unix socket. It need not exist yet.
            most_workers: how many workers a model may be scaled to.
            worker_processes: counts the processes of a model's workers, by the model's name.
            has_tokens: whether TorchServe has tokens.

        Raises:
            OSError: the port can't be used.
        """
        self.upstream = upstream
        self.most_workers = most_workers
        self.worker_processes = worker_processes
        self.has_tokens = has_tokens
        self.takes_changes = threading.Event()
        self.change = threading.Lock()
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self._arriving: dict[socket.socket, None] = {}  # in the order in which they came
        self._guarding = threading.Lock()
        super().__init__(address, _Handler)

    def __enter__(self) -> "ManagementRelay":
        threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,), name="management", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def server_bind(self) -> None:
        """As in HTTPServer, but without asking a name server for the host's name."""
        super(HTTPServer, self).server_bind()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def verify_request(self, request: object, client_address: object) -> bool:
        """Whether there is room for one more connection. To make room, it closes one without a whole request."""
        del request, client_address
        if self._free.acquire(blocking=False):
            return True
        with self._guarding:
            oldest = next(iter(self._arriving), None)
        if oldest is None:
            return False
        _shut(oldest)
        return self._free.acquire(timeout=1)

    def has_come(self, connection: socket.socket) -> None:
        """Notes that the whole request of a connection has come, or that the connection has ended."""
        with self._guarding:
            self._arriving.pop(connection, None)

    def process_request_thread(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        with self._guarding:
            self._arriving[request] = None
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.has_come(request)
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Prints nothing, because a client that has gone away is no error, and the launcher's terminal isn't a log."""


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One connection with one request. It is closed after the response."""

    server: ManagementRelay
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.rfile = HeadReader(self.rfile.detach())
        self.connection.settimeout(READ_SECONDS)
        self._late = threading.Timer(ARRIVAL_SECONDS, _shut, [self.connection])
        self._late.daemon = True
        self._late.start()

    def finish(self) -> None:
        self._late.cancel()
        super().finish()

    def handle_one_request(self) -> None:
        self.command = self.request_version = ""  # not known yet
        try:
            super().handle_one_request()
        except Refused as refused:
            content = {"error": refused.error, "expected": refused.expected}
            self._send_response(refused.status, "application/json", json.dumps(content).encode() + b"\n")
        self.close_connection = True

    def do_GET(self) -> None:
        self._relay()

    do_PUT = do_POST = do_DELETE = do_OPTIONS = do_HEAD = do_PATCH = do_GET

    def _relay(self) -> None:
        check_sender(self.headers)
        self._skip_body()
        target = checked_target(self.command, self.path, self.server.most_workers)
        self._late.cancel()
        self.server.has_come(self.connection)
        if urlsplit(target).path == "/token" and not self.server.has_tokens:
            raise Refused(
                HTTPStatus.NOT_FOUND,
                "this server has no tokens",
                "requests without a token; to require tokens, start it with --ts-config FILE, and "
                "disable_token_authorization=false in FILE",
            )
        if self.command == "GET":
            self._send_response(*self._upstream_response(target, READ_SECONDS))
        else:
            self._change(target)

    def _skip_body(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not re.fullmatch("[0-9]{1,9}", length) or int(length) > LARGEST_BODY:
            raise Refused(HTTPStatus.BAD_REQUEST, "the request has a body", "a request without one")
        self.rfile.read(int(length))

    def _change(self, target: str) -> None:
        if not self.server.takes_changes.is_set():
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the server is starting", "the same request when it is ready")
        if not self.server.change.acquire(timeout=TURN_SECONDS):
            raise Refused(HTTPStatus.CONFLICT, "another change is under way", "the same request when that is done")
        path = urlsplit(target).path
        is_settling = False
        try:
            self._check_count(path)
            response = self._upstream_response(target, SCALING_SECONDS)
            if not 400 <= response[0] < 500:  # TorchServe may also have done half of what it answers with a 500
                threading.Thread(target=self._settle, args=[path], daemon=True).start()
                is_settling = True
        finally:
            if not is_settling:
                self.server.change.release()
        self._send_response(*response)

    def _check_count(self, path: str) -> None:
        described = self._described(path)
        processes = self.server.worker_processes(_model(path))
        if described is not None and processes > len(described["workers"]):
            raise Refused(
                HTTPStatus.CONFLICT,
                f"TorchServe has lost count of its workers: {processes} run, and it knows {len(described['workers'])}",
                "the same request in a moment; if the error stays, start the server again",
            )

    def _settle(self, path: str) -> None:
        """Admits the next change when this one's workers are ready, or after SETTLING_SECONDS."""
        end = time.monotonic() + SETTLING_SECONDS
        try:
            while time.monotonic() < end and not self._is_settled(path):
                time.sleep(0.2)
        finally:
            self.server.change.release()

    def _is_settled(self, path: str) -> bool:
        described = self._described(path)
        if described is None:
            return False
        workers = described["workers"]
        ready = sum(worker["status"] == "READY" for worker in workers)
        is_wanted = bool(described["minWorkers"] <= ready <= described["maxWorkers"])
        return is_wanted and ready == len(workers) == self.server.worker_processes(_model(path))

    def _described(self, path: str) -> dict[str, Any] | None:
        """TorchServe's description of the model. None: it gives none now."""
        with contextlib.suppress(Refused, ValueError, KeyError, IndexError, TypeError):
            described: dict[str, Any] = json.loads(self._upstream_response(path, READ_SECONDS, "GET")[2])[0]
            if isinstance(described["workers"], list):
                return described
        return None

    def _upstream_response(self, target: str, seconds: float, method: str | None = None) -> tuple[int, str, bytes]:
        headers = {"Authorization": self.headers["Authorization"]} if "Authorization" in self.headers else {}
        upstream = UnixConnection(self.server.upstream, seconds)
        try:
            upstream.request(method or self.command, target, headers=headers)
            response = upstream.getresponse()
            content = response.read(LARGEST_RESPONSE)
            return response.status, response.headers.get("Content-Type", "application/json"), content
        except (OSError, http.client.HTTPException) as error:
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE, "TorchServe doesn't respond now", "the same request in a moment"
            ) from error
        finally:
            upstream.close()

    def _send_response(self, status: int, content_type: str, content: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Sends an error of http.server, such as one for malformed HTTP, in the form of our own errors."""
        del explain
        self.close_connection = True
        if self.request_version == "HTTP/0.9":
            return
        with contextlib.suppress(OSError):
            content = {"error": message or HTTPStatus(code).phrase, "expected": f"one of {ROUTES}"}
            self._send_response(code, "application/json", json.dumps(content).encode() + b"\n")

    def log_message(self, *_: object) -> None:
        """Logs nothing: TorchServe's own access log has what was passed on."""


def _model(path: str) -> str:
    """The model's name in /models/NAME or /models/NAME/VERSION."""
    return path.split("/")[2]
