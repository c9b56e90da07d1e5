"""POST /model/, as the first server for this network had it: its users change the host and nothing else.

The body is {"img_data": …}, of shape (3, H, W) in BGR, under any content type. The response is a gzip of what
torch.save writes of {"pred_masks": bool (N, H, W), …}, as a file.
"""

from collections.abc import AsyncIterator

from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from tensormask_server.formats import JSON
from tensormask_server.gateway.body import Body
from tensormask_server.gateway.endpoint import Endpoint
from tensormask_server.gateway.errors import bad_request
from tensormask_server.gateway.explanations import explained
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.gateway.headers import request_headers
from tensormask_server.gateway.segment import predict_target, split_query
from tensormask_server.gateway.upstream import UpstreamRequest

ORDER = b'"channel_order":"BGR"'
KEPT = (b"authorization",)  # the first server looked at no header, so none is an option here
DISPOSITION = (b"content-disposition", b'attachment; filename="pred_masks.gz"')
SPACES = b" \t\r\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def routes(gateway: Gateway) -> list[Route]:
    """The first server's route, with and without the slash at its end."""

    async def predict(scope: Scope, receive: Receive, send: Send) -> None:
        body = Body(scope, receive, gateway.settings)
        model, query = split_query(scope["query_string"])
        target = predict_target(await gateway.models.name_for(model), query)
        first = await body.peek()
        changed = in_bgr(first)
        kept = [*(each for each in scope["headers"] if each[0] in KEPT), (b"content-type", JSON.encode())]
        headers = request_headers(kept, scope["state"]["request_id"])
        length = None if body.length is None else body.length + len(changed) - len(first)
        request = UpstreamRequest("POST", target, headers, _pieces(changed, body), length)
        await gateway.upstream.pass_on(request, body, _as_attachment(send), explained(gateway))

    return [Route(path, Endpoint(predict), methods=["POST"]) for path in ("/model/", "/model")]


def in_bgr(start: bytes) -> bytes:
    """Adds to a JSON object that its `img_data` is in BGR.

    Args:
        start: of the object; the rest may come later.

    Returns:
        The start with the key `channel_order`.

    Raises:
        GatewayError: it isn't the start of an object: 400.
    """
    content = start.removeprefix(BYTE_ORDER_MARK).lstrip(SPACES)
    if not content.startswith(b"{"):
        raise bad_request(
            "the body is no JSON object" if start else "the request has no body",
            '{"img_data": […]} of shape (3, H, W) in BGR, as for the first server; POST /v1/segment reads image files',
        )
    rest = content[1:].lstrip(SPACES)
    return content if rest.startswith(b"}") else b"{" + ORDER + b"," + rest


async def _pieces(first: bytes, body: Body) -> AsyncIterator[bytes]:
    """The body with another first piece."""
    yield first
    pieces = body.pieces()
    await anext(pieces)
    async for piece in pieces:
        yield piece


def _as_attachment(send: Send) -> Send:
    """Has a browser save a response, as the first server's did. Errors stay as they are."""

    async def send_with_name(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            message["headers"] = [*message["headers"], DISPOSITION]
        await send(message)

    return send_with_name
