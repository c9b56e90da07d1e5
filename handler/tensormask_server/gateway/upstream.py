"""Sends a request to the server behind the gateway, and its response to the client. Both bodies are streamed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import httpcore
import httpx
from starlette.responses import Response
from starlette.types import Send

from tensormask_server.gateway.body import Body
from tensormask_server.gateway.errors import ClientGoneError, GatewayError, NotReadyError
from tensormask_server.gateway.headers import Headers
from tensormask_server.gateway.joined_writes import JoiningBackend
from tensormask_server.gateway.response_heads import LENGTH, check_head, head_for_client
from tensormask_server.gateway.settings import Settings

CONNECT_SECONDS = 5.0
PROBE_SECONDS = 2.0  # for a connection by which the server is checked
DEFAULT_PORT = 80  # of HTTP
POOL_SECONDS = 30.0  # for which a request waits for a connection, if all are in use
KEPT_SECONDS = 4.0  # for which a connection is kept: less than any --idle-timeout that people set
MOST_TARGET_BYTES = 4000  # of path and query; TorchServe reads a request line of 4096 bytes
MOST_HEADER_BYTES = 7900  # of all headers; TorchServe reads 8192 bytes
ERROR_BYTES = 1 << 16  # of an error's body that is read to explain it

FAILURES = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)

Result = TypeVar("Result")
# makes the error for the client from a status and the start of a body; None: the response is passed on as it is
Explain = Callable[[int, httpx.Headers, bytes], GatewayError | None]


@dataclass(frozen=True)
class UpstreamRequest:
    """A request for the server behind."""

    method: str
    target: bytes  # path and query
    headers: Headers  # without those about the body's length
    pieces: AsyncIterator[bytes] | None  # of the body; None: there is none
    length: int | None = None  # bytes of all pieces together; None: they are sent in chunks


class Upstream:
    """The server behind the gateway, with a pool of connections."""

    def __init__(self, settings: Settings):
        """
        Args:
            settings: with the server's URL, and the limits.
        """
        self._url = httpx.URL(settings.upstream)
        wait = settings.idle_seconds
        self._extensions = {
            "timeout": {
                "connect": CONNECT_SECONDS,
                "write": wait,
                "read": settings.response_seconds,
                "pool": POOL_SECONDS,
            }
        }
        # no client of httpx: it would follow cookies, and read proxies and passwords from the environment
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=settings.connections,
            max_keepalive_connections=settings.connections,
            keepalive_expiry=KEPT_SECONDS,
            network_backend=JoiningBackend(),
        )

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._pool.aclose()

    async def check_connection(self) -> None:
        """Checks that the server takes connections.

        Raises:
            NotReadyError: it doesn't, or not in time.
        """
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                _, writer = await asyncio.open_connection(self._url.host, self._url.port or DEFAULT_PORT)
        except (OSError, TimeoutError) as error:
            raise NotReadyError("it takes no connection") from error
        writer.close()

    async def pass_on(self, request: UpstreamRequest, body: Body, send: Send, explain: Explain | None = None) -> None:
        """Sends a request, and its response to the client. If the client goes away, the request is given up.

        Args:
            request: for the server behind.
            body: of the client's request.
            send: ASGI's.
            explain: makes errors of responses that the server's own code didn't make.

        Raises:
            GatewayError: the server doesn't respond, or the body is wrong.
            ClientGoneError: the client has gone.
        """
        _check_head(request)
        if request.pieces is not None:
            await body.peek()  # the head waits for it, and no connection should wait meanwhile
        await unless_gone(self._exchange(request, send, explain), body)

    async def fetch(self, request: UpstreamRequest, most_bytes: int) -> httpx.Response:
        """Sends a request and reads its whole response.

        Args:
            request: for the server behind.
            most_bytes: of the response's body.

        Raises:
            GatewayError: the server doesn't respond, or with more bytes.
        """
        try:
            response = await self._responded(request)
            try:
                content = bytearray()
                async for piece in response.aiter_stream():
                    content += piece
                    if len(content) > most_bytes:
                        raise GatewayError(
                            HTTPStatus.BAD_GATEWAY,
                            f"the server's response has more than {most_bytes} bytes",
                            "a server of this project behind the gateway",
                        )
                return httpx.Response(response.status, headers=response.headers, content=bytes(content))
            finally:
                await response.aclose()
        except FAILURES as error:
            raise _error_for(error) from error

    def _outgoing(self, request: UpstreamRequest) -> httpcore.Request:
        return httpcore.Request(
            request.method,
            httpcore.URL(scheme=b"http", host=self._url.raw_host, port=self._url.port, target=request.target),
            headers=[(b"host", self._url.netloc), *request.headers, *_framing(request)],
            content=request.pieces,
            extensions=self._extensions,
        )

    async def _responded(self, request: UpstreamRequest) -> httpcore.Response:
        response = await self._pool.handle_async_request(self._outgoing(request))
        try:
            check_head(response.status, response.headers)
        except GatewayError:
            await response.aclose()
            raise
        return response

    async def _exchange(self, request: UpstreamRequest, send: Send, explain: Explain | None) -> None:
        is_started = False
        try:
            response = await self._responded(request)
            try:
                if explain is not None and response.status >= HTTPStatus.BAD_REQUEST:
                    await self._explained(response, explain, send)
                    return
                is_started = True
                await _relay(response, send)
            finally:
                await response.aclose()
        except FAILURES as error:
            if is_started:
                raise ConnectionAbortedError("the server broke off its response") from error
            raise _error_for(error) from error

    async def _explained(self, response: httpcore.Response, explain: Explain, send: Send) -> None:
        content = b""
        async for piece in response.aiter_stream():
            content += piece
            if len(content) > ERROR_BYTES:
                break
        if error := explain(response.status, httpx.Headers(response.headers), content):
            raise error
        await response.aclose()
        await _send_whole(response, content, send)


async def unless_gone(work: Coroutine[Any, Any, Result], body: Body) -> Result:
    """Does work for a request, and gives it up if the client goes away.

    Args:
        work: what to do.
        body: of the client's request.

    Raises:
        ClientGoneError: the client has gone.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(body.wait_until_gone())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return await working
    finally:
        for task in (working, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


def _check_head(request: UpstreamRequest) -> None:
    """TorchServe closes the connection of a longer head, without a word."""
    if len(request.target) > MOST_TARGET_BYTES:
        raise GatewayError(
            HTTPStatus.REQUEST_URI_TOO_LONG,
            f"the URL has {len(request.target)} bytes, more than the {MOST_TARGET_BYTES} allowed",
            "the options in a form or in JSON, beside the image",
        )
    size = sum(len(name) + len(value) + 4 for name, value in request.headers)
    if size > MOST_HEADER_BYTES:
        raise GatewayError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the headers have {size} bytes, more than the {MOST_HEADER_BYTES} allowed",
            "fewer or shorter headers, without cookies",
        )


def _framing(request: UpstreamRequest) -> Headers:
    if request.pieces is None:
        return [] if request.method == "GET" else [(b"content-length", b"0")]
    if request.length is None:
        return [(b"transfer-encoding", b"chunked")]
    return [(b"content-length", b"%d" % request.length)]


async def _relay(response: httpcore.Response, send: Send) -> None:
    headers = head_for_client(response.status, response.headers)
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    async for piece in response.aiter_stream():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await response.aclose()  # before the last message, after which the client may go
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_whole(response: httpcore.Response, content: bytes, send: Send) -> None:
    headers = [each for each in head_for_client(response.status, response.headers) if each[0] != LENGTH]
    whole = Response(content, response.status)
    whole.raw_headers = [*headers, (LENGTH, b"%d" % len(content))]
    await send({"type": "http.response.start", "status": whole.status_code, "headers": whole.raw_headers})
    await send({"type": "http.response.body", "body": content, "more_body": False})


def _error_for(error: Exception) -> GatewayError:
    if isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout):
        return NotReadyError("it takes no connection")
    if isinstance(error, httpcore.PoolTimeout):
        return GatewayError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "the server has as many requests in hand as the gateway passes on at a time",
            "the same request again in a moment",
            {"Retry-After": "1"},
        )
    if isinstance(error, httpcore.WriteTimeout):  # TorchServe reads no further while its memory is short
        return GatewayError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "the server takes no more of the body",
            "the same request again in a moment",
            {"Retry-After": "2"},
        )
    if isinstance(error, httpcore.TimeoutException):
        return GatewayError(
            HTTPStatus.GATEWAY_TIMEOUT, "the server doesn't respond in time", "the same request again later"
        )
    if isinstance(error, httpcore.LocalProtocolError):
        return GatewayError(
            HTTPStatus.BAD_REQUEST, "a header has characters that HTTP doesn't allow", "headers of visible characters"
        )
    return GatewayError(
        HTTPStatus.BAD_GATEWAY,
        "the server broke off the connection before its response",
        "the same request again; the server's log says why",
    )
