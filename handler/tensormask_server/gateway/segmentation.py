"""Segments an image for a route that makes a response of its own from the result, as labelling tools want it."""

import json
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import httpx
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
RESULTS = ("instances", "shapes")  # where the formats coco and polygons have what was found
SCORE = "score "  # stands before the score in the description of a polygon


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
    response = await unless_gone(gateway.upstream.fetch(request, LARGEST_RESULT), body)
    if response.is_error and (error := explained(gateway)(response.status_code, response.headers, response.content)):
        raise error
    content = _content(response)
    if response.status_code == HTTPStatus.OK:
        return content
    raise GatewayError(HTTPStatus(response.status_code), content["error"], content["expected"])


def _content(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of a result, or that of an error with its two texts.

    Raises:
        GatewayError: it is something else, so another server than ours sent it: 502.
    """
    try:
        content = json.loads(response.content)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        if response.is_error:
            is_ours = all(isinstance(content.get(name), str) for name in ("error", "expected"))
        else:
            is_ours = response.status_code == HTTPStatus.OK and any(
                isinstance(content.get(name), list) for name in RESULTS
            )
        if is_ours:
            return content
    raise GatewayError(
        HTTPStatus.BAD_GATEWAY, "the server sent something else than a result", "a server of this project behind"
    )


def polygon_score(shape: Mapping[str, Any]) -> float:
    """The score of a shape of the format polygons, 0…1, in three decimals."""
    description: str = shape["description"]
    return float(description.removeprefix(SCORE))


async def _one_piece(content: bytes) -> AsyncIterator[bytes]:
    yield content
