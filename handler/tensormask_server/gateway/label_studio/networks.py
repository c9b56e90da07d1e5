"""The classes and the version of each model, kept so that Label Studio's short timeouts don't meet a busy worker."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import Scope

from tensormask_server.gateway.errors import GatewayError, bad_request
from tensormask_server.gateway.gateway import Gateway
from tensormask_server.gateway.model_list import description

FRESH_SECONDS = 60.0  # after which a worker is asked again
AT_ONCE_SECONDS = 1.0  # Label Studio waits 3 s in some of its requests
SHOWN = 12  # characters of the weights' SHA-256


@dataclass(frozen=True)
class Network:
    """What is known of a model."""

    model: str  # its name
    version: str  # for Label Studio; other weights have another one
    classes: Sequence[str]  # names, by class number


class Networks:
    """The models of one server."""

    def __init__(self, gateway: Gateway):
        self._gateway = gateway
        self._known: dict[str, tuple[float, Network]] = {}  # with the time when it was read

    async def network(self, scope: Scope, model: str | None, must_be_fresh: bool) -> Network:
        """What is known of a model.

        Args:
            scope: ASGI's, of the client's request; its token goes to the server.
            model: its name; None: the only one.
            must_be_fresh: whether it has to be from the last minute, however long a busy worker takes. Otherwise what
                is known already is enough, if the worker doesn't answer at once.

        Raises:
            GatewayError: there is no such model, or several and no name; or the server doesn't describe it.
        """
        names = await self._gateway.models.names()
        if model is None and len(names) > 1:
            raise bad_request(
                "the server has several models, and the URL of the backend names none",
                f"a URL of the backend that ends in /label-studio/NAME, with one of {', '.join(names)}",
            )
        name = await self._gateway.models.name_for(model)
        read_at, network = self._known.get(name, (float("-inf"), None))
        if network is not None and time.monotonic() <= read_at + FRESH_SECONDS:
            return network
        if network is None or must_be_fresh:
            return await self._read(scope, name)
        try:
            async with asyncio.timeout(AT_ONCE_SECONDS):
                return await self._read(scope, name)
        except (TimeoutError, GatewayError):
            return network

    async def _read(self, scope: Scope, name: str) -> Network:
        described = await description(self._gateway, scope, name)
        if "classes" not in described:
            raise bad_request(
                f"the archive of the model {name} doesn't say its classes", "an archive that this version makes"
            )
        version = f"{name}-{described['weights_sha256'][:SHOWN]}"
        network = Network(name, version, tuple(described["classes"]))
        self._known[name] = time.monotonic(), network
        return network

    def forget(self, model: str) -> None:
        """Has a model described again: it may be another one now."""
        self._known.pop(model, None)
