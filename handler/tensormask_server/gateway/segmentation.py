"""Segments an image for a route that makes a response of its own from the result, as labelling tools want it."""

import json
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from starlette.types import Scope

from tensormask_server.gateway.body import Body
from tensormask_server.gateway.errors import GatewayError
from tensormask_server.gateway.explanations import explained
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.gateway.headers import request_headers
from tensormask_server.gateway.segment import predict_target
from tensormask_server.gateway.upstream import UpstreamRequest, unless_gone

KEPT = (b"authorization",)
LARGEST_RESULT = 1 << 26  # bytes of JSON; 100 masks of 24 megapixels have a tenth of it
FILE = b"application/octet-stream"


async def segmentation(
    gateway: Gateway,
    scope: Scope,
    body: Body,
    model: str,
    image: bytes,
    options: Mapping[str, str],
    content_type: bytes = FILE,
) -> dict[str, Any]:
    """Has the server segment one image.

    Args:
        gateway: before the server.
        scope: ASGI's, of the client's request; its token goes to the server.
        body: of the client's request, read to its end.
        model: its name.
        image: a file's bytes, or what `content_type` says.
        options: of the request, as in a query; `format` is one of those whose response is a JSON object.
        content_type: of `image`.

    Returns:
        The response's object.

    Raises:
        GatewayError: the server refuses the image or the options, or gives no result. The status is the server's.
        ClientGoneError: the client has gone.
    """
    kept = [*(each for each in scope["headers"] if each[0] in KEPT), (b"content-type", content_type)]
    headers = request_headers(kept, scope["state"]["request_id"])
    target = predict_target(model, urlencode(options))
    request = UpstreamRequest("POST", target, headers, _one_piece(image), len(image))
    answer = await unless_gone(gateway.upstream.fetch(request, LARGEST_RESULT), body)
    if answer.status_code == HTTPStatus.OK:
        result: dict[str, Any] = json.loads(answer.content)
        return result
    if error := explained(gateway)(answer.status_code, answer.headers, answer.content):
        raise error
    said = json.loads(answer.content)
    raise GatewayError(HTTPStatus(answer.status_code), said["error"], said["expected"])


async def _one_piece(content: bytes) -> AsyncIterator[bytes]:
    yield content
