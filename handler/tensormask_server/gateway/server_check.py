"""Checks the token of a request before its body is read, or where the response needs no worker."""

from starlette.types import Scope

from tensormask_server.gateway.explanations import explained
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.gateway.headers import request_headers
from tensormask_server.gateway.upstream import UpstreamRequest

LARGEST_PING = 1 << 16  # bytes


async def check_server(gateway: Gateway, scope: Scope) -> None:
    """Asks the server behind for `/ping`, with the request's token.

    Args:
        gateway: before the server.
        scope: ASGI's, of the client's request.

    Raises:
        GatewayError: the server doesn't respond, or wants another token: 401.
    """
    kept = [each for each in scope["headers"] if each[0] == b"authorization"]
    request = UpstreamRequest("GET", b"/ping", request_headers(kept, scope["state"]["request_id"]), None)
    response = await gateway.upstream.fetch(request, LARGEST_PING)
    if response.is_error and (error := explained(gateway)(response.status_code, response.headers, response.content)):
        raise error
