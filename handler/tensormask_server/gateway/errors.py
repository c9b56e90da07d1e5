"""The errors that the gateway itself reports, in the form of the server's own."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from tensormask_server.bad_request import BadRequest
from tensormask_server.formats import JSON


class GatewayError(BadRequest):
    """The reason why the gateway, or the server behind it, gives no results."""

    def __init__(self, status: HTTPStatus, error: str, expected: str, headers: Mapping[str, str] | None = None):
        """
        Args:
            status: of HTTP.
            error: what was found.
            expected: what would be accepted, and what to do.
            headers: of the response, besides its type.
        """
        super().__init__(error, expected)
        self.status = status
        self.headers = headers or {}


class NotReadyError(GatewayError):
    """The server behind has no worker yet, or none any more: 503."""

    def __init__(self, because: str):
        """
        Args:
            because: why it isn't ready.
        """
        super().__init__(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"the server isn't ready: {because}",
            "the same request again in some seconds; GET /readyz says when",
            {"Retry-After": "2"},
        )
        self.because = because


class ClientGoneError(Exception):
    """The client has closed its connection. Nobody reads a response."""


def bad_request(error: str, expected: str) -> GatewayError:
    """A 400: what was found, and what would be accepted."""
    return GatewayError(HTTPStatus.BAD_REQUEST, error, expected)


def error_response(error: GatewayError) -> Response:
    """The response to a request that has failed."""
    content = json.dumps({"error": error.error, "expected": error.expected}, ensure_ascii=False, separators=(",", ":"))
    return Response(content.encode(), error.status, error.headers, JSON)
