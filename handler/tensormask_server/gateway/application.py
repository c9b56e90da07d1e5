"""The gateway as an ASGI application: its table of routes, and what is around them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tensormask_server.gateway import (
    api_page,
    first_server,
    model_list,
    page,
    passing,
    segment,
    status,
    x_anylabeling,
)
from tensormask_server.gateway.errors import GatewayError, error_response
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.gateway.label_studio import backend as label_studio
from tensormask_server.gateway.models import Models
from tensormask_server.gateway.records import Records
from tensormask_server.gateway.request_log_lines import appender
from tensormask_server.gateway.settings import Settings
from tensormask_server.gateway.upstream import Upstream
from tensormask_server.gateway.waiting import SayState, waiting
from tensormask_server.gateway.whole_bodies import LARGEST_BODIES, WholeBodies

# one file each; the first route that fits a path is taken, so what names a path comes before what has parts in braces
GROUPS: tuple[Callable[[Gateway], list[Route]], ...] = (
    status.routes,
    page.routes,
    api_page.routes,
    model_list.routes,
    segment.routes,
    first_server.routes,
    label_studio.routes,
    x_anylabeling.routes,
    passing.routes,
)
METHODS = ("GET", "POST", "PUT")
EXPOSED = ("X-Request-ID", "X-Instance-Count", "X-Image-Note", "Server-Timing", "Retry-After", "Content-Disposition")


def application(settings: Settings, say_state: SayState | None = None) -> Starlette:
    """Makes the application. Its connections to the server behind are closed when it shuts down.

    Args:
        settings: of the gateway.
        say_state: is called once the server behind is ready, and before with the reason why it isn't.
    """
    gateway = Gateway(
        settings,
        Upstream(settings),
        Models(settings.management_port, settings.key_file),
        WholeBodies(LARGEST_BODIES * settings.max_body_bytes),
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with waiting(gateway, say_state) if say_state else nullcontext():
            yield
        await gateway.upstream.aclose()

    around = [Middleware(Records, append=appender(settings.request_log))]
    if settings.origins:
        around.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.origins,
                allow_methods=METHODS,
                allow_headers=["*"],  # options are headers too; a page of these origins may set any
                expose_headers=EXPOSED,
            )
        )
    app = Starlette(
        routes=[route for group in GROUPS for route in group(gateway)],
        middleware=around,
        exception_handlers={GatewayError: _failed, HTTPException: _unrouted},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return error_response(error)


async def _unrouted(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: an unknown path, or a method that a path doesn't have."""
    assert isinstance(error, HTTPException)
    allowed = (error.headers or {}).get("Allow")
    found = f"this path doesn't accept {request.method}" if allowed else "there is no such path"
    expected = f"{allowed}; " if allowed else "POST /v1/segment with an image; "
    return error_response(
        GatewayError(HTTPStatus(error.status_code), found, f"{expected}GET /docs lists the paths", error.headers)
    )
