"""GET /: the page of the model, by which a browser segments images."""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route

from tensormask_server.gateway.gateway import Gateway


def routes(gateway: Gateway) -> list[Route]:
    """The route of the page. The server behind makes the page, and it belongs to a model's path there."""

    async def page(request: Request) -> RedirectResponse:
        model = await gateway.models.name_for(request.query_params.get("model"))
        return RedirectResponse(f"/predictions/{quote(model, safe='')}", 307)

    return [Route("/", page, methods=["GET"])]
