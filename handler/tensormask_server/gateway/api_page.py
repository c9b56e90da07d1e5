"""GET /docs: the API as a page that loads nothing, and GET /openapi.json: the same for programs."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tensormask_server.gateway.api_html import STYLE_HASH, api_html
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.openapi.document import openapi_document

# a browser loads nothing for the page, and runs nothing in it
POLICY = f"default-src 'none'; style-src '{STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def routes(_: Gateway) -> list[Route]:
    """The routes of the API's description."""
    document = openapi_document()
    page = api_html(document).encode()

    async def description(_: Request) -> Response:
        return JSONResponse(document)

    async def html(_: Request) -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": POLICY})

    return [Route("/openapi.json", description, methods=["GET"]), Route("/docs", html, methods=["GET"])]
