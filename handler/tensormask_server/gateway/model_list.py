"""GET /v1/models: the server's models with their classes, sizes and what they are for.

X-AnyLabeling asks the same path, and reads its own description of the models under another key.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Scope

from tensormask_server.formats import MODEL_DESCRIPTION
from tensormask_server.gateway.errors import GatewayError
from tensormask_server.gateway.explanations import explained
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.gateway.headers import request_headers, with_token_header
from tensormask_server.gateway.segment import predict_target
from tensormask_server.gateway.upstream import UpstreamRequest
from tensormask_server.gateway.x_anylabeling_models import models_for_tool

KEPT = (b"authorization",)
LARGEST_DESCRIPTION = 1 << 22  # bytes; of ten thousand classes it has some hundred thousand


def routes(gateway: Gateway) -> list[Route]:
    """The route of the list."""

    async def models(request: Request) -> JSONResponse:
        described = await descriptions(gateway, request)
        return JSONResponse({"models": described, "success": True, "data": models_for_tool(described)})

    return [Route("/v1/models", models, methods=["GET"])]


async def descriptions(gateway: Gateway, request: Request) -> list[dict[str, Any]]:
    """Describes each model.

    Args:
        gateway: before the models' server.
        request: the client's, with its token.

    Returns:
        What `description` returns, for each model.

    Raises:
        GatewayError: as for `description`.
    """
    names = await gateway.models.names()
    return await asyncio.gather(*(description(gateway, request.scope, name) for name in names))


async def description(gateway: Gateway, scope: Scope, name: str) -> dict[str, Any]:
    """Describes a model. A worker of the model does it, when the requests before are answered.

    Args:
        gateway: before the model's server.
        scope: ASGI's, of the client's request; its token goes to the server.
        name: of the model.

    Returns:
        What the schema Model of the OpenAPI document says.

    Raises:
        GatewayError: the token is wrong, or the server doesn't respond or has no room.
    """
    sent = with_token_header(scope["headers"])
    kept = [*(each for each in sent if each[0] in KEPT), (b"accept", MODEL_DESCRIPTION.encode())]
    headers = request_headers(kept, scope["state"]["request_id"])
    request = UpstreamRequest("GET", predict_target(name, ""), headers, None)
    response = await gateway.upstream.fetch(request, LARGEST_DESCRIPTION)
    if response.is_error and (error := explained(gateway)(response.status_code, response.headers, response.content)):
        raise error
    return _entry(name, response)


def _entry(name: str, response: httpx.Response) -> dict[str, Any]:
    """The model's description. That of an archive that an older version made has only the name."""
    if response.status_code == HTTPStatus.OK and response.headers.get("content-type") == MODEL_DESCRIPTION:
        try:
            description = json.loads(response.content)
        except (ValueError, RecursionError):
            description = None
        if not isinstance(description, dict):
            raise GatewayError(
                HTTPStatus.BAD_GATEWAY, "the server sent something else than a description", "a server of this project"
            )
        return description
    return {"name": name}
