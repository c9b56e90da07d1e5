"""Around all routes: the id of each request, its line in the log, and the end of what can't have a response."""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tensormask_server.gateway.errors import ClientGoneError, GatewayError, error_response
from tensormask_server.gateway.lingering import Lingering
from tensormask_server.printable import printable
from tensormask_server.request_ids import HEADER, request_id

ID = HEADER.lower().encode()
LONGEST_PATH = 200  # bytes of a path in the log

logger = logging.getLogger(__name__)


class Records:
    """ASGI middleware, the outermost one."""

    def __init__(self, app: ASGIApp, append: Callable[[Mapping[str, Any]], None]):
        """
        Args:
            app: what is inside.
            append: writes a record to the log of requests.
        """
        self._app = app
        self._append = append

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        id = request_id(Headers(scope=scope).get(HEADER, ""))
        scope["state"]["request_id"] = id
        exchange = _Exchange(Lingering(scope, receive, send), id)
        ended = "whole"
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientGoneError:
            ended = "client gone"
        except ConnectionAbortedError:  # its connection is closed, so the client sees that the response isn't whole
            ended = "server gone"
        except Exception:
            logger.exception("a request failed")
            ended = "gateway failed"
            if not exchange.status:
                error = GatewayError(
                    HTTPStatus.INTERNAL_SERVER_ERROR,
                    "the gateway failed on this request",
                    "any other request; the gateway's log says why",
                )
                await error_response(error)(scope, exchange.receive, exchange.send)
        finally:
            now = datetime.now(UTC)
            self._append(
                {
                    "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    "id": id,
                    "at": "gateway",
                    "method": scope["method"],
                    "path": printable(scope["path"], LONGEST_PATH),
                    "status": exchange.status or None,
                    "ended": ended,
                    "milliseconds": round(1000 * (time.perf_counter() - started), 1),
                    "bytes_in": exchange.bytes_in,
                    "bytes_out": exchange.bytes_out,
                }
            )


class _Exchange:
    """One request and its response, counted."""

    def __init__(self, inner: Lingering, id: str):
        self._inner = inner
        self._id = id.encode()
        self.status = 0  # until the response begins
        self.bytes_in = self.bytes_out = 0

    async def receive(self) -> Message:
        message = await self._inner.receive()
        self.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            others = [each for each in message["headers"] if each[0].lower() != ID]
            message["headers"] = [*others, (ID, self._id)]
        else:
            self.bytes_out += len(message.get("body", b""))
        await self._inner.send(message)
