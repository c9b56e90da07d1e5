"""The status and the headers of the server's responses: what of them a client may get."""

import re
from collections.abc import Sequence
from http import HTTPStatus

from tensormask_server.gateway.errors import GatewayError
from tensormask_server.gateway.headers import Headers, response_headers

STATUSES = range(200, 600)  # of a response that ends a request; HTTP has no higher ones
WITHOUT_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
LENGTH = b"content-length"
FRAMED = b"transfer-encoding"
FORBIDDEN = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # in a header's value


def check_head(status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Checks that a response can be passed on.

    Args:
        status: of the server's response.
        headers: the server's.

    Raises:
        GatewayError: HTTP allows no such status or header: 502.
    """
    if status not in STATUSES:
        raise _bad_gateway(f"the server sent the status {status}, which HTTP doesn't have")
    if any(FORBIDDEN.search(value) for _, value in headers):
        raise _bad_gateway("the server sent a header with characters that HTTP doesn't allow")


def head_for_client(status: int, headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """The headers for the client, with a length only if it is that of the body.

    Args:
        status: of the server's response.
        headers: the server's.
    """
    is_framed = status in WITHOUT_BODY or any(name.lower() == FRAMED for name, _ in headers)
    return [each for each in response_headers(headers) if not (is_framed and each[0] == LENGTH)]


def _bad_gateway(error: str) -> GatewayError:
    return GatewayError(HTTPStatus.BAD_GATEWAY, error, "a server of this project behind the gateway")
