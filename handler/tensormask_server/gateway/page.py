"""GET /: the page of a model, by which a browser segments images. Of several models it is the list of them."""

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tensormask_server.gateway.api_page import POLICY
from tensormask_server.gateway.body import Body
from tensormask_server.gateway.endpoint import Endpoint
from tensormask_server.gateway.explanations import explained
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.gateway.headers import request_headers
from tensormask_server.gateway.model_list import descriptions
from tensormask_server.gateway.models_html import models_html
from tensormask_server.gateway.segment import MODEL, predict_target
from tensormask_server.gateway.upstream import UpstreamRequest

KEPT = (b"authorization",)


def routes(gateway: Gateway) -> list[Route]:
    """The route of the page. The server behind makes a model's page; it sends images to the model's own path."""

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        body = Body(scope, receive, gateway.settings)
        client_request = Request(scope)
        requested = client_request.query_params.get(MODEL)
        if requested is None and len(await gateway.models.names()) > 1:
            html = models_html(await descriptions(gateway, client_request))
            await HTMLResponse(html, headers={"Content-Security-Policy": POLICY})(scope, receive, send)
            return
        model = await gateway.models.name_for(requested)
        kept = [*(each for each in scope["headers"] if each[0] in KEPT), (b"accept", b"text/html")]
        headers = request_headers(kept, scope["state"]["request_id"])
        request = UpstreamRequest("GET", predict_target(model, ""), headers, None)
        await gateway.upstream.pass_on(request, body, send, explained(gateway))

    return [Route("/", Endpoint(page), methods=["GET"])]
