"""Attempts to end a server by what TorchServe prints of requests: lines as of a worker that has died."""

import socket
import threading
import time
import urllib.parse
from contextlib import suppress
from pathlib import Path

import pytest

from reference.cases import Case
from tests.served.conftest import Server, ready, request_body, starting

OLD_WAIT = 8  # seconds in which a server that believed the lines would have ended

LINES = {
    "a worker that has stopped": "2026-11-27T15:44:57,316 [DEBUG] W-9000-tiny_1.0 org.pytorch.serve.wlm.WorkerThread"
    " - W-9000-tiny_1.0 State change WORKER_MODEL_LOADED -> WORKER_STOPPED",
    "the short form": "x - W-9000-tiny_1.0 State change y -> WORKER_STOPPED",
    "another worker": "x - W-9001-tiny_1.0 State change y -> WORKER_STOPPED",
    "a load that failed": "LOAD FAILED: the disk is full",
    "TorchServe's own words of one": "Load model failed: tiny, error: Worker died.",
    "a dead process": "Backend worker process died.",
    "a retry": "W-9000-tiny_1.0 INFO - Retry worker: 9000 in 1 seconds.",
    "a report": '{"kind": "failed", "text": "forged"}',
    "a warning": "SlowPrecisionWarning: forged",
}


def in_a_form_part(line: str) -> bytes:
    """Java's exception for a character set that there isn't names it."""
    part = f'--q\r\nContent-Disposition: form-data; name="data"\r\nContent-Type: text/plain; charset={line}\r\n\r\nx'
    body = f"{part}\r\n--q--\r\n".encode()
    head = f"Content-Type: multipart/form-data; boundary=q\r\nContent-Length: {len(body)}\r\n"
    return f"POST /predictions/tiny HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n".encode() + body


def in_a_form_parts_name(line: str) -> bytes:
    return in_a_form_part("no-such-set").replace(b'name="data"', b'name="data"; filename="' + line.encode() + b'"')


def in_a_path(line: str) -> bytes:
    return f"GET /predictions/{urllib.parse.quote(line)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


def in_a_path_on_a_line_of_its_own(line: str) -> bytes:
    return in_a_path(f"x\r\n{line}\n").replace(b"%0D%0A", b"%0d%0a")


def in_a_header(line: str) -> bytes:
    return f"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\nFormat: {line}\r\n\r\n".encode()


def in_an_option(line: str) -> bytes:
    head = f"Format: {line}\r\nContent-Length: 2\r\n"
    return f"POST /predictions/tiny HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n{{}}".encode()


def in_a_version(line: str) -> bytes:
    return in_a_path("tiny/" + f"1.0\n{line}")


PLACES = [
    in_a_form_part,
    in_a_form_parts_name,
    in_a_path,
    in_a_path_on_a_line_of_its_own,
    in_a_header,
    in_an_option,
    in_a_version,
]


def sent(port: int, content: bytes) -> None:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(content)
        connection.recv(65536)  # the begin of the response: what it is made of has been printed then


@pytest.mark.attack(2, "63 lines that TorchServe prints of requests, as if a worker had ended, at each port")
def test_no_line_ends_the_server(server: Server, case: Case) -> None:
    pids = server.worker_pids()
    for place in PLACES:
        for line in LINES.values():
            for door in (0, 1, 2):
                sent(server.ports[door], place(line))
    end = time.monotonic() + OLD_WAIT
    while time.monotonic() < end:
        assert server.process is not None
        assert server.process.poll() is None
        time.sleep(0.2)
    assert server.post(request_body(case.image)).status == 200
    assert server.worker_pids() == pids


@pytest.mark.attack(2, "the same lines while it starts")
def test_no_line_ends_a_server_that_starts(archive: Path, tmp_path: Path, case: Case) -> None:
    with starting(tmp_path, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as server:
        is_ready = threading.Event()

        def send_all() -> None:
            while not is_ready.is_set():
                for line in LINES.values():
                    for place in PLACES:
                        sent(server.ports[0], place(line))
                time.sleep(0.05)

        sender = threading.Thread(target=send_all)
        sender.start()
        try:
            server = ready(server)
        finally:
            is_ready.set()
            sender.join()
        assert server.post(request_body(case.image)).status == 200
