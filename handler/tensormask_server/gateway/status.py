"""/healthz and /readyz: whether the gateway runs, and whether the server behind it can work."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tensormask_server.gateway.gateway import Gateway


def routes(gateway: Gateway) -> list[Route]:
    """The routes for probes. Neither needs a token, and both have at most 4 s."""

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "running"})

    async def readiness(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ready", "workers": await ready(gateway)})

    return [Route("/healthz", health, methods=["GET"]), Route("/readyz", readiness, methods=["GET"])]


async def ready(gateway: Gateway) -> dict[str, int]:
    """The number of READY workers of each model, at least one each.

    Raises:
        NotReadyError: a model has none, or the server behind can't be reached.
    """
    checks = gateway.upstream.check_connection(), gateway.models.ready()
    connection, workers = await asyncio.gather(*checks, return_exceptions=True)
    for result in (connection, workers):  # the reason is the same whichever check ends first
        if isinstance(result, BaseException):
            raise result
    assert isinstance(workers, dict)
    return workers
