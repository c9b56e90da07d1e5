"""POST /v1/segment: one URL for every body that the server reads, with the options in the query."""

from urllib.parse import parse_qsl, quote, urlencode

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tensormask_server.gateway.body import Body
from tensormask_server.gateway.endpoint import Endpoint
from tensormask_server.gateway.errors import bad_request
from tensormask_server.gateway.explanations import explained
from tensormask_server.gateway.forms import checked_form
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.gateway.headers import request_headers
from tensormask_server.gateway.upstream import UpstreamRequest

MODEL = "model"  # the parameter of the query that names the model


def routes(gateway: Gateway) -> list[Route]:
    """The route for segmentation."""

    async def segment(scope: Scope, receive: Receive, send: Send) -> None:
        body = Body(scope, receive, gateway.settings)
        model, query = split_query(scope["query_string"])
        target = predict_target(await gateway.models.name_for(model), query)
        form = await checked_form(scope, body, json_as_form=True)
        headers = request_headers(form.headers, scope["state"]["request_id"])
        request = UpstreamRequest("POST", target, headers, form.pieces, body.length)
        await gateway.upstream.pass_on(request, body, send, explained(gateway))

    return [Route("/v1/segment", Endpoint(segment), methods=["POST", "PUT"])]


def predict_target(model: str, query: str) -> bytes:
    """TorchServe's path that doesn't drop the query."""
    return f"/{quote(model, safe='')}/predict{'?' if query else ''}{query}".encode()


def split_query(query: bytes) -> tuple[str | None, str]:
    """Takes the model's name out of a query.

    Args:
        query: as it came.

    Returns:
        The name, or None, and the query without it.

    Raises:
        GatewayError: the query names several models: 400.
    """
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    models = [value for name, value in pairs if name == MODEL]
    if len(models) > 1:
        raise bad_request(f"the query names {len(models)} models", "one model")
    others = [pair for pair in pairs if pair[0] != MODEL]
    return next(iter(models), None), urlencode(others)
