"""An ASGI endpoint of a route, for requests and responses that are streamed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send


@dataclass(frozen=True)
class Endpoint:
    """Wraps a function, because Starlette takes any function for one from a request to a response."""

    respond: Callable[[Scope, Receive, Send], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.respond(scope, receive, send)
