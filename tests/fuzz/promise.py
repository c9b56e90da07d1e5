"""What holds for every request, whatever is in it: for the parser alone, and for a server."""

import json
import socket
from http.client import HTTPConnection

import numpy as np
from tensormask_server.bad_request import BadRequest
from tensormask_server.options import Limits
from tensormask_server.requests.parsing import parse_request
from tensormask_server.responses.encoding import error_json

from tests.fuzz.bodies import Sent
from tests.served.conftest import Server
from tests.waiting import PATIENCE

CLASSES = ("cat", "dog", "hot dog", "ant", "bee")
LIMITS = Limits(max_pixels=1 << 22)
# what TorchServe itself answers to requests that it doesn't show to the handler
TORCHSERVES_KEYS = {"code", "type", "message"}
WORKER_FAILED = "InternalServerException"  # its type then


def parsed(sent: Sent) -> str:
    """Gives it to the parser, and says what came of it.

    Raises:
        Exception: any but BadRequest that the parser raises.
        AssertionError: what it returns isn't a request within the limits, or its BadRequest can't be sent.
    """
    try:
        request = parse_request(sent.fields(), sent.headers_read(), LIMITS, CLASSES, 100)
    except BadRequest as error:
        said = json.loads(error_json(error.error, error.expected))
        assert said["error"] and said["expected"], said
        assert len(said["error"]) < 1000, said
        return str(int(error.status))
    assert 0 < len(request.items) <= LIMITS.max_images
    for item in request.items:
        assert item.image.dtype == np.uint8
        assert item.image.ndim == 3
        assert item.image.shape[2] == 3
        assert 0 < item.image.size <= 3 * LIMITS.max_pixels
        assert all(note.isascii() and note.isprintable() and len(note) < 300 for note in item.notes), item.notes
    return "200"


def outcome(server: Server, sent: Sent) -> str:
    """Posts it, and says what came of it: the status, with "TorchServe" where the handler hasn't seen it.

    Raises:
        AssertionError: it is neither 200, nor 4xx with an error that says what was wrong and what is expected, nor
            TorchServe's own refusal.
    """
    body, content_type = sent.content()
    connection = HTTPConnection("127.0.0.1", server.ports[0], timeout=PATIENCE)
    try:
        connection.putrequest("POST", sent.path(server.name), skip_accept_encoding=True)
        headers = {
            **sent.headers,
            "Content-Length": str(len(body)),
            **({"Content-Type": content_type} if content_type else {}),
        }
        for name, value in headers.items():
            connection.putheader(name, value.encode())
        connection.endheaders(body)
        response = connection.getresponse()
        status, body = response.status, response.read()
    finally:
        connection.close()
    return checked(status, body, is_form="form" in (content_type or ""))


def checked(status: int, body: bytes, is_form: bool) -> str:
    """
    Args:
        is_form: TorchServe answers forms that it can't take apart with 500 and any of Java's exceptions.

    Raises:
        AssertionError: no client should get this.
    """
    shown = f"{status}: {body[:300]!r}"
    if status == 200:
        return "200"
    if status == 413 and not body:
        return "413 TorchServe"
    said = json.loads(body)
    if set(said) == TORCHSERVES_KEYS:
        assert 400 <= status < 500 or (status == 500 and is_form and said["type"] != WORKER_FAILED), shown
        return f"{status} TorchServe"
    assert 400 <= status < 500, shown
    assert set(said) == {"error", "expected"}, shown
    assert said["error"] and said["expected"], shown
    return str(status)


def exchanged(server: Server, raw: bytes, patience: float) -> str:
    """Sends bytes as they are, and no more.

    Args:
        patience: seconds; a server may wait for the rest of a request.

    Returns:
        The status line's number, or "closed" or "silent".
    """
    with socket.create_connection(("127.0.0.1", server.ports[0]), timeout=PATIENCE) as connection:
        connection.settimeout(patience)
        try:
            connection.sendall(raw)
            start = connection.recv(100)
        except TimeoutError:
            return "silent"
        except OSError:
            return "closed"
    return start.split()[1].decode() if start.startswith(b"HTTP/1.") else "closed"
