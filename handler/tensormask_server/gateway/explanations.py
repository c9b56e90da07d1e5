"""Errors that TorchServe's Java makes, said in the server's own form."""

import json
from http import HTTPStatus

import httpx

from tensormask_server.gateway.errors import GatewayError
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.gateway.upstream import Explain
from tensormask_server.printable import one_line

OF_WORKER = "x-instance-count"  # a header that each response of a worker has, errors as well
STATUSES = {each.value for each in HTTPStatus}  # that have a name


def explained(gateway: Gateway) -> Explain:
    """Makes the function that explains the errors of the server behind a gateway."""

    def explain(status: int, headers: httpx.Headers, content: bytes) -> GatewayError | None:
        if status not in STATUSES:  # of a proxy before the server
            return GatewayError(
                HTTPStatus.BAD_GATEWAY, f"the server sent the status {status}", "the same request again later"
            )
        if OF_WORKER in headers:
            return None
        if status == HTTPStatus.NOT_FOUND:
            gateway.models.forget()
        return _error(HTTPStatus(status), _message(content), gateway.settings.max_body_bytes)

    return explain


def _error(status: HTTPStatus, message: str, max_body_bytes: int) -> GatewayError:
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        found = "the body has more bytes than the server allows"
        return GatewayError(
            status, found, f"at most {max_body_bytes} bytes, such as an image file in the place of JSON"
        )
    if "InvalidKeyException" in message:
        found = "the request has no valid token"
        return GatewayError(
            HTTPStatus.UNAUTHORIZED,
            found,
            'a header "Authorization: Bearer KEY", with the "inference" key of the server\'s key_file.json, which it '
            "renews",
            {"WWW-Authenticate": "Bearer"},
        )
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        found = "the server's queue is full, or it has no worker"
        return GatewayError(status, found, "the same request again in a moment", {"Retry-After": "1"})
    if status == HTTPStatus.NOT_FOUND:
        return GatewayError(status, f"the server has no such model: {message}", "a model that GET /v1/models lists")
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return GatewayError(status, f"the server can't read the request: {message}", "GET /docs shows requests")
    return GatewayError(status, f"the server failed: {message}", "the same request again; the server's log says why")


def _message(content: bytes) -> str:
    """What TorchServe says, on one line."""
    try:
        said = json.loads(content)
        return one_line(f"{said['type']}: {said['message']}", 300)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "it doesn't say why"
