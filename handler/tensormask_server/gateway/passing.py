"""TorchServe's own paths. Their requests and responses go through unchanged.

One path has a change: TorchServe drops the query of `/predictions/NAME`, so a request with one takes the path for the
same model that keeps it.
"""

import re
from http import HTTPStatus

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tensormask_server.gateway.body import Body
from tensormask_server.gateway.endpoint import Endpoint
from tensormask_server.gateway.errors import GatewayError
from tensormask_server.gateway.forms import checked_form
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.gateway.headers import request_headers
from tensormask_server.gateway.upstream import UpstreamRequest
from tensormask_server.torchserve.routes import NAME

# The management API, the metrics and the description of TorchServe's API aren't among them.
PREDICTIONS = (
    "/predictions/{name}",
    "/predictions/{name}/{version}",
    "/{name}/predict",
    "/models/{name}/invoke",
    "/invocations",
    "/v1/models/{name}:predict",
    "/v2/models/{name}/infer",
)
# from the paths whose query TorchServe drops to those of the same models where it doesn't
WITH_QUERY = {"/predictions/{name}": "/{name}/predict", "/predictions/{name}/{version}": "/{name}/{version}/predict"}
METHODS = ("GET", "POST", "PUT")


def routes(gateway: Gateway) -> list[Route]:
    """The routes to TorchServe. `/ping` and the predictions of each protocol are among them."""

    async def ping(scope: Scope, receive: Receive, send: Send) -> None:
        headers = request_headers(scope["headers"], scope["state"]["request_id"])
        body = Body(scope, receive, gateway.settings)
        await gateway.upstream.pass_on(UpstreamRequest("GET", b"/ping", headers, None), body, send)

    def prediction(path: str) -> Route:
        async def predict(scope: Scope, receive: Receive, send: Send) -> None:
            target = _target(path, scope)
            body = Body(scope, receive, gateway.settings)
            form = await checked_form(scope, body)
            headers = request_headers(form.headers, scope["state"]["request_id"])
            method = "GET" if scope["method"] == "HEAD" else scope["method"]  # to HEAD, TorchServe sends a body
            request = UpstreamRequest(method, target, headers, form.pieces, body.length)
            await gateway.upstream.pass_on(request, body, send)

        return Route(path, Endpoint(predict), methods=METHODS)

    return [Route("/ping", Endpoint(ping), methods=["GET"]), *map(prediction, PREDICTIONS)]


def _target(path: str, scope: Scope) -> bytes:
    """The path, written again from its checked parts, and the query as it came.

    Raises:
        GatewayError: a part has other characters than a model's name: 404.
    """
    parts = scope["path_params"]
    if not all(re.fullmatch(NAME, part) for part in parts.values()):
        raise GatewayError(
            HTTPStatus.NOT_FOUND, "the path has a name that no model can have", "GET /docs lists the paths"
        )
    query: bytes = scope["query_string"]
    if query and scope["method"] in ("POST", "PUT"):  # the page that a browser gets has no options
        path = WITH_QUERY.get(path, path)
    return path.format(**parts).encode() + (b"?" + query if query else b"")
